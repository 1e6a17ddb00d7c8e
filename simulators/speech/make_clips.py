"""Speak lines of clips.json again: `python -m simulators.speech.make_clips [NAME]...`. Needs flite and sox.

A line is spoken at 16 kHz, from its text or, where a voice would spell it ("Mhm"), from its `phones`; one with `sound`
is no speech but a noise that sox makes. Each is then treated alike: silence at both ends is cut off and put back as
exactly 100 ms; pauses inside are held to MAX_PAUSE_MS (a longer one would end a turn for a voice detector with a short
silence_duration_ms); the band is cut to a telephone's, the peak set to -6 dBFS; it is written as headerless G.711
mu-law at 8 kHz.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
VOICES = {"agent": "slt", "caller": "rms"}
MAX_PAUSE_MS = 180
SILENCE_LEVEL = "0.5%"


SOUNDS = {
    # Two pushes of breath, and a knock on the table: what a voice detector takes for a voice, and nobody for words.
    "cough": "synth 0.35 brownnoise fade h 0.01 0.35 0.15 tremolo 6 60 gain -n -6",
    "knock": "synth 0.12 whitenoise fade h 0.002 0.12 0.09 lowpass 900 gain -n -6",
}


def record(entry: dict[str, str], spoken: str) -> None:
    """Write one entry's sound, as it is, to the file `spoken`. Raises CalledProcessError when a tool fails."""
    if "sound" in entry:
        subprocess.run(
            ["sox", "-R", "-n", "-r", "16000", "-c", "1", spoken, *SOUNDS[entry["sound"]].split()], check=True
        )
        return
    words = ["-p", entry["phones"]] if "phones" in entry else ["-t", entry["text"]]
    subprocess.run(["flite", "-voice", VOICES[entry["speaker"]], *words, "-o", spoken], check=True)


def make(entry: dict[str, str], target: Path) -> None:
    """Write one entry's clip to `target`. Raises CalledProcessError when a tool fails."""
    trim = ["silence", "1", "0.01", SILENCE_LEVEL]
    pause = ["silence", "-l", "1", "0.01", SILENCE_LEVEL, "-1", f"{MAX_PAUSE_MS / 1000:.3f}", SILENCE_LEVEL]
    with tempfile.TemporaryDirectory() as folder:
        spoken = str(Path(folder) / "spoken.wav")
        record(entry, spoken)
        effects = [*pause, "reverse", *trim, "reverse", "highpass", "200", "lowpass", "3400", "pad", "0.1", "0.1"]
        to_ulaw = ["-r", "8000", "-c", "1", "-e", "mu-law", "-b", "8", "-t", "raw"]
        # -D: no dither, so that the ends are digital silence and two runs give the same bytes.
        subprocess.run(["sox", "-D", spoken, *to_ulaw, str(target), *effects, "norm", "-6"], check=True)


def main() -> int:
    missing = [tool for tool in ("flite", "sox") if shutil.which(tool) is None]
    if missing:
        print(f"make_clips needs {' and '.join(missing)}: apt install {' '.join(missing)}", file=sys.stderr)
        return 1
    entries = json.loads((HERE / "clips.json").read_text(encoding="utf-8"))
    wanted = set(sys.argv[1:])
    for entry in entries:
        if wanted and entry["name"] not in wanted:
            continue
        target = HERE / "clips" / f"{entry['name']}.ulaw"
        make(entry, target)
        print(f"{target.name}: {target.stat().st_size / 8000:.2f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
