"""The judge sees each fault that it is there for, and nothing where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from django.test import SimpleTestCase

from tests.chaos import facts, report
from tests.chaos.judge import PROMISED, CallRow, Expected, Turn, TurnRow, judge, rendered
from tests.chaos.live import exchanges
from tests.chaos.run import Result

SAID = (("", "Hello."), ("When?", "At six."), ("Where?", "Here."))
WANTED = Expected("CA1", 7, {index: Turn(*said) for index, said in enumerate(SAID)})
ROWS = tuple(TurnRow(index, *said) for index, said in enumerate(SAID))


def a_row(*turns: TurnRow, **changes: object) -> CallRow:
    row = CallRow("CA1", 7, "completed", True, rendered(turns), turns)
    return replace(row, **changes)  # type: ignore[arg-type]


class JudgeTest(SimpleTestCase):
    def assert_verdict(self, rows: list[CallRow], expected: Expected = WANTED, **counts: int) -> None:
        verdict = judge([expected], rows)
        self.assertEqual({name: getattr(verdict, name) for name in PROMISED if getattr(verdict, name)}, counts)
        self.assertEqual(verdict.is_clean, not counts)

    def test_a_record_that_equals_its_ledger_is_clean(self) -> None:
        self.assert_verdict([a_row(*ROWS)])

    def test_a_call_without_a_row_is_lost_with_all_its_turns(self) -> None:
        self.assert_verdict([], lost=3)

    def test_a_missing_turn_is_lost(self) -> None:
        self.assert_verdict([a_row(*ROWS[:2], is_complete=False)], lost=1, unfinalized=1)

    def test_two_rows_for_a_call_are_one_too_many(self) -> None:
        self.assert_verdict([a_row(*ROWS), a_row(*ROWS)], doubled=1)

    def test_a_turn_that_stands_there_twice_is_doubled(self) -> None:
        self.assert_verdict([a_row(*ROWS, replace(ROWS[1], turn_index=3))], doubled=1)

    def test_turns_that_changed_places_are_out_of_order(self) -> None:
        swapped = (ROWS[0], replace(ROWS[2], turn_index=1), replace(ROWS[1], turn_index=2))
        self.assert_verdict([a_row(*swapped)], out_of_order=2)

    def test_an_older_revision_is_wrong_text(self) -> None:
        self.assert_verdict([a_row(*ROWS[:2], replace(ROWS[2], bot_reply="There."))], wrong_text=1)

    def test_a_turn_nobody_said_is_wrong_text(self) -> None:
        self.assert_verdict([a_row(*ROWS, TurnRow(3, "Who?", "Me."))], wrong_text=1)

    def test_a_transcript_that_is_not_its_turns_is_wrong_text(self) -> None:
        self.assert_verdict([a_row(*ROWS, transcript="Agent: Hello.")], wrong_text=1)

    def test_of_a_cut_answer_the_transcript_has_what_was_heard(self) -> None:
        cut = replace(ROWS[2], heard_text="He", interrupted=True)
        whole = "\n".join(["Agent: Hello.", "Caller: When?", "Agent: At six.", "Caller: Where?", "Agent: "])
        self.assert_verdict([a_row(*ROWS[:2], cut, transcript=whole + "He")])
        self.assert_verdict([a_row(*ROWS[:2], cut, transcript=whole + "Here.")], wrong_text=1)

    def test_another_business_s_call_is_seen(self) -> None:
        self.assert_verdict([a_row(*ROWS, business_id=8)], wrong_business=1)

    def test_a_call_that_never_ends_is_unfinalized(self) -> None:
        self.assert_verdict([a_row(*ROWS, status="in-progress", is_complete=False)], unfinalized=1)

    def test_what_was_said_just_before_a_kill_may_be_missing_or_half_there(self) -> None:
        killed = replace(WANTED, turns={**WANTED.turns, 2: Turn("Where?", "Here.", promised=False)}, whole=False)
        self.assert_verdict([a_row(*ROWS[:2], is_complete=False)], killed)
        self.assert_verdict([a_row(*ROWS[:2], TurnRow(2, "Where?", ""), is_complete=False)], killed)

    def test_a_correction_that_was_being_handed_over_may_stand_or_not(self) -> None:
        corrected = Turn(*SAID[2], or_else=("Where?", "There."))
        killed = replace(WANTED, turns={**WANTED.turns, 2: corrected}, whole=False)
        self.assert_verdict([a_row(*ROWS, is_complete=False)], killed)
        self.assert_verdict([a_row(*ROWS[:2], TurnRow(2, "Where?", "There."), is_complete=False)], killed)
        self.assert_verdict([a_row(*ROWS[:2], TurnRow(2, "Where?", "Not."), is_complete=False)], killed, wrong_text=1)

    def test_over_several_streams_only_the_order_counts(self) -> None:
        """The second stream's turns are numbered from 10,000 on, and the first of them is the sentence that resumes."""
        said = (SAID[0], SAID[1], ("", "Sorry, we were cut off."), SAID[2])
        resumed = replace(WANTED, turns={index: Turn(*turn) for index, turn in enumerate(said)}, exact=False)
        rows = [TurnRow(index, *turn) for index, turn in zip((0, 1, 10_000, 10_001), said, strict=True)]
        self.assert_verdict([a_row(*rows)], resumed)
        self.assert_verdict([a_row(rows[0], *rows[2:])], resumed, lost=1)
        self.assert_verdict([a_row(*rows, TurnRow(10_002, "Who?", "Me."))], resumed, wrong_text=1)
        self.assert_verdict([a_row(rows[0], rows[1], rows[3], rows[2])], resumed, out_of_order=2)

    def test_over_several_streams_the_exchange_in_which_one_was_killed_may_be_there_in_part(self) -> None:
        said = [Turn(*SAID[0]), Turn(*SAID[1], promised=False), Turn("", "Sorry, we were cut off."), Turn(*SAID[2])]
        resumed = replace(WANTED, turns=dict(enumerate(said)), exact=False, whole=False)
        rows = [TurnRow(0, *SAID[0]), TurnRow(10_000, "", "Sorry, we were cut off."), TurnRow(10_001, *SAID[2])]
        self.assert_verdict([a_row(*rows, is_complete=False)], resumed)
        in_part = TurnRow(1, SAID[1][0], "At")
        self.assert_verdict([a_row(rows[0], in_part, *rows[1:], is_complete=False)], resumed)


