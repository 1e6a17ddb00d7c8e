"""What a dead process left in its journal gets into the database: once, in order, and without the rest of it."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.management import CommandError, call_command
from django.db import DataError, InternalError, OperationalError, connection
from django.test import SimpleTestCase, TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from psycopg.errors import ProgramLimitExceeded, ReadOnlySqlTransaction

from calls import locked_calls, services
from calls.journal import files, kinds, records
from calls.journal.journal import Journal
from calls.journal.records import Record
from calls.journal.replay import DatabaseAway, Outcome, replay, write
from calls.models import CallLeg, CallLog, CallMessage, ConversationTurn, RefusedFact, ToolUse
from calls.transcripts import render
from tests.calls.support import (
    ACCOUNT_SID,
    CALL_SID,
    CALLER,
    OUR_NUMBER,
    a_business,
    a_leg,
    a_message,
    a_tool_use,
    a_turn,
    at,
)

OTHER_SID = "CA" + "9" * 32
LOG = "calls.journal.replay"


class ReplayCase(SimpleTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory())) / "journal"
        self.seen: list[tuple[str, int]] = []
        self.enterContext(override_settings(JOURNAL_DIR=self.directory))

    def leave(self, call_sid: str, *facts: tuple[str, dict[str, Any]]) -> Path:
        """The file of a process that is dead."""
        journal = Journal(self.directory)
        for kind, arguments in facts:
            journal.append(kind, {"call_sid": call_sid, "business_id": 1, **arguments})
        self.assertTrue(journal.close(5))
        return next(path for path in files.paths(self.directory) if path.name.startswith(f"{call_sid}."))

    def leave_turns(self, count: int, call_sid: str = CALL_SID) -> Path:
        return self.leave(call_sid, *((kinds.TURN, a_turn(index)) for index in range(count)))

    def note(self, record: Record) -> Outcome:
        self.seen.append((record.arguments["call_sid"], record.seq))
        return Outcome.APPLIED


class Replaying(ReplayCase):
    def test_every_fact_in_its_order_and_then_the_file_is_gone(self) -> None:
        self.leave_turns(5)
        self.leave_turns(2, OTHER_SID)
        with self.assertLogs(LOG, "WARNING"):
            report = replay(self.directory, self.note)
        self.assertEqual(self.seen, [(CALL_SID, seq) for seq in range(1, 6)] + [(OTHER_SID, 1), (OTHER_SID, 2)])
        self.assertEqual((report.calls, report.facts, report.quarantined), (2, 7, 0))
        self.assertEqual(files.paths(self.directory), [])

    def test_the_file_of_a_living_process_is_left_alone(self) -> None:
        journal = Journal(self.directory)
        self.addCleanup(journal.close, 5)
        journal.append(kinds.TURN, {"call_sid": CALL_SID, "business_id": 1, **a_turn(0)})
        self.assertTrue(journal.flush(5))
        report = replay(self.directory, self.note)
        self.assertEqual((report.held, report.calls, self.seen), (1, 0, []))
        self.assertEqual(len(files.paths(self.directory)), 1)

    def test_of_two_replayers_one_does_the_work(self) -> None:
        self.leave_turns(3)
        writing, go_on = threading.Event(), threading.Event()

        def slowly(record: Record) -> Outcome:
            writing.set()
            assert go_on.wait(30)
            return self.note(record)

        first = threading.Thread(target=replay, args=(self.directory, slowly))
        first.start()
        self.assertTrue(writing.wait(30))
        second = replay(self.directory, self.note)
        go_on.set()
        first.join(30)
        self.assertEqual((second.held, second.facts), (1, 0))
        self.assertEqual(len(self.seen), 3)
        self.assertEqual(files.paths(self.directory), [])

    def test_a_replayer_that_opened_a_file_too_late_does_nothing(self) -> None:
        path = self.leave_turns(1)
        lock = files._lock

        def deleted_meanwhile(descriptor: int, path: Path) -> bool:
            path.unlink()
            return lock(descriptor, path)

        with mock.patch("calls.journal.files._lock", deleted_meanwhile), files.adopted(path) as data:
            self.assertIsNone(data)

    def test_a_file_taken_by_a_replayer_before_it_was_locked_is_made_anew(self) -> None:
        """The owner made its file, and a replayer deleted it as an empty one before the owner's lock."""
        is_ours = files.OwnFile._is_ours
        calls: list[Path] = []

        def slow_owner(own: files.OwnFile) -> bool:
            if not calls:
                replay(self.directory, self.note)
            calls.append(own.path)
            return is_ours(own)

        with mock.patch.object(files.OwnFile, "_is_ours", slow_owner):
            self.leave_turns(1)
        self.assertEqual(len(calls), 2)
        self.assertEqual(len(files.paths(self.directory)), 1)

    def test_while_the_database_is_away_files_stay_as_they_are(self) -> None:
        contents = {path: path.read_bytes() for path in [self.leave_turns(2, f"CA{n}") for n in range(5)]}
        tries = []

        def away(record: Record) -> Outcome:
            tries.append(record)
            raise DatabaseAway("OperationalError")

        report = replay(self.directory, away)
        self.assertEqual((report.waiting, report.calls, len(tries)), (5, 0, 3))
        self.assertEqual({path: path.read_bytes() for path in files.paths(self.directory)}, contents)

    def test_one_locked_call_does_not_keep_the_others(self) -> None:
        self.leave_turns(1, "CA1")
        self.leave_turns(1, "CA2")

        def one_is_locked(record: Record) -> Outcome:
            if record.arguments["call_sid"] == "CA1":
                raise DatabaseAway("OperationalError")
            return self.note(record)

        report = replay(self.directory, one_is_locked)
        self.assertEqual((report.waiting, report.calls), (1, 1))


