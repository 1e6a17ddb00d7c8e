"""The whole system on one machine, under one command: `make run`.

1. The lock of this checkout, a free port.
2. The private Valkey, unless REDIS_URL names a server; then the migrations.
3. On a new database: an administrator, a business with an agent and a number.
4. The simulated model, unless OPENAI_API_KEY is set; web, workers, beat.
5. When the web process answers: the banner, and on the first start one demonstration call.
6. Until Ctrl-C. Then web first, so that calls can end; the workers, which take what is left; the broker last.
"""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from businesses.models import PhoneNumber
from calls.models import CallLog
from voiceagent import checks, first_start, running
from voiceagent.supervisor import WORKER_GRACE, Child, Signals, Supervisor
from voiceagent.valkey import PrivateValkey, ValkeyUnavailable

START_SECONDS = 60.0
TICK_SECONDS = 0.1
WEB_GRACE = 60.0  # beyond DRAIN_SECONDS: `serve` hands over calls and records within half a minute
OTHER_GRACE = 5.0
DEATHS_TO_GIVE_UP = 3
OFFLINE = ("-Q", "offline", "-c", "1", "-n", "offline@%h")  # what nothing waits for: docs/after-the-call.md


class Stopped(Exception):
    """Somebody asked the system to stop."""


class Command(BaseCommand):
    help = "Start everything on this machine, and stop it with Ctrl-C."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-demonstration", action="store_true", help="Place no call on the first start.")

    def handle(self, *args: Any, no_demonstration: bool, **options: Any) -> None:
        lock = running.RunLock(settings.VAR_DIR)
        try:
            lock.take()
            port = running.choose_port(running.wanted_port())
        except (running.AlreadyRunning, running.PortUnavailable) as error:
            raise CommandError(str(error)) from error
        self.signals = Signals()
        broker: PrivateValkey | None = None
        self.supervisor = Supervisor(settings.VAR_DIR / "log", self.say)
        try:
            if settings.EMBEDDED_REDIS:
                broker = PrivateValkey(settings.VAR_DIR).acquire()
            checks.before_start()
            password, is_first = self.prepare_database()
            self.start_children(port)
            self.wait_until_it_serves(port, broker)
            lock.tell(running.Running(pid=os.getpid(), port=port))
            self.say(banner(port, password, PhoneNumber.objects.filter(is_active=True).first()))
            if is_first and settings.TWILIO_IS_SIMULATED and not no_demonstration:
                self.start_demonstration()
            while True:
                self.tick(broker)
        except Stopped:
            pass
        except ValkeyUnavailable as error:
            raise CommandError(str(error)) from error
        finally:
            self.stop(broker)
            lock.release()

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def prepare_database(self) -> tuple[str | None, bool]:
        """Migrate and seed; return the new admin password, if there is one, and whether no call was ever taken."""
        call_command("migrate", verbosity=0, interactive=False)
        password = first_start.make_admin(settings.VAR_DIR)
        first_start.make_business()
        return password, not CallLog.objects.exists()

    def start_children(self, port: int) -> None:
        python, manage = sys.executable, str(Path(settings.BASE_DIR) / "manage.py")
        environment = {"PORT": str(port), "DRAIN_SECONDS": str(settings.DRAIN_SECONDS_OF_RUN)}
        if not settings.OPENAI_API_KEY:
            environment |= self.start_model(python)
        celery = [python, "-m", "celery", "-A", "voiceagent"]
        schedule = str(settings.VAR_DIR / "celerybeat-schedule")
        children = [
            Child("web", [python, manage, "serve", "--host", running.HOST, "--port", str(port)], environment),
            Child("worker", [*celery, "worker", "-Q", "high,default", "--loglevel", "INFO"], environment),
            Child("offline", [*celery, "worker", *OFFLINE, "--loglevel", "INFO"], environment),
            Child("beat", [*celery, "beat", "--loglevel", "INFO", "--pidfile=", "-s", schedule], environment),
        ]
        for child in children:
            self.supervisor.start(child, time.monotonic())

    def start_model(self, python: str) -> dict[str, str]:
        """Start the simulated model; return the environment that leads to it."""
        first_line = Line()
        model = Child("model", [python, "-m", "simulators.model", "--port", "0"], on_line=first_line.offer)
        self.supervisor.start(model, time.monotonic())
        give_up = time.monotonic() + START_SECONDS
        while (text := first_line.text) is None:
            self.tick(None)
            if time.monotonic() > give_up or model.deaths:
                raise CommandError(f"The simulated model does not start; see {settings.VAR_DIR}/log/model.log")
        port = str(json.loads(text)["port"])
        model.command = [*model.command[:-1], port]  # started again, it must be where the others look for it
        return {
            "OPENAI_API_KEY": "simulated",
            "OPENAI_BASE_URL": f"http://{running.HOST}:{port}/v1",
            "MODEL_IS_SIMULATED": "true",
        }

    def wait_until_it_serves(self, port: int, broker: PrivateValkey | None) -> None:
        give_up = time.monotonic() + START_SECONDS
        while not running.is_healthy(port):
            self.tick(broker)
            dying = [child.name for child in self.supervisor.children if child.deaths >= DEATHS_TO_GIVE_UP]
            if dying or time.monotonic() > give_up:
                name = dying[0] if dying else "web"
                raise CommandError(f"{name} does not start; see {settings.VAR_DIR}/log/{name}.log")

    def start_demonstration(self) -> None:
        """One call by the simulated carrier, as a child: it prints, and Ctrl-C in the middle of it ends it."""
        self.say("The first start: a demonstration call, through the real path.\n")
        command = [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "call"]
        self.supervisor.start(Child("demonstration", command, on_line=self.say, restarts=False), time.monotonic())

    def tick(self, broker: PrivateValkey | None) -> None:
        """One round of looking after everything. Raise Stopped when somebody asked for the end."""
        if self.signals.wait(TICK_SECONDS):
            raise Stopped
        self.supervisor.tick(time.monotonic())
        if broker is not None and broker.revive():
            self.say(f"The private Valkey had died and was started again; see {settings.VAR_DIR}/valkey/valkey.log")

    def stop(self, broker: PrivateValkey | None) -> None:
        stop, hurry = self.supervisor.stop, self.signals.hurry
        if self.supervisor.children:
            self.say("\nStopping. Ctrl-C again does not wait for what is still running.")
            if settings.DRAIN_SECONDS_OF_RUN:
                self.say(f"Live calls may go on for {settings.DRAIN_SECONDS_OF_RUN} s.")
        stop(["demonstration"], OTHER_GRACE, hurry)
        stop(["web"], settings.DRAIN_SECONDS_OF_RUN + WEB_GRACE, hurry)
        stop(["worker", "offline", "beat", "model"], WORKER_GRACE, hurry)
        if broker is not None:
            broker.release()
        if self.supervisor.children:
            self.say("Stopped.")


