"""What `manage.py call` prints, and what it takes for a record to be complete."""

from __future__ import annotations

from django.test import SimpleTestCase, TestCase

from businesses import demo
from businesses.models import Business
from calls.models import CallLog, CallStatus
from voiceagent.demonstration import CALL_SID, Said, Transcript, what_is_missing
from voiceagent.management.commands.run import banner


def said(index: int, caller: str = "", agent: str = "", *, heard: str = "", interrupted: bool = False) -> Said:
    return Said(index, caller, agent, heard, heard_ms=2300, generated_ms=8900, interrupted=interrupted)


class TranscriptTests(SimpleTestCase):
    def test_each_turn_is_shown_once_when_it_comes(self) -> None:
        transcript = Transcript("Robin")
        greeting, question = said(0, agent="Hello."), said(1, "When do you close?", "At six.")
        self.assertEqual(transcript.new_lines([greeting]), ["  Robin   Hello."])
        self.assertEqual(
            transcript.new_lines([greeting, question]), ["  Caller  When do you close?", "  Robin   At six."]
        )
        self.assertEqual(transcript.new_lines([greeting, question]), [])

    def test_words_that_a_later_revision_changed_are_shown_again(self) -> None:
        transcript = Transcript("Robin")
        transcript.new_lines([said(1, "", "At six.")])
        lines = transcript.new_lines([said(1, "When do you close?", "At six.")])
        self.assertEqual(lines[0], "  (heard better:)")
        self.assertIn("  Caller  When do you close?", lines)

    def test_an_interrupted_answer_shows_what_was_heard_and_how_much(self) -> None:
        turn = said(2, "Parking?", "There is parking behind the building.", heard="There is", interrupted=True)
        self.assertEqual(Transcript("Robin").new_lines([turn])[1], "  Robin   There is [cut off after 2.3 of 8.9 s]")

    def test_long_words_are_wrapped_under_their_speaker(self) -> None:
        lines = Transcript("Robin").new_lines([said(0, agent="word " * 40)])
        self.assertEqual(len(lines), 3)
        self.assertTrue(all(line.startswith("          word") for line in lines[1:]))

    def test_the_call_is_found_in_the_carriers_narration(self) -> None:
        found = CALL_SID.search("   0.00 s  call CA0123456789abcdef0123456789abcdef from +15550100123 to +15550100100")
        assert found is not None
        self.assertEqual(found[1], "CA0123456789abcdef0123456789abcdef")


class RecordTests(TestCase):
    def setUp(self) -> None:
        demo.seed()
        self.call = CallLog.objects.create(
            call_sid="CA1", business=Business.objects.get(), status=CallStatus.COMPLETED, transcript="Agent: Hello."
        )

    def test_a_call_without_a_row_or_turns_is_not_complete(self) -> None:
        self.assertIn("not in the database", what_is_missing(None))
        self.assertIn("no turns", what_is_missing(self.call))

    def test_a_gap_in_the_turns_is_named(self) -> None:
        for index in (0, 2):
            self.call.turns.create(turn_index=index)
        self.assertIn("turns are missing: there are only [0, 2]", what_is_missing(self.call))

    def test_all_of_it_must_be_there(self) -> None:
        self.call.turns.create(turn_index=0)
        self.assertIn("not marked complete", what_is_missing(self.call))
        self.call.is_complete = True
        self.assertEqual(what_is_missing(self.call), "")
        self.call.transcript = ""
        self.assertIn("no transcript", what_is_missing(self.call))


class BannerTests(TestCase):
    def test_it_says_where_admin_is_who_may_enter_and_what_is_simulated(self) -> None:
        demo.seed()
        number = Business.objects.get().numbers.first()
        text = banner(8003, "secret", number)
        self.assertIn("http://127.0.0.1:8003/admin/   admin, password secret", text)
        self.assertIn("Model   SIMULATED", text)
        self.assertIn("OPENAI_API_KEY=", text)
        self.assertIn(f"{number}, Harbor Dental, answered by Robin", text)

    def test_the_password_is_said_only_when_it_is_new(self) -> None:
        self.assertIn("password in ", banner(8003, None, None))

    def test_a_public_server_is_opened_through_its_address(self) -> None:
        with self.settings(
            IS_PUBLIC=True, PUBLIC_URL="https://voice.example.com", TWILIO_IS_SIMULATED=False, OPENAI_API_KEY="sk-x"
        ):
            text = banner(8003, None, None)
        self.assertIn("https://voice.example.com/admin/", text)
        self.assertIn("Twilio calls https://voice.example.com/twilio/voice/", text)
        self.assertNotIn("SIMULATED", text)
        self.assertNotIn("sk-x", text)
