"""One card number, in every way into a call: said by the caller and the agent, typed, typed in secret, given to tools
and answered by one, left as a message. Then it is looked for in every place there is: only its last four digits may be
found.
"""

import asyncio
import base64
import json
import os
import re
import secrets
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import redis
from celery import Celery
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from analysis.models import AfterCallSettings, CallAnalysis
from businesses.models import Agent, AgentVersion, Business, HttpTool, PhoneNumber, TransferTarget
from calls.models import CallLog
from simulators import speech
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, HearAnew, Interrupt, Listen, Press, Say, Script, Wait
from tests.calls.support import a_business
from tests.e2e.test_recording import RecordingSystem
from tests.media.http_service import Answer, Service
from voiceagent.broker import broker_url

ANSWERED = "+15550100134"
CARD = "4012888888881881"
SPOKEN = "4012 8888 8888 1881"
DASHED = "4012-8888-8888-1881"
HIDDEN = CARD[:-4]
TOKEN = secrets.token_hex(32)

DIALOGUE = {
    "words": {
        "ask-saturday": f"My card is {SPOKEN}, can you find it?",
        "saturday": f"You said {DASHED}, let me see.",
        "parking": f"I have noted {SPOKEN}, and behind the building there is free parking for you and everybody else.",
    },
    "opening": ["greeting"],
    "unclear": ["unclear"],
    "replies": [
        {
            "heard": "ask-saturday",
            "say": ["saturday"],
            "call": [{"name": "find_card", "arguments": {"number": SPOKEN}}],
        },
        {
            "heard": CARD,
            "call": [
                {"name": "take_message", "arguments": {"name": DASHED, "message": f"Use {CARD}."}},
                {"name": "transfer_call", "arguments": {"to": "Sales", "reason": f"Pays with {DASHED}."}},
            ],
        },
        {
            "heard": "ask-hours",
            "call": [{"name": "collect_digits", "arguments": {"ask": f"Type {SPOKEN} again."}}],
        },
        {"heard": "ask-parking", "say": ["parking"]},
    ],
    "after_call": {
        "find_card": {"say": ["price"]},
        "take_message": {"say": ["noted"]},
        "collect_digits": {"call": [{"name": "pay", "arguments": {"card": "secret-1"}}]},
        "pay": {"say": ["appointment"]},
    },
}
PAYS = Script(
    "pays in every way",
    (
        *(Listen(), Say("ask-saturday"), HearAnew(), Listen(silent_ms=2000)),
        *(Press(CARD + "#", heard=True), HearAnew(), Listen()),
        *(Say("ask-hours"), HearAnew(), Listen(silent_ms=2500), Press(CARD + "#", heard=True), HearAnew(), Listen()),
        *(Say("ask-parking"), Interrupt("stop", after_ms=1500), Wait(2500), HangUp()),
    ),
    "caller",
)


def has_card(text: str) -> bool:
    """However it is grouped or escaped."""
    digits = re.sub(r"(?<=\d)(?:[\s.,\-]|%20|\+|\\u[0-9a-f]{4}|&[a-z#0-9]+;){1,3}(?=\d)", "", text)
    return HIDDEN in digits


def make_business(port: int) -> Business:
    try:
        business, _ = a_business("+15550100135", name="canary", recording="announce")
        plain = {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]}
        secret = {"type": "object", "properties": {"card": {"type": "string", "format": "secret"}}}
        for name, parameters in (("find_card", plain), ("pay", secret)):
            url = f"http://127.0.0.1:{port}/{name}"
            HttpTool.objects.create(business=business, name=name, description="-", parameters=parameters, url=url)
        agent = Agent.objects.create(business=business, name="Till")
        TransferTarget.objects.create(business=business, name="Sales", number=ANSWERED)  # in circles: refused
        tools = ["take_message", "transfer_call", "collect_digits", "find_card", "pay"]
        greeting = speech.load("greeting").text
        AgentVersion.objects.create(agent=agent, number=1, instructions="-", greeting=greeting, tools=tools).publish()
        PhoneNumber.objects.create(number=ANSWERED, business=business, agent=agent)
        AfterCallSettings.objects.create(business=business, is_on=True)
        return business
    finally:
        connection.close()


def with_bodies(command: str) -> str:
    """A command of the broker's with what is in the messages that it carries."""
    bodies = re.findall(r'"body\\*": \\*"([A-Za-z0-9+/=]+)', command)
    return command + "".join(base64.b64decode(body).decode() for body in bodies)


