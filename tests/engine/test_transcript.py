import itertools

from django.test import SimpleTestCase

from media.engine.commands import Turn
from media.engine.playback import SpokenItem
from media.engine.transcript import Transcript, heard_part


def spoken(item_id: str, heard: int = 1000, received: int = 1000, *, cut: bool = False) -> dict[str, SpokenItem]:
    """An item of the agent that was played; milliseconds."""
    item = SpokenItem(item_id, "r", 5.0, 6.0, received * 8, received * 8, heard * 8, complete=True, cut=cut)
    return {item_id: item}


def words(turns: list[Turn] | tuple[Turn, ...]) -> list[tuple[int, str, str]]:
    return [(turn.index, turn.user_text, turn.bot_reply) for turn in turns]


class HeardPart(SimpleTestCase):
    TEXT = "one two three four"

    def test_all_nothing_or_a_share_of_it_by_whole_words(self) -> None:
        self.assertEqual(heard_part(self.TEXT, 1000, 1000), self.TEXT)
        self.assertEqual(heard_part(self.TEXT, 1200, 1000), self.TEXT)
        self.assertEqual(heard_part(self.TEXT, 0, 1000), "")
        self.assertEqual(heard_part(self.TEXT, 0, 0), "")
        self.assertEqual(heard_part(self.TEXT, 600, 1000), "one two")
        self.assertEqual(heard_part(self.TEXT, 100, 1000), "")

    def test_every_share_is_a_beginning_that_ends_with_a_word(self) -> None:
        whole = self.TEXT.split()
        for heard in range(1001):
            part = heard_part(self.TEXT, heard, 1000).split()
            self.assertEqual(part, whole[: len(part)])

    def test_a_script_without_spaces_is_cut_anywhere(self) -> None:
        self.assertEqual(heard_part("営業時間は八時から", 500, 1000), "営業時間")


class Order(SimpleTestCase):
    CHAIN = (("a0", "assistant", None), ("u1", "user", "a0"), ("a1", "assistant", "u1"), ("u2", "user", "a1"))

    def test_turns_follow_the_chain_whatever_the_order_of_arrival(self) -> None:
        for arrival in itertools.permutations(self.CHAIN):
            transcript = Transcript(5.0)
            for item_id, role, previous in arrival:
                transcript.item_added(item_id, role, previous, "", 1.0)
            transcript.caller_said("u2", "And Saturday?", 2.0)
            transcript.agent_text_done("a1", "Until six.", 2.0)
            transcript.agent_text_done("a0", "Hello.", 2.0)
            transcript.caller_said("u1", "Are you open?", 9.0)
            expected = [(0, "", "Hello."), (1, "Are you open?", "Until six."), (2, "And Saturday?", "")]
            self.assertEqual(words(transcript.all_turns({})), expected)

    def test_items_without_words_hold_the_chain_together(self) -> None:
        transcript = Transcript(5.0)
        transcript.item_added("u1", "user", None, "", 1.0)
        transcript.item_added("a1", "assistant", "u1", "", 1.0)
        transcript.item_added("call", "", "a1", "", 1.0)
        transcript.item_added("output", "", "call", "", 1.0)
        transcript.item_added("a2", "assistant", "output", "", 1.0)
        transcript.agent_text("a1", "One ", 1.0)
        transcript.agent_text("a1", "moment.", 1.0)
        transcript.agent_text("a2", "On Monday.", 1.0)
        self.assertEqual(words(transcript.all_turns({})), [(1, "", "One moment. On Monday.")])

    def test_an_item_that_names_itself_as_its_forerunner_stays_where_it_is(self) -> None:
        transcript = Transcript(5.0)
        transcript.item_added("u1", "user", "u1", "Hi", 1.0)
        self.assertEqual(words(transcript.all_turns({})), [(1, "Hi", "")])

    def test_items_that_follow_each_other_in_a_circle_are_all_kept(self) -> None:
        transcript = Transcript(5.0)
        for item_id, previous in (("u1", "u3"), ("u2", "u1"), ("u3", "u2")):
            transcript.item_added(item_id, "user", previous, item_id, 1.0)
        turns = words(transcript.all_turns({}))
        self.assertEqual(sorted(text for _, text, _ in turns), ["u1", "u2", "u3"])

    def test_an_item_put_between_two_others_stands_there(self) -> None:
        transcript = Transcript(5.0)
        for item_id, previous in (("u1", None), ("u3", "u1"), ("u2", "u1")):
            transcript.item_added(item_id, "user", previous, item_id, 1.0)
        self.assertEqual([text for _, text, _ in words(transcript.all_turns({}))], ["u1", "u2", "u3"])

    def test_an_item_known_by_its_audio_first_takes_its_place_later(self) -> None:
        transcript = Transcript(5.0)
        transcript.agent_item("a1", 1.0)
        transcript.item_added("u1", "user", None, "Hi", 1.0)
        transcript.item_added("a1", "assistant", "u1", "", 1.0)
        transcript.agent_text_done("a1", "Hello.", 1.0)
        self.assertEqual(words(transcript.all_turns({})), [(1, "Hi", "Hello.")])


