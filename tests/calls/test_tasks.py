"""The tasks: their names, queues and limits, and what they let be seen."""

from __future__ import annotations

import contextlib
import inspect
import threading
from typing import Any
from unittest import mock

from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Retry
from celery.signals import task_prerun
from django.conf import settings
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
)
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from psycopg import errors as psycopg_errors

from calls import recorder, services, tasks
from calls.away import is_away
from calls.models import CallLog
from calls.tasks import FactFailed, StorageUnavailable
from tests.calls.support import CALL_SID, CALLER, OUR_NUMBER, a_business, a_leg, a_message, a_tool_use, a_turn
from voiceagent.celery import app

SPOKEN = "nobody else may read this"
QUEUES = {
    "create_call_log": "high",
    "save_conversation_turn": "default",
    "save_tool_use": "default",
    "save_message": "default",
    "save_recording": "default",
    "save_leg": "high",
    "finalize_call_log": "high",
    "apply_call_status": "high",
}


def caused(error: DatabaseError, cause: BaseException) -> DatabaseError:
    """As Django raises it."""
    error.__cause__ = cause
    return error


class AwayTest(SimpleTestCase):
    def test_the_state_of_sql_says_more_than_the_class_of_the_error(self) -> None:
        for error, cause, away in (
            (InternalError, psycopg_errors.ReadOnlySqlTransaction, True),
            (InternalError, psycopg_errors.IdleInTransactionSessionTimeout, True),
            (InternalError, psycopg_errors.DataCorrupted, False),
            (OperationalError, psycopg_errors.DeadlockDetected, True),
            (OperationalError, psycopg_errors.SerializationFailure, True),
            (OperationalError, psycopg_errors.AdminShutdown, True),
            (OperationalError, psycopg_errors.CannotConnectNow, True),
            (OperationalError, psycopg_errors.DiskFull, True),
            (OperationalError, psycopg_errors.QueryCanceled, True),
            (OperationalError, psycopg_errors.LockNotAvailable, True),
            (OperationalError, psycopg_errors.ProgramLimitExceeded, False),
            (IntegrityError, psycopg_errors.UniqueViolation, False),
        ):
            with self.subTest(cause.__name__):
                self.assertIs(is_away(caused(error(), cause())), away)

    def test_without_a_state_the_class_decides(self) -> None:
        for error, away in ((OperationalError(), True), (InterfaceError(), True), (IntegrityError(), False)):
            with self.subTest(type(error).__name__):
                self.assertIs(is_away(error), away)


