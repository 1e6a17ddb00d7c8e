"""The recorder on its journal: whatever broker and database do, what was accepted gets into the database."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from celery import current_app
from celery.signals import worker_ready
from django.db import OperationalError
from django.test import SimpleTestCase, TransactionTestCase, override_settings

from calls import services, tasks
from calls.journal import files
from calls.journal.journal import Journal
from calls.journal.keeper import Keeper
from calls.journal.replay import Report
from calls.models import CallLog, ConversationTurn
from calls.publishing import BrokerUnwell, Publisher
from calls.recorder import Recorder
from calls.transcripts import render
from tests.calls.support import CALL_SID, CALLER, OUR_NUMBER, a_business, a_turn


class FakePublisher(Publisher):
    """A broker that refuses, or takes everything and loses it."""

    def __init__(self, *, well: bool) -> None:
        super().__init__()
        self.well = well
        self.order: list[str] = []

    def publish(self, kind: str, arguments: dict[str, Any]) -> None:
        self.order.append("broker")
        if not self.well:
            raise BrokerUnwell("ConnectionError")


class RecorderOnItsJournal(TransactionTestCase):
    """TransactionTestCase: the recorder writes from its own threads."""

    def setUp(self) -> None:
        self.business, _ = a_business()
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory())) / "journal"
        self.journal = Journal(self.directory, clock=lambda: self.now)
        self.now = 1000.0
        self.addCleanup(self.journal.close, 5)
        self.keeper = Keeper(self.journal, run=lambda work: work())

    def recorder(self, *, broker: bool, journal: Journal | None = None, max_waiting: int = 10_000) -> Recorder:
        self.publisher = FakePublisher(well=broker)
        recorder = Recorder(publisher=self.publisher, journal=journal or self.journal, max_waiting=max_waiting)
        self.addCleanup(recorder.close, 1)
        return recorder

    def a_whole_call(self, recorder: Recorder, turns: int = 3) -> None:
        call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}
        recorder.create_call_log(**call, from_number=CALLER, to_number=OUR_NUMBER, direction="inbound")
        said = [a_turn(index) for index in range(turns)]
        for turn in said:
            recorder.save_conversation_turn(**call, **turn)
        recorder.finalize_call_log(**call, status="completed", duration_seconds=5, transcript=render(said), turns=said)

    def database_away(self) -> Any:
        return mock.patch.object(services, "locked_call", side_effect=OperationalError)

    def assert_written_once(self, turns: int = 3) -> None:
        call = CallLog.objects.get()
        self.assertTrue(call.is_complete)
        self.assertEqual(list(call.turns.values_list("turn_index", flat=True)), list(range(turns)))

    def assert_settled(self) -> None:
        self.keeper.poll()
        self.assertTrue(self.journal.flush(5))
        self.assertEqual(files.paths(self.directory), [])

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it did not come to pass in time")
            time.sleep(0.01)

    def test_what_was_written_directly_is_confirmed_and_the_file_goes(self) -> None:
        recorder = self.recorder(broker=False)
        with self.assertLogs("calls.recorder", "WARNING"):
            self.a_whole_call(recorder)
            self.assertTrue(recorder.close(20))
        self.assert_written_once()
        self.assert_settled()

    def test_what_the_broker_took_and_lost_comes_from_the_journal(self) -> None:
        recorder = self.recorder(broker=True)
        self.a_whole_call(recorder)
        self.assertTrue(recorder.close(20))
        self.assertEqual(recorder.counters().published, 5)
        self.keeper.poll()
        self.assertEqual(CallLog.objects.count(), 0)
        self.now += 30
        with self.assertLogs("calls.journal.keeper", "WARNING"):
            self.assert_settled()
        self.assert_written_once()

    def test_without_broker_and_database_nothing_waits_in_memory_and_all_comes_from_the_journal(self) -> None:
        recorder = self.recorder(broker=False)
        with self.database_away(), self.assertLogs("calls", "WARNING"):
            self.a_whole_call(recorder, turns=50)
            self.until(lambda: recorder.counters().left == 52)
            self.assertEqual(recorder.counters().waiting, 0)
            self.assertTrue(recorder.close(20), "it is safe on the disk")
            self.keeper.poll()
        self.assertEqual(len(files.paths(self.directory)), 1)
        self.now += 1
        with self.assertLogs("calls.journal.keeper", "WARNING"):
            self.assert_settled()
        self.assert_written_once(turns=50)

    def test_a_database_that_hangs_does_not_hold_up_what_the_journal_has(self) -> None:
        recorder = self.recorder(broker=False)
        asked: list[float] = []

        def hangs(*_: object, **__: object) -> Any:
            asked.append(time.monotonic())
            raise TimeoutError

        with mock.patch.object(recorder._pool, "run", hangs), self.assertLogs("calls.recorder", "WARNING"):
            self.a_whole_call(recorder, turns=200)
            self.until(lambda: recorder.counters().left == 202)
        self.assertLess(len(asked), 5)

    def test_what_is_shed_by_a_busy_recorder_is_left_to_the_journal(self) -> None:
        recorder = self.recorder(broker=True, max_waiting=0)
        self.a_whole_call(recorder)
        self.assertEqual((recorder.counters().dropped, recorder.counters().left), (0, 5))
        self.assertTrue(self.journal.flush(5))
        with self.assertLogs("calls.journal.keeper", "WARNING"):
            self.assert_settled()
        self.assert_written_once()

    def test_while_the_disk_is_sick_the_database_is_asked_before_the_broker(self) -> None:
        sick = self.a_sick_journal()
        recorder = self.recorder(broker=True, journal=sick)
        self.a_whole_call(recorder)
        recorder.close(20)
        self.assertEqual((recorder.counters().direct, recorder.counters().published), (5, 0))
        self.assert_written_once()

    def test_with_the_disk_sick_too_facts_wait_in_memory(self) -> None:
        sick = self.a_sick_journal()
        recorder = self.recorder(broker=False, journal=sick)
        with self.database_away(), self.assertLogs("calls.recorder", "WARNING"):
            self.a_whole_call(recorder)
            self.assertFalse(recorder.close(0.5))
            self.assertEqual(recorder.counters().waiting, 5)
        recorder.close(20)
        self.assertEqual(recorder.counters().waiting, 0)
        self.assert_written_once()

    def test_what_a_dead_process_left_is_replayed(self) -> None:
        recorder = self.recorder(broker=True)
        self.a_whole_call(recorder)
        self.assertTrue(recorder.close(20))
        self.assertTrue(self.journal.close(5))
        with override_settings(JOURNAL_DIR=self.directory), self.assertLogs("calls.journal.replay", "WARNING"):
            tasks.replay_journal()
        self.assert_written_once()
        self.assertEqual(ConversationTurn.objects.count(), 3)

    def a_sick_journal(self) -> Journal:
        blocked = self.directory.parent / "blocked"
        blocked.write_text("a file where the directory should be")
        journal = Journal(blocked)
        self.addCleanup(journal.close, 5)
        with self.assertLogs("calls.journal", "ERROR"):
            journal.append("apply_call_status", {"call_sid": "CA0", "business_id": 0, "status": "ringing"})
            self.assertFalse(journal.flush(5))
        self.assertFalse(journal.healthy)
        return journal


class Hooks(SimpleTestCase):
    def test_beat_has_dead_processes_journals_replayed_on_the_queue_high(self) -> None:
        entry = current_app.conf.beat_schedule["replay-journal"]
        self.assertLessEqual(entry["schedule"], 30)
        self.assertEqual(current_app.tasks[entry["task"]].queue, "high")

    def test_a_worker_replays_when_it_is_ready(self) -> None:
        with mock.patch("calls.journal.replay.replay_in_background") as replay:
            worker_ready.send(sender=None)
        replay.assert_called_once_with()

    def test_the_keeper_replays_in_its_first_round(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            keeper = Keeper(Journal(Path(directory)))
            with mock.patch.object(keeper, "replay", return_value=Report()) as replay:
                keeper.stop(0)
                keeper._loop()
            replay.assert_called_once_with()
