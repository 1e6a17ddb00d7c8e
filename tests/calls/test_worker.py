"""A real worker, as it is typed: the words of a call are in the database and in nothing that a worker leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery
from django.conf import settings
from kombu import Connection

from calls import tasks
from console import broker
from tests.calls.support import CALL_SID, CALLER, a_turn
from tests.calls.valkey import Valkey
from voiceagent.celery import app

CANARY = "zanzibar_4111111111111111"
SEED = "from businesses.models import Business; Business(pk=1, name='Harbor Dental').save()"


class WorkerTest(unittest.TestCase):
    """Its own Valkey, database file and worker, for all tests of the class: a worker takes seconds to start."""

    directory: Path
    valkey: Valkey
    worker: subprocess.Popen[bytes]
    events: list[dict[str, Any]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.directory = Path(tempfile.mkdtemp(prefix="worker-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.valkey = Valkey()
        cls.addClassCleanup(cls.valkey.close)
        env = {**os.environ, "VOICEAGENT_VAR": str(cls.directory), "REDIS_URL": cls.valkey.url}
        env["DATABASE_URL"] = f"sqlite:///{cls.directory}/db.sqlite3"
        env["DJANGO_SETTINGS_MODULE"] = "voiceagent.settings"
        options: dict[str, Any] = {"cwd": settings.BASE_DIR, "env": env}
        for command in (["migrate"], ["shell", "-c", SEED]):
            subprocess.run([sys.executable, "manage.py", *command], check=True, capture_output=True, **options)
        cls._listen_to_events()
        log = cls.enterClassContext(open(cls.directory / "worker.log", "wb"))
        typed = ["-A", "voiceagent", "worker", "-Q", "high,default", "-c", "1", "-E", "--loglevel", "INFO"]
        cls.worker = subprocess.Popen([sys.executable, "-m", "celery", *typed], stdout=log, stderr=log, **options)
        cls.addClassCleanup(cls._stop_worker)

    @classmethod
    def _stop_worker(cls) -> None:
        cls.worker.send_signal(signal.SIGTERM)
        try:
            cls.worker.wait(30)
        except subprocess.TimeoutExpired:
            cls.worker.kill()
            cls.worker.wait()

    @classmethod
    def _listen_to_events(cls) -> None:
        cls.events = []
        connection = Connection(cls.valkey.broker_url)
        receiver = app.events.Receiver(connection, handlers={"*": cls.events.append})
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    receiver.capture(limit=None, timeout=0.5, wakeup=False)
                except TimeoutError:
                    pass
                except OSError:
                    return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        cls.addClassCleanup(connection.release)
        cls.addClassCleanup(thread.join, 5)
        cls.addClassCleanup(stop.set)

    def database(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.directory / "db.sqlite3", timeout=20, isolation_level=None) as database:
            return database.execute(statement, arguments).fetchall()

    def until(self, what: str, condition: Callable[[], bool], seconds: float = 40) -> None:
        give_up = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up or self.worker.poll() is not None:
                self.fail(f"{what}: not in time; the worker's log:\n{self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        return (self.directory / "worker.log").read_text()

    def state(self, task_id: str) -> str:
        rows = self.database("SELECT status FROM django_celery_results_taskresult WHERE task_id = ?", task_id)
        return str(rows[0][0]) if rows else ""

    def publish(self, task: Any, **options: Any) -> str:
        kwargs = options.pop("kwargs")
        with Connection(self.valkey.broker_url) as connection:
            result = task.apply_async(kwargs=kwargs, producer=app.amqp.Producer(connection), **options)
        return str(result.id)

    def turn(self, index: int, business_id: int = 1) -> dict[str, Any]:
        said: dict[str, Any] = {"user_text": CANARY, "bot_reply": CANARY, "heard_text": CANARY}
        return {"call_sid": CALL_SID, "business_id": business_id, **a_turn(index, **said)}

    def test_the_words_of_a_call_are_in_no_result_no_log_and_no_event(self) -> None:
        """Success, refusal, retry, failure and revocation, each with the canary where it can hurt."""
        save = tasks.save_conversation_turn
        self.database(
            "CREATE TRIGGER fail BEFORE INSERT ON calls_conversationturn WHEN NEW.turn_index = 8 "
            f"BEGIN SELECT RAISE(ABORT, 'row contains {CANARY}'); END"
        )
        self.database(
            "CREATE TRIGGER away BEFORE INSERT ON calls_conversationturn WHEN NEW.turn_index = 9 "
            f"BEGIN SELECT json_extract('{{}}', '{CANARY}' || NEW.turn_index); END"  # no path: an OperationalError
        )
        identity = {"from_number": CALLER + CANARY, "to_number": CANARY, "direction": "inbound"}
        ids = {
            "created": self.publish(tasks.create_call_log, kwargs={"call_sid": CALL_SID, "business_id": 1, **identity}),
            "saved": self.publish(save, kwargs=self.turn(0)),
            "positional": self.publish_positionally(),
            "refused": self.publish(save, kwargs=self.turn(1, business_id=2)),
            "failed": self.publish(save, kwargs=self.turn(8)),
            "retried": self.publish(save, kwargs=self.turn(9)),
            "revoked": self.publish(save, kwargs=self.turn(7), countdown=4),
        }
        published_at = time.time()
        # An app of its own: a control command goes to its app's broker, whatever connection it is given.
        with Celery("operator", broker=self.valkey.broker_url) as operator:
            operator.control.revoke(ids["revoked"])
        self.until("a retry", lambda: self.state(ids["retried"]) == "RETRY")
        self.assert_nothing_spoken()
        self.database("DROP TRIGGER away")
        # Turns keep a result only of what went wrong, a try in vain among it.
        expected = {"created": "SUCCESS", "retried": "SUCCESS", "failed": "FAILURE", "revoked": "REVOKED"}
        for name, state in expected.items():
            self.until(f"{name} {state}", lambda name=name, state=state: self.state(ids[name]) == state)  # type: ignore[misc]
        self.until("the events", lambda: "task-revoked" in {event["type"] for event in self.events})
        self.assert_nothing_spoken()
        self.assert_the_results_are_useful(ids)
        self.assert_a_retry_remembers_when_it_was_sent(ids["retried"], published_at)
        self.assertEqual([self.state(ids[name]) for name in ("saved", "positional", "refused")], ["", "", ""])
        self.until("what is counted instead", lambda: self.counted() == (3, 3))
        indexes = self.database("SELECT turn_index FROM calls_conversationturn ORDER BY turn_index")
        self.assertEqual(indexes, [(0,), (3,), (9,)])

    def counted(self) -> tuple[int, int]:
        """How many jobs without a result succeeded, and how many times of such are told."""
        found = broker.ask(["high", "default"], self.valkey.url)
        return found.hour["default"], len(found.waits["default"])

    def publish_positionally(self) -> str:
        with Connection(self.valkey.broker_url) as connection:
            result = tasks.save_conversation_turn.apply_async(
                args=(CALL_SID, 1, CANARY, CANARY, 3), producer=app.amqp.Producer(connection)
            )
        return str(result.id)

    def assert_nothing_spoken(self) -> None:
        for row in self.database("SELECT * FROM django_celery_results_taskresult"):
            self.assertNotIn(CANARY, str(row))
        self.assertNotIn(CANARY, self.log())
        self.assertNotIn(CANARY, str(self.events))

    def assert_the_results_are_useful(self, ids: dict[str, str]) -> None:
        columns = "task_name, task_kwargs, result, worker, meta"
        rows = {
            task_id: row
            for task_id, *row in self.database(f"SELECT task_id, {columns} FROM django_celery_results_taskresult")
        }
        name, kwargs, result, worker, meta = rows[ids["retried"]]
        self.assertEqual(name, "calls.tasks.save_conversation_turn")
        self.assertIn(CALL_SID, kwargs)
        self.assertIn("'turn_index': 9", kwargs)
        self.assertEqual(result, f'"{CALL_SID} turn 9"')
        self.assertIn("@", worker)
        self.assertIn('"queue": "default"', meta)
        self.assertEqual(rows[ids["created"]][2], f'"{CALL_SID} created"')
        self.assertIn("IntegrityError at", rows[ids["failed"]][2])

    def assert_a_retry_remembers_when_it_was_sent(self, task_id: str, published_at: float) -> None:
        rows = self.database("SELECT meta FROM django_celery_results_taskresult WHERE task_id = ?", task_id)
        meta = json.loads(rows[0][0])
        self.assertGreaterEqual(meta["retries"], 1)
        self.assertLess(published_at - 10, meta["sent_at"])
        self.assertLess(meta["sent_at"], published_at)

    def test_the_worker_says_that_it_lives_and_which_queues_it_takes_from(self) -> None:
        def workers() -> dict[str, int]:
            return dict(broker.ask(["high", "default"], self.valkey.url).workers)

        self.until("its beat", lambda: workers() == {"high": 1, "default": 1})

    def test_a_pickle_or_an_unknown_task_in_the_queue_is_not_run_and_not_shown(self) -> None:
        with Connection(self.valkey.broker_url) as connection:
            app.amqp.Producer(connection).publish(
                [[], self.turn(20), {}],
                routing_key="default",
                serializer="pickle",
                headers={"task": "calls.tasks.save_conversation_turn", "id": "pickled", "lang": "py"},
            )
            # What an older worker meets while a newer release is rolled out.
            shown = {"argsrepr": "()", "kwargsrepr": "{}"}
            producer = app.amqp.Producer(connection)
            app.send_task("calls.tasks.of_tomorrow", kwargs=self.turn(21), producer=producer, **shown)
        identity = {"from_number": CALLER, "to_number": "", "direction": "inbound"}
        following = self.publish(
            tasks.create_call_log, queue="default", kwargs={"call_sid": CALL_SID, "business_id": 1, **identity}
        )
        self.until("the next task", lambda: self.state(following) == "SUCCESS")
        self.assertEqual(self.state("pickled"), "")
        self.assertEqual(self.database("SELECT * FROM calls_conversationturn WHERE turn_index > 19"), [])
        self.assertIn("of_tomorrow", self.log())
        self.assert_nothing_spoken()

    def test_the_workers_timeouts_do_not_cut_its_reads(self) -> None:
        """A blocking read waits for work longer than the socket's timeout would allow if the two were not in tune."""
        self.until("ready", lambda: " ready." in self.log())
        idle_until = time.monotonic() + settings.CELERY_BROKER_TRANSPORT_OPTIONS["socket_timeout"] + 1
        self.until("idle time", lambda: time.monotonic() > idle_until)
        self.assertNotIn("onnection to broker lost", self.log())
        self.assertNotIn("Timeout", self.log())