class Saving(SimpleTestCase):
    def one_exchange(self) -> Transcript:
        transcript = Transcript(5.0)
        transcript.speech_started("u1", 1.0)
        transcript.speech_stopped("u1", 2.0)
        transcript.item_added("u1", "user", None, "", 2.1)
        transcript.item_added("a1", "assistant", "u1", "", 2.2)
        transcript.agent_text_done("a1", "Hello.", 2.3)
        return transcript

    def test_a_turn_waits_for_the_callers_words_and_the_end_of_the_answer(self) -> None:
        transcript = self.one_exchange()
        played, playing = spoken("a1"), spoken("a1", 500)
        self.assertEqual(transcript.to_save(played, quiet=True), [])
        transcript.caller_said("u1", "Hi", 3.0)
        self.assertEqual(transcript.to_save(playing, quiet=True), [])
        self.assertEqual(transcript.to_save(played, quiet=False), [])
        (turn,) = transcript.to_save(played, quiet=True)
        self.assertEqual(turn, Turn(1, 0, "Hi", "Hello.", "Hello.", 1000, 1000, False, 1.0, 6.0))
        self.assertEqual(transcript.to_save(played, quiet=True), [])

    def test_whatever_comes_later_makes_a_higher_revision(self) -> None:
        transcript = self.one_exchange()
        transcript.caller_unclear("u1", 3.0)
        transcript.to_save(spoken("a1"), quiet=True)
        transcript.caller_said("u1", "Hi", 9.0)
        (turn,) = transcript.to_save(spoken("a1"), quiet=True)
        self.assertEqual((turn.index, turn.revision, turn.user_text), (1, 1, "Hi"))
        (final,) = transcript.all_turns(spoken("a1"))
        self.assertEqual(final, turn)

    def test_also_when_many_others_were_saved_since(self) -> None:
        transcript = Transcript(5.0)
        previous = None
        for number in range(6):
            transcript.item_added(f"u{number}", "user", previous, f"Question {number}", 1.0)
            transcript.item_added(f"a{number}", "assistant", f"u{number}", "", 1.0)
            transcript.agent_text_done(f"a{number}", f"Answer {number}", 1.0)
            previous = f"a{number}"
            transcript.to_save({}, quiet=True)
        for late in (0, 3, 5):
            transcript.caller_said(f"u{late}", "Something else", 9.0)
            (turn,) = transcript.to_save({}, quiet=True)
            self.assertEqual((turn.index, turn.revision, turn.user_text), (late + 1, 1, "Something else"))
        transcript.agent_item("a1", 9.0)  # it goes on
        self.assertEqual(transcript.to_save(spoken("a1", 500), quiet=True), [])
        (turn,) = transcript.to_save(spoken("a1"), quiet=True)
        self.assertEqual((turn.index, turn.revision, turn.heard_ms), (2, 1, 1000))
        transcript.forget("u4", 9.0)
        self.assertEqual([turn.index for turn in transcript.to_save({}, quiet=True)], [2, 4, 5])

    def test_words_that_never_come_are_waited_for_so_long(self) -> None:
        transcript = self.one_exchange()
        self.assertTrue(transcript.owed)
        self.assertEqual(transcript.deadline(), 7.1)
        self.assertEqual(transcript.tick(7.0), 0)
        self.assertEqual(transcript.tick(7.1), 1)
        self.assertFalse(transcript.owed)
        self.assertIsNone(transcript.deadline())
        self.assertEqual(len(transcript.to_save(spoken("a1"), quiet=True)), 1)

    def test_a_caller_without_an_answer_is_saved_once_the_next_exchange_began(self) -> None:
        transcript = Transcript(5.0)
        transcript.item_added("u1", "user", None, "Hello?", 1.0)
        self.assertEqual(transcript.to_save({}, quiet=True), [])
        transcript.item_added("u2", "user", "u1", "", 3.0)
        self.assertEqual(words(transcript.to_save({}, quiet=True)), [(1, "Hello?", "")])

    def test_speech_that_is_no_item_yet_is_owed(self) -> None:
        transcript = Transcript(5.0)
        transcript.speech_started("u1", 1.0)
        self.assertTrue(transcript.owed)
        self.assertTrue(transcript.caller_is_speaking)
        transcript.speech_stopped("u1", 2.0)
        self.assertTrue(transcript.owed)
        self.assertFalse(transcript.caller_is_speaking)
        transcript.item_added("u1", "user", None, "Hi", 2.0)
        self.assertFalse(transcript.owed)

    def test_a_turn_that_was_saved_is_never_taken_back(self) -> None:
        transcript = Transcript(5.0)
        transcript.agent_text_done("a1", "Hello.", 1.0)
        self.assertEqual(words(transcript.to_save(spoken("a1"), quiet=True)), [(0, "", "Hello.")])
        transcript.item_added("u1", "user", None, "Hi", 2.0)
        transcript.item_added("a1", "assistant", "u1", "", 2.0)
        turns = transcript.all_turns(spoken("a1"))
        self.assertEqual(words(turns), [(0, "", ""), (1, "Hi", "Hello.")])
        self.assertEqual(turns[0].revision, 1)

    def test_an_agent_that_said_nothing_makes_no_turn(self) -> None:
        transcript = Transcript(5.0)
        transcript.item_added("a0", "assistant", None, "", 1.0)
        self.assertEqual(transcript.all_turns({}), ())
