"""Speak every line of clips.json again: `python -m simulators.speech.make_clips`. Needs flite and sox.

Each line is spoken at 16 kHz; silence at both ends is cut off and put back as exactly 100 ms; pauses inside are held to
MAX_PAUSE_MS (a longer one would end a turn for a voice detector with a short silence_duration_ms); the band is cut to a
telephone's, the peak set to -6 dBFS; it is written as headerless G.711 mu-law at 8 kHz.
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


def speak(text: str, voice: str, target: Path) -> None:
    """Write `text` in flite's `voice` to `target`. Raises CalledProcessError when a tool fails."""
    trim = ["silence", "1", "0.01", SILENCE_LEVEL]
    pause = ["silence", "-l", "1", "0.01", SILENCE_LEVEL, "-1", f"{MAX_PAUSE_MS / 1000:.3f}", SILENCE_LEVEL]
    with tempfile.TemporaryDirectory() as folder:
        spoken = str(Path(folder) / "spoken.wav")
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", spoken], check=True)
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
    for entry in entries:
        target = HERE / "clips" / f"{entry['name']}.ulaw"
        speak(entry["text"], VOICES[entry["speaker"]], target)
        print(f"{target.name}: {target.stat().st_size / 8000:.2f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
