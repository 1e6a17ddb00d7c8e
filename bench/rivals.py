"""The systems that are measured beside each other: each a process on the server's core, and how calls reach it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.carrier import Account, ask
from bench.load import Entrance, Load
from bench.native import BUILT, program
from bench.system import GENERATOR_CORE, NICE, REPOSITORY, WEB_CORE, System, free_port, prefer

PEERS = REPOSITORY / "bench" / "peers"
PEERS_PYTHON = BUILT / "peers" / "bin" / "python"
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Rival:
    """One system that runs, with a load and a model of its own."""

    name: str
    pid: int
    load: Load
    entrance: Callable[[int], Entrance]  # of the call of that number; slow: it may ask the system first
    system: System | None = None  # of the product


@contextlib.contextmanager
def voiceagent(server: str = "", environment: dict[str, str] | None = None) -> Iterator[Rival]:
    """The product with everything on. `server`: what it serves with, if not what it does by itself."""
    chosen = {"WEB_SERVER": server} if server else {}
    name = f"voiceagent, {server}" if server else "voiceagent"
    # Somebody writes what is told, as in operation, and not on the core that is measured: a web process without a
    # worker writes its calls itself, after half a minute.
    with (
        System(chosen | (environment or {})) as system,
        system.worker(GENERATOR_CORE),
        process_of(system, name) as rival,
    ):
        yield rival


@contextlib.contextmanager
def process_of(system: System, name: str, core: int = WEB_CORE, load_core: int = GENERATOR_CORE) -> Iterator[Rival]:
    """One web process of the product, with a load and a model of its own."""
    with Load(load_core) as load, system.web(load.model_port, core) as web:
        yield Rival(name, web.pid, load, _signed(web.account), system)


def _signed(account: Account) -> Callable[[int], Entrance]:
    def entrance(number: int) -> Entrance:
        call_sid = "CA" + secrets.token_hex(16)
        answer = ask(account, call_sid, f"+1555020{number:04d}")
        parts, signature = urlsplit(answer.url), account.signature(answer.url, {})
        return Entrance(account.port, parts.path, call_sid, account.sid, parts.netloc, signature, answer.token)

    return entrance


@contextlib.contextmanager
def relay() -> Iterator[Rival]:
    """The floor: native/relay.c."""
    with Load(GENERATOR_CORE) as load, _serving([str(program("relay"))], load) as (pid, port):
        yield Rival("relay in C", pid, load, _plain(port, "/"))


@contextlib.contextmanager
def twilio_sample() -> Iterator[Rival]:
    command = [str(peers_python()), str(PEERS / "twilio_sample.py")]
    with Load(GENERATOR_CORE) as load, _serving(command, load) as (pid, port):
        yield Rival("Twilio's sample", pid, load, _plain(port, "/media-stream"))


@contextlib.contextmanager
def pipecat() -> Iterator[Rival]:
    command = [str(peers_python()), "-W", "ignore", str(PEERS / "pipecat_bot.py")]
    with Load(GENERATOR_CORE, in_order=True) as load, _serving(command, load) as (pid, port):
        yield Rival("pipecat-ai", pid, load, _plain(port, "/ws"))


def peers_python() -> Path:
    """The interpreter of the peers' own environment, which is made when it is not there."""
    mark, wanted = BUILT / "peers" / "installed.txt", PEERS / "requirements.txt"
    if not (mark.exists() and mark.read_bytes() == wanted.read_bytes()):
        print("Installing the peers into var/bench/peers ...", flush=True)
        BUILT.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(BUILT / "peers")], check=True)
        pip = [str(PEERS_PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(wanted)]
        subprocess.run(pip, check=True)
        mark.write_bytes(wanted.read_bytes())
    return PEERS_PYTHON


def _plain(port: int, path: str) -> Callable[[int], Entrance]:
    return lambda number: Entrance(port, path, "CA" + secrets.token_hex(16))


@contextlib.contextmanager
def _serving(command: Sequence[str], load: Load) -> Iterator[tuple[int, int]]:
    """Start `command PORT MODEL_PORT` on the server's core; yield its process id and port once it listens."""
    port, log = free_port(), BUILT / f"{Path(command[-1]).stem}.log"
    tied = ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(WEB_CORE), *command, str(port), str(load.model_port)]
    with log.open("wb") as output:
        process = subprocess.Popen(tied, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        prefer(process.pid, NICE)
        _wait_until_it_listens(port, log)
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


def _wait_until_it_listens(port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"it does not listen after {START_SECONDS:.0f} s; its log is {log}")
