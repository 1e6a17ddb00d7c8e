"""`python -m simulators.carrier call ...` places calls and prints what happens; `... rest` serves the REST API."""

import argparse
import asyncio
import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from simulators.carrier import faults, script
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.rest import Api, RestServer
from simulators.carrier.settings import Settings


def host_port(text: str) -> tuple[str, int]:
    """`HOST:PORT`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return host, int(port)


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    main = argparse.ArgumentParser(prog="python -m simulators.carrier", description="The telephone carrier, simulated.")
    commands = main.add_subparsers(dest="command", required=True)
    call = commands.add_parser("call", help="place calls on the server and print what happens")
    common(call)
    call.add_argument("--from", dest="from_number", required=True, help="the caller's number")
    call.add_argument("--to", required=True, help="the number that is called")
    call.add_argument("--script", default="demo", help=f"{', '.join(script.SCRIPTS)}, or a .json file")
    call.add_argument("--calls", type=int, default=1)
    call.add_argument("--stagger-ms", type=int, default=0)
    call.add_argument("--ledger", type=Path, help="write the ledgers to this JSON file")
    call.add_argument("--json", action="store_true", help="ledgers as JSON on stdout, the narration on stderr")
    call.add_argument("--rest-port", type=int, help="serve the REST API too while the calls last")
    rest = commands.add_parser("rest", help="serve the REST API; calls created there are placed on the server")
    common(rest)
    rest.add_argument("--port", type=int, default=0, help="0 takes a free one; the first line of output names it")
    rest.add_argument("--script", default="demo", help="what the person who is called does")
    rest.add_argument("--fail-next", type=int, action="append", default=[], help="HTTP status of the first answers")
    return main


def common(command: argparse.ArgumentParser) -> None:
    """Options of every command."""
    command.add_argument("--public-url", required=True, help="the origin Twilio knows: what is signed")
    command.add_argument("--connect-to", type=host_port, help="HOST:PORT where that origin really listens, plain HTTP")
    command.add_argument("--account-sid", required=True)
    command.add_argument("--auth-token", required=True)
    command.add_argument("--voice-path", default="/twilio/voice/")
    command.add_argument("--status-path", default="", help="status callbacks; none without it")
    command.add_argument("--status-events", default="completed", help="comma separated")
    command.add_argument("--fallback-path", default="")
    command.add_argument("--fault", action="append", default=[], metavar="NAME[=VALUE]", help="see faults.py")
    command.add_argument("--time-scale", type=float, default=1.0, help="of Say, Play, Pause and Dial")
    command.add_argument("--max-seconds", type=float, default=600.0, help="longest call")
    command.add_argument("--seed", type=int)


def settings_of(options: argparse.Namespace) -> Settings:
    """The options as settings; ValueError for an unknown fault."""
    return Settings(
        public_url=options.public_url,
        account_sid=options.account_sid,
        auth_token=options.auth_token,
        connect_to=options.connect_to,
        voice_path=options.voice_path,
        status_path=options.status_path,
        status_events=tuple(options.status_events.split(",")),
        fallback_path=options.fallback_path,
        faults=faults.parse(options.fault),
        time_scale=options.time_scale,
        max_call_seconds=options.max_seconds,
        seed=options.seed,
    )


async def place(options: argparse.Namespace, settings: Settings) -> list[CallLedger]:
    """Places the calls and narrates them; with several, each line begins with the number of its call."""
    out = sys.stderr if options.json else sys.stdout
    numbers: dict[str, int] = {}

    def tell(call_sid: str, line: str) -> None:
        number = numbers.setdefault(call_sid, len(numbers) + 1)
        print(f"{number:3d} {line}" if options.calls > 1 else line, file=out, flush=True)

    with Carrier(settings, tell=tell) as carrier, ExitStack() as stack:
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signal_number, carrier.hang_up)
        if options.rest_port is not None:
            server = stack.enter_context(RestServer(Api(carrier.account, settings.auth_token), options.rest_port))
            print(f"REST API on http://127.0.0.1:{server.port}", file=out, flush=True)
        return await carrier.place_calls(
            script.load(options.script),
            options.calls,
            from_=options.from_number,
            to=options.to,
            stagger_ms=options.stagger_ms,
        )


async def serve(options: argparse.Namespace, settings: Settings) -> int:
    """The REST API until SIGINT or SIGTERM. Prints `{"port": ...}`, then each call it placed as a line of JSON."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    def done(ledger: CallLedger) -> None:
        print(json.dumps(ledger.as_json()), flush=True)

    with Carrier(settings, tell=lambda _, line: print(line, file=sys.stderr, flush=True)) as carrier:
        api = Api(carrier.account, settings.auth_token, carrier.dial(options.script, done), options.fail_next)
        with RestServer(api, options.port) as server:
            print(json.dumps({"port": server.port}), flush=True)
            await stopped.wait()
        for complaint in api.complaints:
            print(f"complaint {complaint}", file=sys.stderr)
    return 1 if api.complaints else 0


def report(options: argparse.Namespace, ledgers: list[CallLedger]) -> int:
    """Writes ledgers, prints complaints and failures; the exit status."""
    data = [ledger.as_json() for ledger in ledgers]
    if options.ledger:
        options.ledger.write_text(json.dumps(data, indent=1), encoding="utf-8")
    if options.json:
        print(json.dumps(data))
    for ledger in ledgers:
        for line in [*(f"complaint {complaint}" for complaint in ledger.complaints), *ledger.failures]:
            print(f"{ledger.call_sid}: {line}", file=sys.stderr)
    return 0 if all(ledger.ok for ledger in ledgers) else 1


def main() -> int:
    """The command line."""
    arguments = parser()
    options = arguments.parse_args()
    try:
        settings = settings_of(options)
        script.load(options.script)
    except (ValueError, OSError) as error:
        arguments.error(str(error))
    if options.command == "rest":
        return asyncio.run(serve(options, settings))
    return report(options, asyncio.run(place(options, settings)))


if __name__ == "__main__":
    raise SystemExit(main())
