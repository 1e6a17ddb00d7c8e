"""The caller makes a sound while the agent speaks: it stops at once, and what it was decides how it goes on."""

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import ModelTraits
from media.engine.interruption import Interruption, Verdict, is_back_channel
from tests.engine.driver import CallDriver, sound, talking

ANSWER = "There is free parking behind the building."


def answering(ms: int = 6000, **changes: object) -> CallDriver:
    """The agent has two seconds of a long answer behind it, all of which the model has said."""
    driver = talking(**changes)
    driver.caller_says("Is there parking?")
    driver.agent_says(ANSWER, ms)
    driver.advance(2)
    return driver


def played(done: list[commands.Command]) -> bytes:
    return b"".join(command.audio for command in done if isinstance(command, commands.PlayAudio))


class SpeakingUp(SimpleTestCase):
    def test_the_agent_stops_at_once_and_says_nothing_more_while_it_is_not_known_why(self) -> None:
        driver = answering()
        self.assertEqual(driver.caller_starts(), [commands.ClearPlayback()])
        self.assertEqual(driver.advance(0.5), [])

    def test_speech_that_goes_on_is_an_interruption_and_the_model_learns_how_much_was_heard(self) -> None:
        driver = answering()
        driver.caller_starts()
        self.assertEqual(driver.advance(0.99), [])
        done = driver.advance(0.02)
        self.assertEqual(done[0], commands.TruncateItem(driver.item_id, 2000))
        self.assertEqual([type(command) for command in done[1:]], [commands.SaveTurn])

    def test_how_long_it_has_to_go_on_counts_from_the_silence_that_ends_it(self) -> None:
        driver = answering(traits=ModelTraits(silence_seconds=0.5))
        driver.caller_starts()
        self.assertEqual(driver.advance(1.49), [])
        self.assertEqual(driver.advance(0.02)[0], commands.TruncateItem(driver.item_id, 2000))

    def test_words_are_an_interruption_too_and_are_answered(self) -> None:
        driver = answering()
        driver.caller_starts()
        driver.advance(0.4)
        self.assertEqual(driver.caller_stops(), [])
        done = driver.transcribed("And on Saturday?")
        self.assertEqual(done[:2], [commands.TruncateItem(driver.item_id, 2000), commands.Respond()])

    def test_words_that_do_not_come_in_time_are_taken_for_some(self) -> None:
        driver = answering()
        driver.caller_starts()
        driver.advance(0.4)
        driver.caller_stops()
        self.assertEqual(driver.advance(1.29), [])
        self.assertEqual(driver.advance(0.02)[:2], [commands.TruncateItem(driver.item_id, 2000), commands.Respond()])

    def test_a_long_interruption_is_answered_once_it_ends(self) -> None:
        driver = answering()
        driver.caller_starts()
        self.assertNotIn(commands.Respond(), driver.advance(3))
        self.assertIn(commands.Respond(), driver.caller_stops())
        self.assertNotIn(commands.Respond(), driver.transcribed("And on Saturday?"))

    def test_the_turn_says_what_was_heard_and_what_was_generated(self) -> None:
        driver = answering()
        driver.caller_says("And on Saturday?")
        turn = driver.all(commands.SaveTurn)[-1].turn
        self.assertTrue(turn.interrupted)
        self.assertEqual((turn.bot_reply, turn.heard_text), (ANSWER, "There is free"))
        self.assertEqual((turn.heard_ms, turn.generated_ms), (2000, 6000))

    def test_marks_that_come_back_after_the_clear_count_for_nothing(self) -> None:
        driver = answering()
        pending = len(driver.carrier.marks)
        self.assertGreater(pending, 8)
        driver.caller_says("And on Saturday?")
        driver.advance(1)
        driver.end()
        self.assertEqual(driver.finish.counters["stale_marks"], pending)
        self.assertEqual(driver.finish.turns[1].heard_ms, 2000)
        self.assertEqual(driver.finish.counters["interruptions"], 1)

    def test_audio_still_on_its_way_is_never_played(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_begins("There is", 2000)
        driver.advance(1)
        driver.caller_says(None)
        self.assertEqual(driver.agent_adds(" free parking", 800), [])
        late = events.ModelAudio(driver.response_id, "another", sound(400))
        self.assertEqual(driver.send(late), [])
        driver.response_ends("cancelled")
        driver.end()
        self.assertEqual(driver.finish.counters["late_audio_deltas"], 3)
        self.assertEqual(driver.finish.turns[1].generated_ms, 2800)

    def test_a_cut_item_stays_silent_even_in_another_response(self) -> None:
        driver = answering()
        driver.caller_says(None)
        driver.send(events.ResponseStarted("other"))
        self.assertEqual(driver.send(events.ModelAudio("other", driver.item_id, sound(400))), [])
        self.assertEqual(driver.end().counters["late_audio_deltas"], 1)

    def test_the_next_answer_plays(self) -> None:
        driver = answering()
        driver.caller_says("And on Saturday?")
        self.assertEqual(played(driver.agent_says("Yes, too.", 900)), sound(900))

    def test_truncation_never_exceeds_what_was_received(self) -> None:
        driver = talking()
        driver.carrier.loses_marks = True
        driver.caller_says("Hi")
        driver.agent_begins("Well", 300)
        driver.advance(1.0)
        driver.caller_says(None)
        self.assertEqual(driver.all(commands.TruncateItem), [commands.TruncateItem(driver.item_id, 300)])

    def test_of_several_items_each_is_cut_where_it_was(self) -> None:
        driver = talking()
        driver.caller_says("Tell me everything.")
        driver.agent_begins("First.", 800)
        driver.agent_item_ends("First.")
        first, second = driver.item_id, "second"
        driver.item_id = second
        driver.item_added(second, "assistant")
        driver.agent_adds("Second, and much more.", 2000)
        third = "third"
        driver.send(events.ItemAdded(third, "assistant", second))
        driver.send(events.ModelAudio(driver.response_id, third, sound(400)))
        driver.advance(1.8)
        done = driver.caller_says("Stop.")
        cut = [command for command in done if isinstance(command, commands.TruncateItem)]
        self.assertEqual(cut, [commands.TruncateItem(second, 1000), commands.TruncateItem(third, 0)])
        self.assertNotIn(first, [command.item_id for command in cut])

    def test_an_answer_heard_to_its_end_is_not_interrupted(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        driver.agent_says("Hello.", 900)
        driver.advance(2)
        self.assertEqual(driver.caller_starts(), [])
        self.assertNotIn("interruptions", driver.end().counters)

    def test_a_response_without_audio_yet_is_cut_and_nothing_of_it_is_heard(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        driver.agent_begins()
        self.assertEqual(driver.caller_starts(), [])
        self.assertEqual(driver.agent_adds("Hello", 400), [])
        self.assertIn(commands.CancelResponse(driver.response_id), driver.advance(1))
        self.assertEqual(driver.agent_adds(" there", 400), [])
        self.assertEqual(driver.end().turns[1].heard_ms, 0)

    def test_an_answer_that_was_asked_for_and_had_not_begun_is_cut_when_it_does(self) -> None:
        driver = talking()
        driver.caller_says("I would like")
        driver.caller_says("to change my appointment")
        self.assertEqual(len(driver.all(commands.Respond)), 1)
        self.assertEqual(driver.agent_begins(), [commands.CancelResponse(driver.response_id)])
        self.assertEqual(driver.agent_adds("What", 400), [])
        self.assertIn(commands.Respond(), driver.response_ends("cancelled"))

    def test_an_answer_that_is_running_is_stopped(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        driver.agent_begins("Hello", 2000)
        driver.advance(0.5)
        done = driver.caller_says("Wait.")
        self.assertEqual(
            [command for command in done if not isinstance(command, commands.SaveTurn)],
            [
                commands.ClearPlayback(),
                commands.TruncateItem(driver.item_id, 500),
                commands.CancelResponse(driver.response_id),
            ],
        )
        self.assertIn(commands.Respond(), driver.response_ends("cancelled"))

    def test_a_model_that_stops_by_itself_is_not_told_to(self) -> None:
        driver = talking(traits=ModelTraits(cancels_itself=True))
        driver.caller_says("Hi")
        driver.agent_begins("Hello", 2000)
        driver.caller_says("I would like")
        driver.agent_begins()
        self.assertEqual(driver.all(commands.CancelResponse), [])

    def test_a_model_that_truncates_itself_is_not_told(self) -> None:
        driver = talking(traits=ModelTraits(needs_truncate=False))
        driver.caller_says("Hi")
        driver.agent_begins("Hello", 2000)
        driver.caller_says("Wait.")
        self.assertEqual(driver.all(commands.TruncateItem), [])

    def test_only_one_of_two_sounds_has_to_be_an_interruption(self) -> None:
        driver = answering()
        driver.caller_says(None, 0.2)
        first = driver.caller_item
        driver.caller_says(None, 0.2)
        self.assertNotIn(commands.TruncateItem(driver.item_id, 2000), driver.transcribed("Mhm.", first))
        self.assertIn(commands.TruncateItem(driver.item_id, 2000), driver.transcribed("Stop."))


class ListeningSounds(SimpleTestCase):
    def test_the_agent_goes_on_from_where_the_caller_left_off_hearing(self) -> None:
        driver = answering()
        before = len(driver.carrier.sent)
        done = driver.back_channel()
        self.assertEqual(done[0], commands.ClearPlayback())
        self.assertEqual(played(done)[:160], sound(20))
        driver.advance(10)
        self.assertLess(len(driver.carrier.sent), before + 6000 * 8)
        turn = driver.end().turns[1]
        self.assertEqual((turn.heard_ms, turn.generated_ms, turn.interrupted), (6000, 6000, False))
        self.assertEqual(driver.all(commands.TruncateItem), [])
        self.assertEqual(driver.finish.counters["false_interruptions"], 1)

    def test_not_a_byte_is_lost_or_said_twice(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_begins()
        whole = bytes(range(256)) * 125  # 4 s
        driver.send(events.ModelAudio(driver.response_id, driver.item_id, whole))
        driver.agent_item_ends(ANSWER)
        driver.response_ends()
        driver.advance(1.23)
        begins = len(driver.carrier.sent)
        driver.back_channel()
        driver.advance(10)
        resumed = driver.carrier.sent[begins:]
        heard_before = int(1.23 * 8000)
        self.assertEqual(resumed, whole[heard_before:])

    def test_it_needs_no_answer(self) -> None:
        driver = answering()
        driver.back_channel()
        driver.advance(10)
        self.assertEqual(len(driver.all(commands.Respond)), 1)

    def test_audio_that_comes_meanwhile_is_played_behind_it(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_begins("There is", 1000)
        driver.advance(0.5)
        driver.caller_starts()
        self.assertEqual(driver.agent_adds(" free parking", 800), [])
        driver.advance(0.2)
        driver.caller_stops()
        self.assertEqual(len(played(driver.transcribed("Mhm"))), 1300 * 8)

    def test_a_cough_is_forgotten(self) -> None:
        for words in ("", "..."):
            driver = answering()
            driver.caller_says(None, 0.2)
            done = driver.transcribed(words)
            self.assertEqual(done[0], commands.DropItem(driver.caller_item))
            self.assertTrue(played(done))
            driver.advance(10)
            self.assertEqual([turn.user_text for turn in driver.end().turns], ["", "Is there parking?"])

    def test_a_sound_that_cannot_be_transcribed_is_none_of_words(self) -> None:
        driver = answering()
        driver.caller_says(None, 0.2)
        done = driver.send(events.CallerTranscriptFailed(driver.caller_item, "audio_unintelligible"))
        self.assertEqual(done[0], commands.DropItem(driver.caller_item))

    def test_a_yes_shortly_before_the_end_is_an_answer(self) -> None:
        driver = answering(3000)
        self.assertIn(commands.Respond(), driver.back_channel("Yes."))

    def test_but_not_while_the_model_is_still_speaking(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        driver.agent_begins("Hello", 1000)
        driver.advance(0.5)
        self.assertNotIn(commands.Respond(), driver.back_channel("Yes."))


class LostMarks(SimpleTestCase):
    def test_audio_whose_marks_never_come_back_counts_as_played_after_a_while(self) -> None:
        driver = talking()
        driver.carrier.loses_marks = True
        driver.caller_says("Hi")
        driver.agent_says("Hello.", 1000)
        driver.advance(2.9)
        self.assertEqual(driver.saved[-1][:2], (0, 0))
        driver.advance(0.2)
        self.assertEqual(driver.saved[-1], (1, 0, "Hi", "Hello."))
        driver.hang_up()
        self.assertEqual(driver.finish.counters["overdue_marks"], 1)
        self.assertFalse(driver.finish.turns[1].interrupted)


class WhatASoundIs(SimpleTestCase):
    WORDS = frozenset({"mhm", "yes", "uh-huh", "d'accord"})

    def test_up_to_three_words_said_while_listening(self) -> None:
        for text in ("Mhm.", "yes, yes - mhm!", "Uh-huh", "D'accord."):
            self.assertTrue(is_back_channel(text, self.WORDS), text)
        for text in ("", "...", "No.", "Yes, but", "mhm mhm mhm mhm"):
            self.assertFalse(is_back_channel(text, self.WORDS), text)

    def of(self, *texts: str | None) -> Interruption:
        """Sounds of 100 ms each, half a second apart; None: its words have not come."""
        sounds = Interruption(0.5, self.WORDS)
        for number, text in enumerate(texts):
            sounds.began(str(number), number * 0.5)
            sounds.ended(str(number), number * 0.5 + 0.1, echo=False)
            if text is not None:
                sounds.has_words(str(number), text, "")
        return sounds

    def test_one_that_interrupts_is_enough_wherever_it_stands(self) -> None:
        for texts in (("Stop", None), (None, "Stop"), ("Mhm", "Stop"), ("Stop", "Mhm")):
            self.assertIs(self.of(*texts).verdict(0.7), Verdict.INTERRUPTS, texts)

    def test_only_what_is_overdue_is_judged_by_its_sound(self) -> None:
        sounds = self.of(None, "Mhm", None)
        sounds.long_ones_are_echoes(1.5)
        self.assertEqual(
            [sound.verdict for sound in sounds.sounds.values()], [Verdict.ECHO, Verdict.LISTENS, Verdict.OPEN]
        )

    def test_one_that_is_not_known_is_waited_for(self) -> None:
        for texts in (("Mhm", None), (None, "Mhm")):
            sounds = self.of(*texts)
            self.assertIs(sounds.verdict(0.7), Verdict.OPEN)
            open_one = 0.1 if texts[0] is None else 0.6
            self.assertEqual(sounds.deadline(), open_one + 1.3)
            self.assertIs(sounds.verdict(open_one + 1.3), Verdict.INTERRUPTS)

    def test_nothing_is_waited_for_when_all_are_known(self) -> None:
        sounds = self.of("Mhm", "")
        self.assertIsNone(sounds.deadline())
        self.assertIs(sounds.verdict(0.7), Verdict.NOISE)

    def test_the_first_verdict_stays(self) -> None:
        sounds = self.of("Mhm")
        sounds.has_words("0", "Stop", "")
        self.assertIs(sounds.verdict(0.2), Verdict.LISTENS)

    def test_an_echo_is_no_word_whatever_was_understood(self) -> None:
        sounds = Interruption(0.5)
        sounds.began("0", 0.0)
        sounds.ended("0", 0.1, echo=True)
        sounds.has_words("0", "Hello, this is Robin.", "")
        self.assertIs(sounds.verdict(0.2), Verdict.ECHO)