class Quarantine(ReplayCase):
    def test_a_torn_end_is_put_aside_and_the_rest_written(self) -> None:
        path = self.leave_turns(3)
        whole = path.read_bytes()
        path.write_bytes(whole[:-10])
        with self.assertLogs(LOG, "ERROR"):
            report = replay(self.directory, self.note)
        self.assertEqual((report.facts, report.quarantined), (2, 1))
        [kept] = (self.directory / files.QUARANTINE).iterdir()
        self.assertTrue(whole[:-10].endswith(kept.read_bytes()))
        self.assertTrue(kept.name.startswith(f"{CALL_SID}."))
        self.assertEqual(stat.S_IMODE(kept.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(kept.parent.stat().st_mode), 0o700)
        self.assertEqual(files.paths(self.directory), [])

    def test_a_damaged_record_costs_no_other(self) -> None:
        path = self.leave_turns(3)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(bytes(data))
        with self.assertLogs(LOG, "ERROR") as logs:
            report = replay(self.directory, self.note)
        self.assertEqual([seq for _, seq in self.seen], [1, 3])
        self.assertEqual(report.quarantined, 1)
        self.assertNotIn("answer", str(logs.output))

    def test_nothing_is_deleted_when_the_quarantine_cannot_be_written(self) -> None:
        path = self.leave_turns(1)
        path.write_bytes(path.read_bytes()[:-1])
        (self.directory / files.QUARANTINE).write_text("a file where the directory should be")
        with self.assertLogs(LOG, "ERROR"):
            report = replay(self.directory, self.note)
        self.assertEqual((report.waiting, report.calls), (1, 0))
        self.assertTrue(path.exists())

    def test_a_record_is_put_aside_once_however_often_it_is_met(self) -> None:
        path = self.leave_turns(2)
        path.write_bytes(b"rubbish" + path.read_bytes())

        def away(record: Record) -> Outcome:
            raise DatabaseAway("OperationalError")

        with self.assertLogs(LOG, "ERROR"):
            replay(self.directory, away)
            replay(self.directory, self.note)
        self.assertEqual(len(list((self.directory / files.QUARANTINE).iterdir())), 1)


class Writing(SimpleTestCase):
    def record(self, kind: str = kinds.TURN, **arguments: Any) -> Record:
        return Record(records.VERSION, "e", 1, kind, at(0), {"call_sid": CALL_SID, "business_id": 1, **arguments})

    def test_a_fact_that_no_service_takes_is_unusable(self) -> None:
        with self.assertLogs(LOG, "ERROR"):
            self.assertIs(write(self.record(unheard_of=1)), Outcome.UNUSABLE)
        self.assertIs(write(self.record("__import__")), Outcome.UNUSABLE)

    def test_a_database_that_is_away_is_not_the_facts_fault(self) -> None:
        only_reads = InternalError("secret")
        only_reads.__cause__ = ReadOnlySqlTransaction()
        for error in (OperationalError("secret"), ConnectionError("secret"), only_reads):
            with (
                mock.patch.object(services, kinds.TURN, side_effect=error),
                self.assertRaises(DatabaseAway) as raised,
            ):
                write(self.record())
            self.assertNotIn("secret", str(raised.exception))

    def test_a_value_that_the_database_does_not_take_is_unusable(self) -> None:
        too_large = OperationalError("secret")
        too_large.__cause__ = ProgramLimitExceeded()
        for error in (DataError("secret"), too_large):
            with (
                mock.patch.object(services, kinds.TURN, side_effect=error),
                self.assertLogs(LOG, "ERROR") as logs,
            ):
                self.assertIs(write(self.record()), Outcome.UNUSABLE)
            self.assertNotIn("secret", str(logs.output))


class IntoTheDatabase(ReplayCase, TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.business, self.version = a_business()

    def facts(self) -> list[tuple[str, dict[str, Any]]]:
        call = {"business_id": self.business.pk}
        turns = [a_turn(0), a_turn(1, 1)]
        created = {"from_number": CALLER, "to_number": OUR_NUMBER, "direction": "inbound", "account_sid": ACCOUNT_SID}
        return [
            (kinds.CREATE, {**call, **created, "status": "in-progress", "occurred_at": at(0)}),
            (kinds.TURN, {**call, **a_turn(0)}),
            (kinds.TURN, {**call, **a_turn(1)}),
            (kinds.TURN, {**call, **a_turn(1, 1)}),
            (
                kinds.FINALIZE,
                {**call, "status": "completed", "duration_seconds": 9, "transcript": render(turns), "turns": turns},
            ),
        ]

    def test_a_call_is_whole_after_it_and_twice_changes_nothing(self) -> None:
        path = self.leave(CALL_SID, *self.facts())
        data = path.read_bytes()
        self.assertIn("1 calls, 5 facts written, 0 refused", self.command())
        call = CallLog.objects.get()
        self.assertEqual((call.status, call.is_complete, call.from_number), ("completed", True, CALLER))
        before = list(ConversationTurn.objects.values())
        path.write_bytes(data)
        self.command()
        self.assertEqual(list(ConversationTurn.objects.values()), before)
        self.assertEqual([turn["revision"] for turn in before], [0, 1])

    def test_a_call_is_one_transaction_whatever_was_said_in_it(self) -> None:
        created, *_ = self.facts()
        call, turns = {"business_id": self.business.pk}, [a_turn(number) for number in range(60)]
        ended = {"status": "completed", "duration_seconds": 9, "transcript": render(turns), "turns": turns}
        told = [(kinds.TURN, {**call, **turn}) for turn in turns]
        self.leave(CALL_SID, created, *told, (kinds.FINALIZE, {**call, **ended}))
        with CaptureQueriesContext(connection) as queries:
            self.assertIn("62 facts written, 0 refused", self.command())
        # Begin; look for the call, for its business, make it, lock it; its turns; all turns; the call; commit.
        self.assertLess(len(queries), 15, [query["sql"][:60] for query in queries])
        row = CallLog.objects.get()
        self.assertEqual((row.turns.count(), row.is_complete, row.transcript), (60, True, render(turns)))

    def leave_calls(self, count: int) -> list[str]:
        """Whole calls, each with a tool used and a message taken."""
        call = {"business_id": self.business.pk}
        created, *turns, (end, ended) = self.facts()
        created[1]["agent_version_id"] = self.version.pk
        more = [(kinds.TOOL_USE, {**call, **a_tool_use(1, "started")}), (kinds.MESSAGE, {**call, **a_message(1)})]
        last = (end, {**ended, "tool_uses": [a_tool_use(1)], "messages": [a_message(1)]})
        call_sids = [f"CA{number:032x}" for number in range(count)]
        for call_sid in call_sids:
            self.leave(call_sid, created, *turns, *more, last)
        return call_sids

    def test_many_calls_take_as_many_statements_as_one(self) -> None:
        call_sids = self.leave_calls(20)
        with CaptureQueriesContext(connection) as queries:
            self.assertIn("20 calls, 140 facts written, 0 refused", self.command())
        # As above; the agent, and its model; tools and messages, each looked for and stored.
        self.assertLess(len(queries), 25, [query["sql"][:60] for query in queries])
        for call in CallLog.objects.all():
            self.assertIn(call.call_sid, call_sids)
            self.assertEqual((call.turns.count(), call.is_complete, call.agent_version), (2, True, self.version))
            self.assertEqual(call.tool_uses.get().state, "finished")
            self.assertEqual(call.messages.count(), 1)
            call_sids.remove(call.call_sid)
        self.assertEqual(call_sids, [])

    def test_what_is_bad_in_one_call_costs_the_others_nothing(self) -> None:
        self.leave_calls(3)
        call = {"business_id": self.business.pk}
        self.leave("CA0", (kinds.TURN, {**call, **a_turn(0), "turn_index": -1}), (kinds.TURN, {**call, **a_turn(1)}))
        self.leave("CA1", (kinds.TURN, {**call, **a_turn(0), "unheard_of": 1}), (kinds.TURN, {**call, **a_turn(1)}))
        self.leave("CA2", (kinds.TURN, {"business_id": self.business.pk + 1, **a_turn(0)}))
        with self.assertLogs(LOG, "ERROR"):
            self.assertIn("6 calls, 23 facts written, 2 refused, 1 quarantined", self.command())
        self.assertEqual(CallLog.objects.filter(is_complete=True).count(), 3)
        self.assertEqual(list(CallLog.objects.get(call_sid="CA0").turns.values_list("turn_index", flat=True)), [1])
        self.assertEqual(list(CallLog.objects.get(call_sid="CA1").turns.values_list("turn_index", flat=True)), [1])
        self.assertEqual(RefusedFact.objects.count(), 2)
        self.assertEqual(files.paths(self.directory), [])

    def test_more_than_a_transaction_is_to_hold_is_written_in_several(self) -> None:
        self.leave_calls(4)
        with (
            mock.patch("calls.journal.replay.TOGETHER_FACTS", 10),
            mock.patch("calls.locked_calls._store", side_effect=locked_calls._store) as store,
        ):
            self.assertIn("4 calls, 28 facts written", self.command())
        self.assertEqual(store.call_count, 2)

    def test_what_can_only_be_written_alone_leaves_no_trace_of_the_try_together(self) -> None:
        created, *turns, _ = self.facts()
        wrong = (kinds.RECORDING, {"business_id": self.business.pk, "recording_sid": "", "state": "waiting"})
        self.leave(CALL_SID, created, *turns, wrong)
        self.assertIn("4 facts written, 1 refused", self.command())
        self.assertEqual((ConversationTurn.objects.count(), RefusedFact.objects.count()), (2, 1))

    def test_one_bad_turn_among_them_costs_no_other(self) -> None:
        call = {"business_id": self.business.pk}
        bad = (kinds.TURN, {**call, **a_turn(1), "turn_index": -1})
        self.leave(CALL_SID, (kinds.TURN, {**call, **a_turn(0)}), bad, (kinds.TURN, {**call, **a_turn(2)}))
        self.assertIn("2 facts written, 1 refused", self.command())
        self.assertEqual(list(ConversationTurn.objects.values_list("turn_index", flat=True)), [0, 2])
        self.assertEqual(RefusedFact.objects.count(), 1)

    def test_tools_and_messages_of_a_process_that_died_before_the_end_are_there(self) -> None:
        call = {"business_id": self.business.pk}
        path = self.leave(
            CALL_SID,
            (kinds.TOOL_USE, {**call, **a_tool_use(1, "started")}),
            (kinds.TOOL_USE, {**call, **a_tool_use(1)}),
            (kinds.TOOL_USE, {**call, **a_tool_use(2, "started")}),
            (kinds.MESSAGE, {**call, **a_message(1)}),
            (kinds.LEG, {**call, **a_leg(1)}),
        )
        data = path.read_bytes()
        self.assertIn("1 calls, 5 facts written, 0 refused", self.command())
        path.write_bytes(data)
        self.command()
        self.assertEqual(list(ToolUse.objects.values_list("state", flat=True)), ["finished", "started"])
        self.assertEqual(CallMessage.objects.get().text, "Please call me back about 1.")
        self.assertEqual(CallLeg.objects.get().state, "asked")

    def test_a_call_without_an_end_is_left_open_for_the_sweep(self) -> None:
        self.leave(CALL_SID, *self.facts()[:3])
        self.command()
        call = CallLog.objects.get()
        self.assertEqual((call.status, call.turns.count(), call.is_complete), ("in-progress", 2, False))

    def test_a_refused_fact_is_kept_for_a_person_and_the_file_goes(self) -> None:
        self.leave(CALL_SID, *self.facts(), (kinds.TURN, {"business_id": self.business.pk + 1, **a_turn(5)}))
        self.assertIn("5 facts written, 1 refused", self.command())
        self.assertEqual(RefusedFact.objects.count(), 1)
        self.assertEqual(files.paths(self.directory), [])

    def test_the_command_fails_when_something_is_left(self) -> None:
        self.leave(CALL_SID, *self.facts())
        with (
            mock.patch.object(services, "save_conversation_turn", side_effect=OperationalError),
            self.assertRaises(CommandError),
        ):
            self.command()
        self.assertEqual(len(files.paths(self.directory)), 1)

    def test_a_process_killed_in_the_middle_of_writing_loses_nothing_that_was_on_the_disk(self) -> None:
        for _ in range(3):
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.calls.journaling_process", str(self.directory), str(self.business.pk)],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert child.stdout is not None
            sure = 0
            while sure < 200:
                line = child.stdout.readline()
                self.assertTrue(line, "the child lives until it is killed")
                sure = int(line)
            [path] = files.paths(self.directory)
            self.assertIn("0 calls, 0 facts written", self.command(), "its owner lives")
            child.kill()
            rest = child.stdout.read()
            child.wait()
            child.stdout.close()
            sure = max([sure, *map(int, rest.split())])
            self.command()
            self.assertFalse(path.exists())
            indexes = list(ConversationTurn.objects.order_by("turn_index").values_list("turn_index", flat=True))
            self.assertGreaterEqual(len(indexes), sure)
            self.assertEqual(indexes, list(range(len(indexes))))
            CallLog.objects.all().delete()

    def command(self) -> str:
        output = io.StringIO()
        call_command("replay_journal", stdout=output)
        return output.getvalue()