class Line:
    """The first line a child writes."""

    def __init__(self) -> None:
        self.text: str | None = None

    def offer(self, line: str) -> None:
        if self.text is None:
            self.text = line


def banner(port: int, password: str | None, number: PhoneNumber | None) -> str:
    """What a person needs to know, in a few lines."""
    address = settings.PUBLIC_URL if settings.IS_PUBLIC else f"http://{running.HOST}:{port}"
    kept = settings.VAR_DIR / "admin_password"
    login = f"{first_start.ADMIN}, password {password} (kept in {kept})" if password else f"password in {kept}"
    if settings.OPENAI_API_KEY:
        model = f"{settings.OPENAI_REALTIME_MODEL} at {settings.OPENAI_BASE_URL}"
    else:
        model = "SIMULATED. Write OPENAI_API_KEY=... into .env and start again to talk to the real one."
    if settings.TWILIO_IS_SIMULATED:
        phone = "SIMULATED: `make call` places a call. docs/going-live.md leads to a real number."
    else:
        phone = f"Twilio calls {settings.PUBLIC_URL}/twilio/voice/"
    lines = [
        ("Admin", f"{address}/admin/   {login}"),
        ("Model", model),
        ("Phone", phone),
        (
            "Number",
            f"{number}, {number.business}, answered by {number.agent}" if number else "none yet: add one in admin",
        ),
        ("Logs", str(settings.VAR_DIR / "log")),
    ]
    body = "\n".join(f"  {name:<8}{text}" for name, text in lines)
    return f"\nvoiceagent is running. Ctrl-C stops it.\n\n{body}\n"
