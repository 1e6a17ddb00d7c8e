"""`python -m simulators.model`: one line of JSON with the address, then serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path

from simulators.model import FAULTS, Dialogue, Fault, ModelServer, ModelSettings
from simulators.model.settings import MODELS, profiles


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def _fault(text: str) -> Fault:
    try:
        return Fault.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:24}{meaning}" for name, meaning in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m simulators.model",
        description=__doc__,
        epilog="faults, as NAME[:argument][@N][#S]"
        f" (N: the Nth response or utterance of a session; S: the Sth session):\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = ModelSettings()
    add = parser.add_argument
    add("--host", default=defaults.host)
    add("--port", type=int, default=0, help="0: any free one")
    add("--api-key", help="the only bearer token accepted; without it any")
    add("--ledger", type=Path, help="append every fact to this file, one JSON object a line")
    add("--seed", type=int, help="make ids, sizes and delays the same in every run")
    add("--model", action="append", help="a model name to accept besides the known ones")
    add("--dialogue", type=Path, help="a file like simulators/model/dialogue.json")
    add("--session-seconds", type=float, default=defaults.session_seconds)
    add("--time-scale", type=float, default=1.0, help="multiplies every wait")
    add("--pace", type=float, default=defaults.pace, help="audio comes this many times faster than it plays")
    add("--first-audio-ms", type=int, default=defaults.first_audio_ms)
    add("--chunk-ms", type=_range, default=defaults.chunk_ms, metavar="LOW-HIGH", help="size of an audio delta")
    add("--transcription-ms", type=_range, default=defaults.transcription_ms, metavar="LOW-HIGH")
    add("--late-deltas", type=int, default=defaults.late_deltas, help="audio deltas after a cancel")
    add("--audio", type=Path, metavar="DIR", help="keep the sound of every item there, as ITEM_ID.audio")
    add(
        "--profiles", type=Path, metavar="FILE", help="JSON: further models with settings of their own, see settings.py"
    )
    add("--fault", type=_fault, action="append", default=[], metavar="NAME[:ARG][@N][#S]")
    add("--fault-sessions", help="only for these connections, counted from 1: 2,3")
    return parser


def _settings(options: argparse.Namespace) -> ModelSettings:
    chosen = options.fault_sessions
    settings = ModelSettings(
        host=options.host,
        port=options.port,
        api_key=options.api_key,
        models=MODELS | frozenset(options.model or ()),
        ledger=options.ledger,
        audio=options.audio,
        seed=options.seed,
        dialogue=Dialogue.load(options.dialogue) if options.dialogue else Dialogue.load(),
        session_seconds=options.session_seconds,
        time_scale=options.time_scale,
        pace=options.pace,
        first_audio_ms=options.first_audio_ms,
        chunk_ms=options.chunk_ms,
        transcription_ms=options.transcription_ms,
        late_deltas=options.late_deltas,
        faults=tuple(options.fault),
        fault_sessions=frozenset(int(number) for number in chosen.split(",")) if chosen else None,
    )
    return replace(settings, profiles=profiles(options.profiles, settings)) if options.profiles else settings


async def _run(settings: ModelSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ModelServer(settings) as server:
        print(json.dumps({"listening": server.url, "port": server.port}), flush=True)
        await stop.wait()


def main() -> int:
    asyncio.run(_run(_settings(_parser().parse_args())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
