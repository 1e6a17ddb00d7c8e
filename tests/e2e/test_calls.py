"""A call as its people see it: what was said on the phone, what the model heard, and what stands in the database."""

import asyncio
from typing import Any, ClassVar

from calls import transcripts
from calls.models import CallLog, ConversationTurn
from simulators import speech
from simulators.carrier.ledger import CallLedger
from tests.e2e.cases import CALLER, NUMBER, SystemTestCase

FRAME_BYTES = 160  # 20 ms of mu-law


class LoggedTruly(SystemTestCase):
    def assert_logged_truly(self, ledger: CallLedger) -> CallLog:
        """Every utterance of both ledgers stands in the database once, in order, and every audio byte went through."""
        self.assertEqual(ledger.complaints, [], self.trouble())
        self.assertEqual(ledger.failures, [], self.trouble())
        row = self.finished(ledger.call_sid)
        turns = self.turns(ledger.call_sid)
        session = self.model_session(row.model_session_id)
        heard = [fact for fact in session if fact["fact"] == "heard"]
        said = [fact for fact in session if fact["fact"] == "said"]
        closed = next(fact for fact in session if fact["fact"] == "closed")

        self.assertEqual([turn.turn_index for turn in turns], list(range(len(turns))))
        self.assertEqual([turn.user_text for turn in turns if turn.user_text], [fact["text"] for fact in heard])
        self.assertEqual([fact["text"] for fact in heard], [utterance.text for utterance in ledger.utterances])
        self.assert_replies(turns, said)
        self.assertEqual(row.transcript, transcripts.render([vars(turn) for turn in turns]))
        self.assertEqual([fact for fact in session if fact["fact"] == "complaint"], [])
        # Frames that were on their way while the agent closed the stream are nobody's; what was read is the same audio.
        in_flight = ledger.stream.caller_audio_bytes - closed["audio_bytes"]
        self.assertIn(in_flight, range(1 if ledger.ended_by == "caller" else 5 * FRAME_BYTES + 1))
        self.assertEqual(closed["audio_sha256"], ledger.stream.recent_sha256[closed["audio_bytes"]])
        self.assertEqual(ledger.stream.agent_audio_discarded_bytes, 0)
        return row

    def assert_replies(self, turns: list[ConversationTurn], said: list[dict[str, Any]]) -> None:
        replies = [turn.bot_reply for turn in turns if turn.bot_reply]
        texts = [fact["text"].strip() for fact in said]
        # The caller did not hear the end of it: the model's last words may have been on their way when the call ended.
        if said[-1]["cancelled"] or turns[-1].interrupted:
            self.assertTrue(texts[-1].startswith(replies[-1]), f"{texts[-1]!r} goes on from {replies[-1]!r}")
            replies, texts = replies[:-1], texts[:-1]
        self.assertEqual(replies, texts)


class ACallIsAnsweredAndLogged(LoggedTruly):
    demo: ClassVar[CallLedger]
    interrupted: ClassVar[CallLedger]
    hung_up: ClassVar[CallLedger]
    lost: ClassVar[CallLedger]
    in_a_row: ClassVar[list[CallLedger]]
    at_once: ClassVar[list[CallLedger]]

    @classmethod
    async def place_calls(cls) -> None:
        async def two_in_a_row() -> list[CallLedger]:
            return [await cls.place("question"), await cls.place("question")]

        scripts = ("demo", "interrupt", "hang-up-mid-sentence", "drop-line", *["question"] * 10)
        at_once = asyncio.gather(*(cls.place(script) for script in scripts))
        cls.in_a_row = await two_in_a_row()
        cls.demo, cls.interrupted, cls.hung_up, cls.lost, *cls.at_once = await at_once

    def test_the_demonstration_call_stands_in_the_log_word_for_word(self) -> None:
        row = self.assert_logged_truly(self.demo)
        turns = self.turns(self.demo.call_sid)
        self.assertEqual(
            [turn.user_text for turn in turns],
            ["", *(speech.load(name).text for name in ("ask-parking", "ask-saturday", "bye"))],
        )
        self.assertEqual(
            [turn.bot_reply for turn in turns],
            [speech.load(name).text for name in ("greeting", "parking", "saturday", "goodbye")],
        )
        self.assertEqual((row.from_number, row.to_number), (CALLER, NUMBER))
        self.assertEqual((row.status, row.ended_reason), ("completed", "agent_ended"))
        self.assertEqual(self.seconds_counted_by_the_carrier(row), self.demo.duration_seconds)
        self.assertEqual(row.business, self.business)
        self.assertEqual(row.interruptions, 1)

    def test_what_was_cut_off_is_told_from_what_was_heard(self) -> None:
        self.assert_logged_truly(self.interrupted)
        turns = self.turns(self.interrupted.call_sid)
        cut = turns[1]
        self.assertTrue(cut.interrupted)
        self.assertTrue(cut.bot_reply.startswith(cut.heard_text))
        self.assertLess(len(cut.heard_text), len(cut.bot_reply))
        [clear] = self.interrupted.stream.clears
        self.assertAlmostEqual(turns[0].heard_ms + cut.heard_ms, clear.heard_ms, delta=100)

    def test_a_caller_who_hangs_up_in_mid_answer_leaves_a_whole_record(self) -> None:
        row = self.assert_logged_truly(self.hung_up)
        last = self.turns(self.hung_up.call_sid)[-1]
        self.assertEqual(last.user_text, speech.load("ask-parking").text)
        self.assertLess(last.heard_ms, last.generated_ms)
        self.assertEqual(row.ended_reason, "caller_hung_up")

    def test_two_calls_in_a_row_and_ten_at_once_are_like_one(self) -> None:
        for ledger in (*self.in_a_row, *self.at_once):
            row = self.assert_logged_truly(ledger)
            self.assertEqual((row.status, row.ended_reason, row.expected_turns), ("completed", "caller_hung_up", 2))
        self.assertEqual(CallLog.objects.count(), 16)

    def test_a_lost_line_is_said_to_be_lost_and_keeps_its_turns(self) -> None:
        row = self.finished(self.lost.call_sid)
        self.assertEqual(row.ended_reason, "stream_lost")
        self.assertEqual(self.turns(self.lost.call_sid)[1].user_text, speech.load("ask-parking").text)


class DaphneServesTheSame(LoggedTruly):
    environment: ClassVar[dict[str, str]] = {"WEB_SERVER": "daphne"}
    demo: ClassVar[CallLedger]
    interrupted: ClassVar[CallLedger]

    @classmethod
    async def place_calls(cls) -> None:
        cls.demo, cls.interrupted = await asyncio.gather(cls.place("demo"), cls.place("interrupt"))

    def test_calls_stand_in_the_log_word_for_word(self) -> None:
        for ledger, turns in ((self.demo, 4), (self.interrupted, 3)):
            row = self.assert_logged_truly(ledger)
            self.assertEqual((row.status, row.expected_turns), ("completed", turns))
