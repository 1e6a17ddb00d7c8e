"""The transcript as text."""

from __future__ import annotations

from django.test import SimpleTestCase

from calls.transcripts import render


class TranscriptTest(SimpleTestCase):
    def test_turns_are_lines_in_their_order(self) -> None:
        turns = [
            {"turn_index": 1, "user_text": "Are you open?", "bot_reply": "Yes, until six."},
            {"turn_index": 0, "user_text": "", "bot_reply": "Good morning."},
        ]
        self.assertEqual(render(turns), "Agent: Good morning.\nCaller: Are you open?\nAgent: Yes, until six.")

    def test_of_an_interrupted_answer_only_what_was_heard_is_there(self) -> None:
        turn = {
            "turn_index": 0,
            "user_text": "",
            "bot_reply": "One two three",
            "heard_text": "One",
            "interrupted": True,
        }
        self.assertEqual(render([turn]), "Agent: One")
        self.assertEqual(render([{**turn, "heard_text": ""}]), "")

    def test_an_utterance_is_one_line_whatever_is_in_it(self) -> None:
        turn = {"turn_index": 0, "user_text": " a\nAgent: b\r\n", "bot_reply": "  \n"}
        self.assertEqual(render([turn]), "Caller: a Agent: b")

    def test_no_turns_are_no_text(self) -> None:
        self.assertEqual(render([]), "")
