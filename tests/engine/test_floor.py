"""Who has the floor when sounds are echoes, come over something protected, or come when the agent is silent."""

import base64

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import Clip
from simulators.speech import load
from tests.engine.driver import CallDriver, sound, talking

GREETING = Clip("Thank you for calling.", sound(4000))


def protected(seconds: float = 2.0) -> CallDriver:
    """The agent has begun its own greeting, of four seconds, of which the first are protected."""
    driver = CallDriver(clips={"greeting": GREETING}, protected_greeting_seconds=seconds).connect()
    driver.advance(1)
    return driver


class Protected(SimpleTestCase):
    def test_who_talks_over_it_does_not_stop_it_and_is_answered(self) -> None:
        driver = protected()
        self.assertEqual(driver.caller_starts(), [])
        driver.advance(0.5)
        self.assertIn(commands.Respond(), driver.caller_stops())
        driver.agent_says("Yes?", 400)
        driver.advance(5)
        self.assertEqual(driver.all(commands.ClearPlayback), [])
        self.assertEqual(driver.end().turns[0].heard_ms, 4000)

    def test_who_still_talks_when_it_is_over_stops_the_rest(self) -> None:
        driver = protected()
        driver.caller_starts()
        driver.advance(0.9)
        self.assertEqual(driver.all(commands.ClearPlayback), [])
        driver.advance(0.4)
        self.assertEqual(len(driver.all(commands.ClearPlayback)), 1)
        driver.advance(1)
        driver.caller_stops()
        driver.end()
        heard_ms = driver.finish.turns[0].heard_ms
        self.assertTrue(2000 <= heard_ms < 2400, heard_ms)
        self.assertEqual(driver.all(commands.TruncateItem), [])  # the model has never said it

    def test_who_still_talks_when_all_of_it_was_protected_stops_nothing(self) -> None:
        driver = protected(4.0)
        driver.caller_starts()
        driver.advance(4)
        self.assertEqual(driver.all(commands.ClearPlayback), [])
        self.assertEqual(driver.caller_stops(), [commands.Respond()])

    def test_the_rest_can_be_stopped_at_once(self) -> None:
        driver = protected(0.5)
        self.assertEqual(driver.caller_starts(), [commands.ClearPlayback()])


class Echoing:
    """A caller whose loudspeaker returns what the agent says, `late` seconds later and 12 dB down."""

    def __init__(self, late: float = 0.1) -> None:
        self.said = load("parking").audio
        self.late = late
        self.driver = talking()
        self.driver.caller_says("Is there parking?")
        driver = self.driver
        driver.agent_begins("There is free parking behind the building.")
        driver.send(events.ModelAudio(driver.response_id, driver.item_id, self.said))
        driver.agent_item_ends("There is free parking behind the building.")
        driver.response_ends()

    def hear(self, seconds: float, voice: bytes | None = None) -> list[commands.Command]:
        """So much passes; in each frame comes the echo, or (`voice`) the caller."""
        done: list[commands.Command] = []
        for number in range(round(seconds / 0.02)):
            done += self.driver.advance(0.02)
            echo = quieter(self.driver.carrier.speaker.frame(self.driver.now - self.late))
            frame = voice[number * 160 : (number + 1) * 160] if voice is not None else echo
            self.driver.send(events.CallerAudio(base64.b64encode(frame).decode()))
        return [command for command in done if not isinstance(command, commands.SaveTurn)]


def quieter(audio: bytes) -> bytes:
    """12 dB down: two segments of the mu-law curve."""
    return bytes((byte & 0x80) | min((byte & 0x7F) + 32, 0x7F) for byte in audio)


