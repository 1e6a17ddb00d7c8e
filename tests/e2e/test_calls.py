"""A call as its people see it: what was said on the phone, what the model heard, and what stands in the database."""

from calls import transcripts
from calls.models import CallLog
from simulators import speech
from simulators.carrier.ledger import CallLedger
from tests.e2e.cases import CALLER, NUMBER, SystemTestCase


class ACallIsAnsweredAndLogged(SystemTestCase):
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
        self.assertEqual([turn.bot_reply for turn in turns if turn.bot_reply], [fact["text"] for fact in said])
        self.assertEqual(row.transcript, transcripts.render([vars(turn) for turn in turns]))
        self.assertEqual([fact for fact in session if fact["fact"] == "complaint"], [])
        self.assertEqual(closed["audio_bytes"], ledger.stream.caller_audio_bytes)
        self.assertEqual(closed["audio_sha256"], ledger.stream.caller_audio_sha256)
        self.assertEqual(ledger.stream.agent_audio_discarded_bytes, 0)
        return row

    def test_the_demonstration_call_stands_in_the_log_word_for_word(self) -> None:
        ledger = self.call("demo")
        row = self.assert_logged_truly(ledger)
        turns = self.turns(ledger.call_sid)
        self.assertEqual(
            [turn.user_text for turn in turns],
            ["", *(speech.load(name).text for name in ("ask-hours", "ask-parking", "ask-saturday", "bye"))],
        )
        self.assertEqual(
            [turn.bot_reply for turn in turns],
            [speech.load(name).text for name in ("greeting", "hours", "parking", "saturday", "goodbye")],
        )
        self.assertEqual((row.from_number, row.to_number), (CALLER, NUMBER))
        self.assertEqual((row.status, row.ended_reason), ("completed", "agent_ended"))
        self.assertEqual(row.duration_seconds, ledger.duration_seconds)
        self.assertEqual(row.business, self.business)
        self.assertEqual(row.interruptions, 1)

    def test_what_was_cut_off_is_told_from_what_was_heard(self) -> None:
        ledger = self.call("interrupt")
        self.assert_logged_truly(ledger)
        cut = self.turns(ledger.call_sid)[1]
        self.assertTrue(cut.interrupted)
        self.assertTrue(cut.bot_reply.startswith(cut.heard_text))
        self.assertLess(len(cut.heard_text), len(cut.bot_reply))
        [clear] = ledger.stream.clears
        greeting_and_cut = sum(turn.heard_ms for turn in self.turns(ledger.call_sid)[:2])
        self.assertAlmostEqual(greeting_and_cut, clear.heard_ms, delta=100)

    def test_a_caller_who_hangs_up_in_mid_answer_leaves_a_whole_record(self) -> None:
        ledger = self.call("hang-up-mid-sentence")
        self.assert_logged_truly(ledger)
        last = self.turns(ledger.call_sid)[-1]
        self.assertEqual(last.user_text, speech.load("ask-parking").text)
        self.assertLess(last.heard_ms, last.generated_ms)
        self.assertEqual(self.finished(ledger.call_sid).ended_reason, "caller_hung_up")

    def test_two_calls_in_a_row_and_ten_at_once_are_like_one(self) -> None:
        for _ in range(2):
            self.assert_logged_truly(self.call("question"))
        for ledger in self.calls_at_once(10, "question"):
            self.assert_logged_truly(ledger)
        self.assertEqual(CallLog.objects.filter(status="completed", is_complete=True).count(), 12)

    def test_a_lost_line_is_said_to_be_lost_and_keeps_its_turns(self) -> None:
        ledger = self.call("drop-line")
        row = self.finished(ledger.call_sid)
        self.assertEqual(row.ended_reason, "stream_lost")
        self.assertEqual(self.turns(ledger.call_sid)[1].user_text, speech.load("ask-parking").text)
