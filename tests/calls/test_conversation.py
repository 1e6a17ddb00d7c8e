"""A call as it is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.test import SimpleTestCase

from calls.conversation import heard_and_unheard, minutes, read

START = datetime(2026, 11, 23, 19, 5, 12, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")


@dataclass
class Turn:
    turn_index: int = 1
    user_text: str = "Hello"
    bot_reply: str = "We are open until six."
    heard_text: str = ""
    generated_ms: int = 6400
    heard_ms: int = 6400
    reply_ms: int | None = None
    reply_heard_ms: int | None = None
    interrupted: bool = False
    started_at: datetime | None = START + timedelta(seconds=70)


class HeardTest(SimpleTestCase):
    def test_an_answer_that_was_not_interrupted_was_heard(self) -> None:
        self.assertEqual(heard_and_unheard(Turn()), ("We are open until six.", ""))
        self.assertEqual(heard_and_unheard(Turn(bot_reply="", heard_text="We are")), ("We are", ""))

    def test_an_interrupted_answer_is_split_where_the_caller_cut_in(self) -> None:
        turn = Turn(interrupted=True, heard_text="We are  open", heard_ms=2100)
        self.assertEqual(heard_and_unheard(turn), ("We are open", "until six."))
        turn = Turn(interrupted=True, bot_reply="Costs (about) 5?", heard_text="Costs (about)", heard_ms=900)
        self.assertEqual(heard_and_unheard(turn), ("Costs (about)", "5?"))

    def test_nothing_was_heard_of_an_answer_cut_off_at_once(self) -> None:
        self.assertEqual(heard_and_unheard(Turn(interrupted=True, heard_ms=0)), ("", "We are open until six."))

    def test_what_was_heard_counts_where_the_two_texts_differ(self) -> None:
        turn = Turn(interrupted=True, heard_text="We're open", heard_ms=2100)
        self.assertEqual(heard_and_unheard(turn), ("We're open", ""))

    def test_an_answer_whose_heard_words_are_unknown_is_shown_whole_and_says_so(self) -> None:
        (view,) = read([Turn(turn_index=0, interrupted=True, heard_ms=2100)], START, NEW_YORK)
        self.assertEqual((view.heard, view.unheard), ("We are open until six.", ""))
        self.assertEqual(view.agent_note, "It is not known which words of this were heard.")


class ReadTest(SimpleTestCase):
    def test_times_are_of_the_businesss_zone_and_from_the_start_of_the_call(self) -> None:
        (view,) = read([Turn(turn_index=0)], START, NEW_YORK)
        self.assertEqual((view.clock, view.offset), ("14:06:22", "1:10"))
        (view,) = read([Turn(turn_index=0, started_at=None)], None, NEW_YORK)
        self.assertEqual((view.clock, view.offset), ("", ""))

    def test_an_interruption_says_how_much_was_heard(self) -> None:
        said = [
            view.interruption
            for view in read(
                [
                    Turn(0, interrupted=True, heard_text="We", heard_ms=2100),
                    Turn(1, interrupted=True, heard_ms=0),
                    Turn(2, interrupted=True, generated_ms=0, heard_ms=0),
                    Turn(3),
                ],
                START,
                NEW_YORK,
            )
        ]
        self.assertEqual(
            said,
            [
                "Interrupted after 2.1 s of 6.4 s.",
                "Interrupted before any of its 6.4 s was heard.",
                "Interrupted.",
                "",
            ],
        )

    def test_missing_transcripts_are_said_plainly(self) -> None:
        views = list(
            read(
                [
                    Turn(0, user_text=""),
                    Turn(1, user_text=" "),
                    Turn(2, bot_reply=""),
                    Turn(3, bot_reply="", generated_ms=0, heard_ms=0),
                ],
                START,
                NEW_YORK,
            )
        )
        self.assertEqual([view.caller_note for view in views], ["", "No transcript of what the caller said.", "", ""])
        self.assertEqual(
            [view.agent_note for view in views],
            ["", "", "The agent spoke for 6.4 s, but there is no transcript of it.", "The agent did not answer."],
        )
        self.assertTrue(views[0].is_greeting)
        self.assertFalse(views[1].is_greeting)

    def test_gaps_are_counted_where_they_are(self) -> None:
        views = read([Turn(1), Turn(2), Turn(5)], START, NEW_YORK)
        self.assertEqual([view.missing_before for view in views], [1, 0, 2])


class MinutesTest(SimpleTestCase):
    def test_lengths_are_written_as_minutes_and_seconds(self) -> None:
        for seconds, written in (
            (None, "-"),
            (0, "0:00"),
            (9.9, "0:09"),
            (75, "1:15"),
            (3599, "59:59"),
            (3600, "1:00:00"),
            (5405, "1:30:05"),
            (-1, "0:00"),
        ):
            with self.subTest(seconds=seconds):
                self.assertEqual(minutes(seconds), written)
