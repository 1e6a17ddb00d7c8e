"""What a process that goes on with a call can know of it: rows and journals, of the living and the dead."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path
from typing import Any
from unittest import mock

from django.db import OperationalError
from django.test import TransactionTestCase, override_settings

from businesses.models import Business
from calls import doors, history, services, stream_tickets
from calls.history import PastTurn
from calls.journal import Journal, kinds
from tests.calls.support import ACCOUNT_SID, CALL_SID, CALLER, OUR_NUMBER, a_business, a_turn

OTHER_CALL = "CA" + "9" * 32


class HistoryTest(TransactionTestCase):
    """TransactionTestCase: rows are looked up in other threads."""

    def setUp(self) -> None:
        self.business, self.version = a_business()
        self.call: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.directory = Path(folder.name)
        settings = override_settings(JOURNAL_DIR=self.directory)
        settings.enable()
        self.addCleanup(settings.disable)

    def journal(self, kind: str, **arguments: Any) -> None:
        """As another process has written it; it holds the file until the end of the test."""
        journal = Journal(self.directory, max_bytes=1_000_000)
        journal.start()
        self.addCleanup(journal.close, 5)
        self.assertTrue(journal.append(kind, {**self.call, **arguments}))
        self.assertTrue(journal.flush(5))

    def recalled(self, number: int = 1) -> list[PastTurn]:
        ticket, _ = stream_tickets.issue(
            call_sid=CALL_SID,
            account_sid=ACCOUNT_SID,
            business_id=self.business.pk,
            agent_version_id=self.version.pk,
            from_number=CALLER,
            to_number=OUR_NUMBER,
            direction="inbound",
            stream_number=number,
        )
        return asyncio.run(doors.recall(stream_tickets.read_ticket(ticket, CALL_SID)))

    def test_rows_and_journals_together_in_order_each_turn_in_its_last_revision(self) -> None:
        services.save_conversation_turn(**self.call, **a_turn(0))
        services.save_conversation_turn(**self.call, **a_turn(1))
        self.journal(kinds.TURN, **a_turn(1, 2))
        self.journal(kinds.FINALIZE, turns=[a_turn(0), a_turn(2)])
        self.journal(kinds.STATUS, status="ringing", sequence_number=1)
        self.assertEqual(
            [(turn.turn_index, turn.revision, turn.user_text) for turn in self.recalled()],
            [(0, 0, a_turn(0)["user_text"]), (1, 2, "question 1 r2"), (2, 0, "question 2 r0")],
        )

    def test_of_a_cut_answer_only_what_was_heard(self) -> None:
        services.save_conversation_turn(**self.call, **a_turn(1, interrupted=True, heard_text="answer"))
        self.assertEqual([turn.heard_text for turn in self.recalled()], ["answer"])

    def test_nothing_of_another_call_or_business(self) -> None:
        other = Business.objects.create(name="Other")
        services.save_conversation_turn(call_sid=OTHER_CALL, business_id=self.business.pk, **a_turn(1))
        self.journal(kinds.TURN, **{**a_turn(2), "business_id": other.pk})
        self.journal(kinds.TURN, **{**a_turn(3), "call_sid": OTHER_CALL})
        self.assertEqual(self.recalled(), [])

    def test_without_a_database_the_journals_are_enough(self) -> None:
        self.journal(kinds.TURN, **a_turn(1))
        with (
            mock.patch.object(history, "from_rows", side_effect=OperationalError("secret words")),
            self.assertLogs("calls.doors", "WARNING") as logs,
        ):
            self.assertEqual([turn.turn_index for turn in self.recalled()], [1])
        self.assertNotIn("secret", str([vars(record) for record in logs.records]))

    def test_a_database_that_hangs_is_not_waited_for(self) -> None:
        self.journal(kinds.TURN, **a_turn(1))
        release = threading.Event()
        self.addCleanup(release.set)
        with (
            mock.patch.object(history, "from_rows", lambda *_: release.wait(30)),
            mock.patch.object(doors, "RECALL_DEADLINE_SECONDS", 0.2),
            self.assertLogs("calls.doors", "WARNING"),
        ):
            self.assertEqual([turn.turn_index for turn in self.recalled()], [1])

    def test_a_torn_journal_gives_what_is_whole(self) -> None:
        self.journal(kinds.TURN, **a_turn(1))
        [path] = self.directory.glob("*.journal")
        with path.open("ab") as file:
            file.write(b"\xffVJ\x01 torn")
        self.assertEqual([turn.turn_index for turn in self.recalled()], [1])

    def test_only_the_latest_of_very_many(self) -> None:
        turns = [PastTurn(index, 0, "", "Yes.") for index in range(100)]
        self.assertEqual(history.merged(turns)[0].turn_index, 60)