class Listener:
    """Keeps everything that passes the broker, and every journal as it grows, while the system runs."""

    def __init__(self, redis_url: str, journals: Path) -> None:
        self.passed: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.journals: dict[str, bytes] = {}
        self._folder = journals
        self._stop = threading.Event()
        self._redis_url = redis_url
        work = (self._listen_to_commands, self._listen_to_events, self._read_journals)
        self._threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def _listen_to_commands(self) -> None:
        client: Any = redis.Redis.from_url(self._redis_url)
        with client.monitor() as monitor, suppress(redis.ConnectionError):
            for command in monitor.listen():  # ends with the broker
                if self._stop.is_set():
                    return
                self.passed.append(with_bodies(str(command["command"])))

    def _listen_to_events(self) -> None:
        app = Celery(broker=broker_url(self._redis_url), set_as_current=False)
        with app.connection_for_read() as link:
            receiver = app.events.Receiver(link, handlers={"*": self.events.append})
            while not self._stop.is_set():
                with suppress(TimeoutError, OSError):
                    receiver.capture(limit=None, timeout=0.5, wakeup=False)

    def _read_journals(self) -> None:
        while not self._stop.wait(0.02):
            for path in self._folder.rglob("*"):
                with suppress(OSError):
                    if path.is_file():
                        self.journals[str(path)] = max(self.journals.get(str(path), b""), path.read_bytes(), key=len)


