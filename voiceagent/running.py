"""The one running system of a checkout: its port, its lock, and where others find it."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"
DEFAULT_PORT = 8000
PORTS_TO_TRY = 20


class PortUnavailable(Exception):
    """No port to listen on. The message says which was tried."""


class AlreadyRunning(Exception):
    """`make run` is active in this checkout. The message says where it serves."""


@dataclass(frozen=True)
class Running:
    """What is kept in var/run.json while the system runs."""

    pid: int
    port: int

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"


def choose_port(wanted: str) -> int:
    """The wanted port, or, when nobody asked for one, the first free one from 8000. Raise PortUnavailable."""
    if wanted:
        if not wanted.isdigit() or not 0 < int(wanted) < 65536:
            raise PortUnavailable(f"PORT is {wanted!r}; it must be a number from 1 to 65535.")
        if not _is_free(int(wanted)):
            raise PortUnavailable(f"Port {wanted} is in use. Stop what listens there, or choose another: PORT=8001")
        return int(wanted)
    last = DEFAULT_PORT + PORTS_TO_TRY
    for port in range(DEFAULT_PORT, last):
        if _is_free(port):
            return port
    raise PortUnavailable(f"Ports {DEFAULT_PORT} to {last - 1} are all in use. Choose another: PORT=9000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like the server: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


class RunLock:
    """Held by the running system. A killed one lets go by itself, because the kernel closes its files."""

    def __init__(self, var_dir: Path) -> None:
        self._path = var_dir / "run.json"
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raise AlreadyRunning when another `make run` of this checkout holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the lock is held
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            running = read_running(self._path.parent)
            where = f", at {running.address}/admin/ (process {running.pid})" if running else ""
            raise AlreadyRunning(f"It runs already{where}. Stop that one with Ctrl-C first.") from error
        self._file = file

    def tell(self, running: Running) -> None:
        """Write where the system is, for `manage.py call` and a second `make run`."""
        assert self._file is not None, "take the lock first"
        self._file.truncate(0)
        self._file.write(json.dumps(asdict(running)))
        self._file.flush()

    def release(self) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def read_running(var_dir: Path) -> Running | None:
    """Where the system of this checkout runs, or None. It may have been killed since: ask `is_healthy`."""
    try:
        return Running(**json.loads((var_dir / "run.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_healthy(port: int, timeout: float = 1.0) -> bool:
    """Whether a web process answers /healthz on this port."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wanted_port() -> str:
    """PORT, as the person who started this gave it; empty when nobody did."""
    return os.environ.get("PORT", "")
