from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import ModelTraits
from tests.engine.driver import audio, talking


class SpeakingUp(SimpleTestCase):
    def test_the_agent_stops_and_the_model_learns_how_much_was_heard(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says("There is free parking behind the building.", 6000)
        driver.advance(2)
        done = driver.caller_starts()
        self.assertEqual(done[0], commands.ClearPlayback())
        self.assertEqual(done[1], commands.TruncateItem(driver.item_id, 2000))
        self.assertIsInstance(done[2], commands.SaveTurn)

    def test_the_turn_says_what_was_heard_and_what_was_generated(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says("There is free parking behind the building.", 6000)
        driver.advance(2)
        driver.caller_starts()
        turn = driver.all(commands.SaveTurn)[-1].turn
        self.assertTrue(turn.interrupted)
        self.assertEqual(turn.bot_reply, "There is free parking behind the building.")
        self.assertEqual(turn.heard_text, "There is free")
        self.assertEqual((turn.heard_ms, turn.generated_ms), (2000, 6000))

    def test_marks_that_come_back_after_the_clear_count_for_nothing(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says("There is free parking behind the building.", 6000)
        driver.advance(2)
        driver.caller_starts()
        pending = len(driver.carrier.marks)
        self.assertGreater(pending, 20)
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
        driver.caller_starts()
        self.assertEqual(driver.agent_adds(" free parking", 800), [])
        late = events.ModelAudio(driver.response_id, "another", audio(400))
        self.assertEqual(driver.send(late), [])
        driver.response_ends("cancelled")
        driver.end()
        self.assertEqual(driver.finish.counters["late_audio_deltas"], 3)
        self.assertEqual(driver.finish.turns[1].generated_ms, 2800)

    def test_a_cut_item_stays_silent_even_in_another_response(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        driver.agent_says("Hello there.", 2000)
        driver.caller_starts()
        driver.send(events.ResponseStarted("other"))
        self.assertEqual(driver.send(events.ModelAudio("other", driver.item_id, audio(400))), [])

    def test_the_next_answer_plays(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says("There is free parking behind the building.", 6000)
        driver.advance(1)
        driver.caller_says("And on Saturday?")
        self.assertIn(commands.PlayAudio(audio(180)), driver.agent_says("Yes, too.", 900))

    def test_truncation_never_exceeds_what_was_received(self) -> None:
        driver = talking()
        driver.carrier.loses_marks = True
        driver.caller_says("Hi")
        driver.agent_begins("Well", 300)
        driver.advance(1.0)
        driver.caller_starts()
        self.assertEqual(driver.all(commands.TruncateItem), [commands.TruncateItem(driver.item_id, 180)])

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
        driver.send(events.ModelAudio(driver.response_id, third, audio(400)))
        driver.advance(1.8)
        done = driver.caller_starts()
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

    def test_a_response_without_audio_yet_is_cut_quietly(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        driver.agent_begins()
        self.assertEqual(driver.caller_starts(), [])
        self.assertEqual(driver.agent_adds("Hello", 400), [])

    def test_a_model_that_does_not_stop_by_itself_is_told_to(self) -> None:
        driver = talking(traits=ModelTraits(cancels_itself=False))
        driver.caller_says("Hi")
        driver.agent_begins("Hello", 2000)
        driver.advance(0.5)
        done = driver.caller_starts()
        self.assertEqual(done[2:], [commands.CancelResponse(driver.response_id)])
        driver.response_ends("cancelled")
        self.assertEqual(driver.caller_starts(), [])

    def test_a_model_that_truncates_itself_is_not_told(self) -> None:
        driver = talking(traits=ModelTraits(needs_truncate=False))
        driver.caller_says("Hi")
        driver.agent_begins("Hello", 2000)
        self.assertEqual(driver.caller_starts(), [commands.ClearPlayback()])


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