class CardNumberEverywhere(RecordingSystem):
    service: ClassVar[Service]
    ledger: ClassVar[CallLedger]
    listener: ClassVar[Listener]
    call_row: CallLog

    @classmethod
    def setUpClass(cls) -> None:
        dialogue = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "dialogue.json"
        dialogue.write_text(json.dumps(DIALOGUE))
        cls.model_options = ("--dialogue", str(dialogue))
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)
        cls.service.answer = Answer(body=json.dumps({"number": SPOKEN, "all": [int(CARD)], "of": DASHED}).encode())
        cls.environment = {
            "HTTP_TOOL_HOSTS": "127.0.0.1",
            "HTTP_TOOLS_ALLOW_LOCAL": "true",
            "LOG_LEVEL": "DEBUG",
            "METRICS_TOKEN": TOKEN,
        }
        super().setUpClass()

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_business, cls.service.port)
        cls.start_fetching()
        cls.listener = Listener(cls.redis_url(), cls.system.directory / "var" / "journal")
        cls.addClassCleanup(cls.listener.close)
        with cls.carrier() as carrier:
            cls.ledger = await carrier.place_call(PAYS, from_="+15550100199", to=ANSWERED)

    @classmethod
    def redis_url(cls) -> str:
        return cls.system.environment.get("REDIS_URL") or os.environ["REDIS_URL"]

    def setUp(self) -> None:
        super().setUp()
        call = self.finished(self.ledger.call_sid)
        self.stored(call)

        def analysed() -> bool:
            return CallAnalysis.objects.filter(call=call, state="done").exists()

        self.wait(analysed, "the call is analysed", seconds=60)
        call.refresh_from_db()
        self.call_row = call

    def nowhere(self, places: Iterator[tuple[str, str]]) -> int:
        """Look for the card in each (where, text); return how many there were."""
        looked = 0
        for where, text in places:
            looked += 1
            with self.subTest(where=where):
                self.assertFalse(has_card(text), f"{where}: …{self.around(text)}…")
        return looked

    @staticmethod
    def around(text: str) -> str:
        at = next((found.start() for found in re.finditer(r"4012", text) if has_card(text[found.start() :][:60])), 0)
        return text[max(0, at - 200) : at + 100]

    def test_it_went_every_way(self) -> None:
        self.assertEqual((self.ledger.complaints, self.ledger.failures), ([], []))
        asked = [json.loads(each.body) for each in self.service.asked]
        self.assertEqual(asked, [{"number": SPOKEN}, {"card": CARD}])
        said = " ".join(f"{turn.user_text} {turn.bot_reply}" for turn in self.turns(self.ledger.call_sid))
        self.assertIn("•••• •••• •••• 1881, can you find it?", said)
        self.assertIn("You said ••••-••••-••••-1881", said)
        self.assertIn("[The caller pressed: ••••••••••••1881#]", said)
        self.assertIn("Type •••• •••• •••• 1881 again.", said)
        states = {use.name: use.state for use in self.call_row.tool_uses.all()}
        done = dict.fromkeys(("find_card", "take_message", "collect_digits", "pay"), "finished")
        self.assertEqual(states, {**done, "transfer_call": "refused"})
        self.assertEqual(self.call_row.legs.get().briefing, "Pays with ••••-••••-••••-1881.")
        self.assertEqual(self.call_row.messages.get().text, "Use ••••••••••••1881.")
        self.assertTrue(any(turn.interrupted for turn in self.turns(self.ledger.call_sid)))
        facts = self.model_session(self.call_row.model_session_id)
        self.assertTrue(has_card(json.dumps(facts)))  # the way through the model is one of them

    def test_it_is_in_no_row_of_any_table(self) -> None:
        self.assertGreater(self.nowhere(self.rows()), 100)

    def rows(self) -> Iterator[tuple[str, str]]:
        tables = set(connection.introspection.table_names())
        models = apps.get_models(include_auto_created=True)
        of_models = {model._meta.db_table for model in models if model._meta.managed}
        self.assertLessEqual(of_models, tables)
        with connection.cursor() as cursor:
            for table in sorted(tables):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                for row in cursor.fetchall():
                    yield (
                        table,
                        " ".join(str(bytes(value) if isinstance(value, memoryview) else value) for value in row),
                    )

    def test_it_was_in_no_journal_and_none_is_left(self) -> None:
        seen = self.listener.journals
        of_call = [data for path, data in seen.items() if self.ledger.call_sid in path or b"1881" in data]
        self.assertTrue(any(b"1881" in data for data in of_call), sorted(seen))
        self.nowhere((path, data.decode("utf-8", "replace")) for path, data in seen.items())
        folder = self.system.directory / "var" / "journal"
        left = [path for path in folder.rglob("*") if path.is_file() and self.ledger.call_sid in path.name]
        self.assertEqual(left, [])

    def test_it_is_in_no_log_at_any_level(self) -> None:
        children = (self.system.web, self.system.worker, self.system.offline, self.system.beat, self.system.broker)
        logs = [(child.name, line) for child in children if child for line in child.output().splitlines()]
        self.assertTrue(any("debug" in line for _, line in logs))
        self.assertGreater(self.nowhere(iter(logs)), 100)

    def test_it_passed_neither_the_broker_nor_the_cache_and_is_in_no_event_of_a_job(self) -> None:
        passed, events = self.listener.passed, self.listener.events
        self.assertTrue(any("save_conversation_turn" in command and "1881" in command for command in passed))
        self.assertIn("task-succeeded", {event["type"] for event in events})
        self.nowhere(("broker", command) for command in list(passed))
        self.nowhere((event["type"], json.dumps(event, default=str)) for event in list(events))
        client = redis.Redis.from_url(self.redis_url())
        self.nowhere((str(key), str(client.dump(key))) for key in client.scan_iter())

    def test_it_is_on_no_page(self) -> None:
        browser = Client()
        browser.force_login(get_user_model().objects.create_superuser("canary"))
        self.addCleanup(get_user_model().objects.filter(username="canary").delete)
        page = browser.get(reverse("admin:calls_calllog_change", args=[self.call_row.pk])).content.decode()
        self.assertIn("1881", page)

        def pages() -> Iterator[tuple[str, str]]:
            for model in admin.site._registry:
                name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
                addresses = [reverse(f"{name}_changelist")]
                for row in model._default_manager.all()[:50] if model._meta.managed else ():
                    addresses += [reverse(f"{name}_{what}", args=[row.pk]) for what in ("change", "history")]
                for address in addresses:
                    yield address, browser.get(address).content.decode()

        self.assertGreater(self.nowhere(pages()), 60)

    def test_nor_in_metrics_and_what_the_commands_print(self) -> None:
        address = f"http://127.0.0.1:{self.system.port}/metrics"
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            metrics = answer.read().decode()
        self.assertIn("voiceagent", metrics)
        printed = StringIO()
        with suppress(SystemExit):
            call_command("jobs", stdout=printed)
        self.nowhere(iter([("metrics", metrics), ("jobs", printed.getvalue())]))

    def test_the_text_model_is_not_given_it(self) -> None:
        asked = [fact for fact in self._all_model_facts() if fact["fact"] == "text_asked"]
        self.assertTrue(any("1881" in json.dumps(fact, ensure_ascii=False) for fact in asked))
        self.nowhere(("text model", json.dumps(fact)) for fact in asked)