class Echoes(SimpleTestCase):
    def first_echo(self) -> Echoing:
        line = Echoing()
        line.hear(1.0)
        self.assertEqual(line.driver.caller_starts(), [commands.ClearPlayback()])
        line.hear(0.3)
        done = line.driver.caller_stops()
        self.assertEqual(done[0], commands.DropItem(line.driver.caller_item))
        self.assertTrue(any(isinstance(command, commands.PlayAudio) for command in done), "it does not go on")
        return line

    def test_the_agents_own_voice_does_not_interrupt_it_and_is_forgotten(self) -> None:
        line = self.first_echo()
        line.driver.transcribed("There is free")
        line.driver.advance(20)
        turns = line.driver.end().turns
        self.assertEqual([turn.user_text for turn in turns], ["", "Is there parking?"])
        self.assertFalse(turns[1].interrupted)
        self.assertEqual(line.driver.finish.counters["echoes"], 1)
        self.assertEqual(len(line.driver.all(commands.Respond)), 1)

    def test_one_that_the_model_does_not_hear_the_end_of_is_none_the_less(self) -> None:
        line = Echoing()
        line.hear(1.0)
        line.driver.caller_starts()
        done = line.hear(1.2)
        self.assertIn(commands.DropItem(line.driver.caller_item), done)
        self.assertEqual(line.driver.end().counters["echoes"], 1)

    def test_once_there_is_one_the_next_does_not_even_stop_the_agent(self) -> None:
        line = self.first_echo()
        line.hear(1.5)
        self.assertEqual(line.driver.caller_starts(), [])
        cleared = len(line.driver.all(commands.ClearPlayback))
        line.hear(1.0)
        self.assertEqual(line.driver.caller_stops()[0], commands.DropItem(line.driver.caller_item))
        self.assertEqual(len(line.driver.all(commands.ClearPlayback)), cleared)
        self.assertEqual(line.driver.end().counters["echoes"], 2)

    def test_but_a_caller_stops_it_a_moment_later(self) -> None:
        line = self.first_echo()
        line.hear(1.5)
        self.assertEqual(line.driver.caller_starts(), [])
        done = line.hear(0.3, load("ask-saturday").audio[800:])
        self.assertIn(commands.ClearPlayback(), done)
        line.hear(1.0, load("ask-saturday").audio[3200:])
        self.assertIn(commands.TruncateItem, {type(command) for _, command in line.driver.log})

    def test_and_so_does_one_who_said_only_a_word(self) -> None:
        line = self.first_echo()
        line.hear(1.5)
        line.driver.caller_starts()
        line.hear(0.18, load("stop").audio[800:])
        self.assertEqual(line.driver.caller_stops(), [commands.ClearPlayback()])
        self.assertIn(commands.Respond(), line.driver.transcribed("Stop"))

    def test_an_echo_of_the_last_words_is_no_answer(self) -> None:
        line = Echoing(late=0.2)
        line.hear(len(line.said) / 8000 + 0.04)
        self.assertEqual(line.driver.caller_starts(), [])
        line.hear(0.3)
        asked = len(line.driver.all(commands.Respond))
        done = line.driver.caller_stops()
        self.assertIn(commands.DropItem(line.driver.caller_item), done)
        self.assertEqual(len(line.driver.all(commands.Respond)), asked)

    def test_what_cannot_be_read_is_nobodys_voice(self) -> None:
        line = Echoing()
        line.hear(1.0)
        line.driver.send(events.CallerAudio("x"))
        line.driver.caller_starts()
        line.driver.advance(0.2)
        self.assertEqual(line.driver.caller_stops(), [])
        self.assertIn(commands.Respond(), line.driver.transcribed("Stop"))


class NothingSaid(SimpleTestCase):
    """A sound while nobody speaks is answered at once; if it turns out to have no words, the answer is taken back."""

    def coughed(self) -> CallDriver:
        driver = talking()
        driver.caller_starts()
        driver.advance(0.3)
        self.assertEqual(driver.caller_stops(), [commands.Respond()])
        return driver

    def test_an_answer_on_its_way_is_cancelled_when_it_begins(self) -> None:
        driver = self.coughed()
        self.assertEqual(driver.transcribed(""), [commands.DropItem(driver.caller_item)])
        self.assertIn(commands.CancelResponse("r1_late"), driver.send(events.ResponseStarted("r1_late")))

    def test_one_that_has_begun_is_cancelled_at_once(self) -> None:
        driver = self.coughed()
        driver.agent_begins()
        done = driver.transcribed(" ")
        self.assertEqual(done, [commands.CancelResponse(driver.response_id), commands.DropItem(driver.caller_item)])
        driver.response_ends("cancelled")
        self.assertEqual([turn.user_text for turn in driver.end().turns], [""])

    def test_one_that_is_heard_already_goes_on(self) -> None:
        driver = self.coughed()
        driver.agent_says("I did not catch that.", 900)
        self.assertEqual(driver.transcribed(""), [])

    def test_words_that_could_not_be_transcribed_are_answered(self) -> None:
        driver = self.coughed()
        driver.agent_begins()
        self.assertEqual(driver.send(events.CallerTranscriptFailed(driver.caller_item, "x")), [])

    def test_and_so_is_whoever_spoke_for_longer(self) -> None:
        driver = talking()
        driver.caller_starts()
        driver.advance(3)
        driver.caller_stops()
        driver.agent_begins()
        self.assertEqual(driver.transcribed(""), [])


class EchoesInWords(SimpleTestCase):
    def test_what_the_agent_is_just_saying_is_no_interruption(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says("There is free parking behind the building.", 6000)
        driver.advance(2)
        driver.caller_starts()
        driver.advance(0.3)
        driver.caller_stops()
        done = driver.transcribed("There is free")
        self.assertEqual(done[0], commands.DropItem(driver.caller_item))
        self.assertTrue(any(isinstance(command, commands.PlayAudio) for command in done))
        self.assertEqual(driver.end().counters["echoes"], 1)

    def test_but_at_its_end_it_is_an_answer(self) -> None:
        driver = talking()
        driver.caller_says("Well?")
        driver.agent_says("Yes or no", 2000)
        driver.advance(1.5)
        driver.caller_starts()
        driver.caller_stops()
        self.assertIn(commands.Respond(), driver.transcribed("No"))


class KnownForEchoes(SimpleTestCase):
    def test_what_the_agent_said_last_is_no_answer_even_at_the_end(self) -> None:
        line = Echoes().first_echo()
        line.hear(7.5)
        line.driver.caller_starts()
        line.hear(0.3, load("stop").audio[800:])
        line.driver.caller_stops()
        done = line.driver.transcribed("behind the building")
        self.assertIn(commands.DropItem(line.driver.caller_item), done)


class Silence(SimpleTestCase):
    def test_who_speaks_while_nobody_does_is_answered_whatever_was_said(self) -> None:
        driver = talking()
        self.assertEqual(driver.caller_starts(), [])
        driver.advance(0.1)
        self.assertEqual(driver.caller_stops(), [commands.Respond()])