class ContractTest(SimpleTestCase):
    def test_tasks_have_their_names_queues_and_limits(self) -> None:
        for name, queue in QUEUES.items():
            task = app.tasks[f"calls.tasks.{name}"]
            with self.subTest(name):
                self.assertEqual((task.queue, task.time_limit, task.soft_time_limit), (queue, 30, 20))
                self.assertTrue(task.acks_late and task.reject_on_worker_lost)
                self.assertLessEqual(task.retry_backoff_max, 15)
                self.assertIsNone(task.max_retries)

    def test_service_task_and_recorder_take_the_same_arguments(self) -> None:
        for name in QUEUES:
            by_service = inspect.signature(getattr(services, name)).parameters
            by_task = inspect.signature(getattr(tasks, name).run).parameters
            by_recorder = inspect.signature(getattr(recorder.Recorder, name)).parameters
            with self.subTest(name):
                self.assertEqual(list(by_task), list(by_service))
                self.assertEqual(list(by_recorder)[1:], list(by_service))
                for one, other in zip(by_service.values(), by_task.values(), strict=True):
                    self.assertEqual(one.default, other.default)

    def test_a_task_is_given_back_before_it_is_given_to_another_worker(self) -> None:
        longest = settings.CELERY_TASK_TIME_LIMIT + tasks.FactTask.retry_backoff_max
        self.assertLess(longest, settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"])

    def test_celery_takes_the_settings_as_they_are_written(self) -> None:
        self.assertEqual(app.conf.get("CELERY_DB_REUSE_MAX"), 10_000)  # read by celery.fixups.django under this name
        self.assertEqual(app.conf.accept_content, ["json"])
        self.assertIsNone(app.conf.broker_connection_max_retries)
        self.assertEqual(app.conf.worker_soft_shutdown_timeout, 25)
        self.assertIn("celery.backend_cleanup", app.conf.beat_schedule)


class LeftInTransactionTest(TransactionTestCase):
    def test_a_connection_that_a_time_limit_left_in_a_transaction_is_replaced(self) -> None:
        def broken() -> None:
            """As SoftTimeLimitExceeded leaves it within Atomic.__enter__, and `_store` after it."""
            connection.ensure_connection()
            connection.in_atomic_block = True
            connections.close_all()

        failure, rows = [], []

        def worker() -> None:
            broken()
            with contextlib.suppress(ProgrammingError):
                CallLog.objects.count()
                failure.append("it was not broken")
            task_prerun.send(sender=tasks.save_conversation_turn, task=mock.Mock(**{"request.is_eager": False}))
            rows.append(CallLog.objects.count())
            connections.close_all()

        with self.assertLogs("voiceagent.celery", "ERROR"):
            thread = threading.Thread(target=worker)
            thread.start()
            thread.join()
        self.assertEqual((failure, rows), ([], [0]))


class RunTest(TestCase):
    def setUp(self) -> None:
        self.business, _ = a_business()
        self.call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}
        self.turn: dict[str, Any] = {**self.call, **a_turn(0, user_text=SPOKEN)}

    def failing(self, error: BaseException) -> Any:
        # The real one would close the connection that the test's transaction is on.
        patch = mock.patch.object(connections, "close_all")
        patch.start()
        self.addCleanup(patch.stop)
        return mock.patch.object(services, "save_conversation_turn", side_effect=error)

    def test_a_task_does_what_the_service_does_and_returns_ids(self) -> None:
        identity = {"from_number": CALLER, "to_number": OUR_NUMBER, "direction": "inbound"}
        self.assertEqual(tasks.create_call_log.run(**self.call, **identity), f"{CALL_SID} created")
        self.assertEqual(tasks.save_conversation_turn.run(**self.turn), f"{CALL_SID} turn 0")
        self.assertEqual(tasks.save_tool_use.run(**self.call, **a_tool_use(1)), f"{CALL_SID} tool use")
        self.assertEqual(tasks.save_message.run(**self.call, **a_message(1)), f"{CALL_SID} message")
        self.assertEqual(tasks.save_leg.run(**self.call, **a_leg(1)), f"{CALL_SID} leg")
        said = {"status": "completed", "sequence_number": 3}
        self.assertEqual(tasks.apply_call_status.run(**self.call, **said), f"{CALL_SID} status 3")
        ended = {"status": "completed", "duration_seconds": 4, "transcript": "", "turns": [a_turn(0)]}
        parts = {"tool_uses": [a_tool_use(1), a_tool_use(2)], "messages": [a_message(1), a_message(2)]}
        counted = {"counters": {"echoes": 1}, "usage": {"input_tokens": 5}, "model": "gpt-realtime-2.1"}
        self.assertEqual(tasks.finalize_call_log.run(**self.call, **ended, **parts, **counted), f"{CALL_SID} finalized")
        call = CallLog.objects.get()
        self.assertTrue(call.is_complete)
        self.assertEqual((call.tool_uses.count(), call.messages.count(), call.counters), (2, 2, {"echoes": 1}))
        self.assertIsNotNone(call.cost)

    def test_what_is_seen_of_a_task_names_no_tool_and_nothing_that_was_said(self) -> None:
        sent: list[dict[str, Any]] = []

        def send(*_: Any, **options: Any) -> None:
            sent.append(options)

        for task, arguments in (
            (tasks.save_tool_use, a_tool_use(1, arguments=SPOKEN, output=SPOKEN, name=SPOKEN, tool_call_id=SPOKEN)),
            (tasks.save_message, a_message(1, text=SPOKEN, caller_name=SPOKEN, callback_number=SPOKEN)),
            (tasks.save_leg, a_leg(1, key=SPOKEN, target_name=SPOKEN, number=SPOKEN, briefing=SPOKEN)),
        ):
            with mock.patch("celery.app.task.Task.apply_async", send):
                task.apply_async(kwargs={**self.call, **arguments})
            self.assertNotIn(SPOKEN, sent[-1]["kwargsrepr"] + sent[-1]["argsrepr"])
            self.assertIn(CALL_SID, sent[-1]["kwargsrepr"])

    def test_a_refused_fact_says_so(self) -> None:
        foreign = {**self.turn, "business_id": self.business.pk + 1}
        self.assertEqual(tasks.save_conversation_turn.run(**foreign), f"{CALL_SID} turn 0 refused")

    def test_a_database_that_is_away_means_again_and_says_nothing_of_the_row(self) -> None:
        only_reads = caused(InternalError(SPOKEN), psycopg_errors.ReadOnlySqlTransaction())
        for error in (OperationalError(SPOKEN), InterfaceError(SPOKEN), SoftTimeLimitExceeded(SPOKEN), only_reads):
            with self.subTest(type(error).__name__), self.failing(error), self.assertRaises(Retry) as retried:
                tasks.save_conversation_turn.apply(kwargs=self.turn, throw=True)
            self.assertIsInstance(retried.exception.exc, StorageUnavailable)
            self.assertNotIn(SPOKEN, repr(retried.exception) + str(retried.exception))
            self.assertLessEqual(float(retried.exception.when), 15)

    def test_another_error_fails_without_its_text_and_without_its_cause(self) -> None:
        with (
            self.failing(IntegrityError(f"DETAIL: Failing row contains ({SPOKEN})")),
            self.assertLogs("calls.tasks", "ERROR") as logs,
            self.assertRaises(FactFailed) as failed,
        ):
            tasks.save_conversation_turn.run(**self.turn)
        self.assertRegex(str(failed.exception), r"\AIntegrityError at tasks\.py:\d+\Z")
        self.assertIsNone(failed.exception.__context__)
        self.assertIsNone(failed.exception.__cause__)
        self.assertNotIn(SPOKEN, str([vars(record) for record in logs.records]))