class LedgerTest(SimpleTestCase):
    def test_the_model_s_ledger_becomes_turns_with_the_time_they_are_settled(self) -> None:
        facts = [
            {"fact": "said", "at": 1.0, "text": "Hello.", "generated_ms": 500},
            {"fact": "heard", "at": 3.0, "text": "When?"},
            {"fact": "said", "at": 4.0, "text": "At six.", "generated_ms": 1000},
            {"fact": "heard", "at": 9.0, "text": "Where?"},
        ]
        turns = [(said.user_text, said.bot_reply) for said in exchanges(facts)]
        self.assertEqual(turns, [("", "Hello."), ("When?", "At six."), ("Where?", "")])
        self.assertEqual([said.settled_at for said in exchanges(facts)][:2], [3.5, 7.0])

    def test_what_a_killed_process_was_just_handing_over_is_not_promised(self) -> None:
        def line(fact: str, at: float, index: int = 0, revision: int = 0) -> str:
            said = {"index": index, "user": f"Q{index}.{revision}", "bot": f"A{index}.{revision}"}
            return json.dumps({"at": at, "fact": fact, "call": "CA1", "business": 7, **said})

        lines = [line("begun", 1.0), line("turn", 1.1), line("begun", 1.2, 0, 1), line("begun", 1.3, 1)]
        with TemporaryDirectory() as folder:
            ledger = Path(folder, "ledger")
            ledger.write_text("\n".join(lines))
            [call] = facts.read(ledger, killed_at=2.0)
        self.assertEqual(call.turns[0], Turn("Q0.0", "A0.0", True, ("Q0.1", "A0.1")))
        self.assertEqual(call.turns[1], Turn("Q1.0", "A1.0", False))


class ReportTest(SimpleTestCase):
    def test_a_fault_that_was_left_out_says_why_and_is_not_in_the_sum(self) -> None:
        clean = Result("a", calls=2, settled=1.0)
        text = report.table([clean, Result("b", skipped="needs a disk"), Result("c", calls=3, settled=None)])
        self.assertIn("left out: needs a disk", text)
        self.assertIn("| **all** | 5 |", text)
        self.assertIn("never", text.splitlines()[-1])
