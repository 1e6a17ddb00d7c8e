"""Is it the agent's own voice? On the simulators' speech, with made echoes: later, quieter, in noise."""

import random

from django.test import SimpleTestCase

from media.engine.echo import is_echo
from media.engine.tone import mu_law
from simulators.speech import all_clips, load

FRAME = 160
AGENT = [clip.audio for clip in all_clips().values() if clip.speaker == "agent"]
CALLER = [clip.audio for clip in all_clips().values() if clip.speaker == "caller" and len(clip.text) > 10]
HEARD_BYTES = 20_000


def linear(byte: int) -> int:
    """One mu-law byte as a sample of 16 bits (ITU-T G.711)."""
    byte = ~byte & 0xFF
    level = (((byte & 0x0F) << 3) + 132 << ((byte >> 4) & 7)) - 132
    return -level if byte & 0x80 else level


LINEAR = [linear(byte) for byte in range(256)]


def line(audio: bytes, down_db: float, noise: float, seed: int = 1) -> bytes:
    """What a loudspeaker and a microphone make of it. `noise`: its loudest sample."""
    dice, factor = random.Random(seed), 10 ** (-down_db / 20)
    return bytes(mu_law(int(LINEAR[byte] * factor + dice.uniform(-noise, noise))) for byte in audio)


def heard(audio: bytes, until: int) -> bytes:
    """The last 2.5 s of the agent's side up to a byte of it."""
    return (b"\xff" * HEARD_BYTES + audio[:until])[-HEARD_BYTES:]


class Echoes(SimpleTestCase):
    def test_the_agents_voice_is_known_again_later_quieter_and_in_noise(self) -> None:
        missed = tried = 0
        for number, said in enumerate(AGENT):
            for late_frames, down_db, noise in ((2, 6, 0), (6, 12, 40), (10, 20, 40), (20, 12, 10)):
                now, late = 12_000, late_frames * FRAME
                came = line(b"\xff" * 8000 + said[: now - late], down_db, noise, number)
                tried += 1
                missed += not is_echo([heard(said, now)], came)
        self.assertGreater(tried, 30)
        self.assertLessEqual(missed, tried // 20)

    def test_it_is_known_when_it_is_over(self) -> None:
        said = load("price").audio
        came = line(said[:9600], 12, 20) + line(b"\xff" * 1600, 0, 20)  # 200 ms of nothing but noise
        self.assertTrue(is_echo([heard(said[:9600] + b"\xff" * 2400, 12_000)], b"\xff" * 6400 + came))

    def test_callers_are_not_taken_for_it(self) -> None:
        mistaken = tried = 0
        for said in AGENT:
            for words in CALLER:
                tried += 1
                mistaken += is_echo([heard(said, 12_000)], b"\xff" * 8000 + line(words[800:6400], 0, 20)) is True
        self.assertGreater(tried, 50)
        self.assertLessEqual(mistaken, tried // 20)

    def test_who_speaks_over_an_echo_is_not_taken_for_it(self) -> None:
        said, words = load("parking").audio, load("stop").audio
        echo = said[12_000 - 960 - 6400 : 12_000 - 960]
        both = bytes(mu_law(LINEAR[one] // 4 + LINEAR[other]) for one, other in zip(echo, words[800:7200], strict=True))
        self.assertFalse(is_echo([heard(said, 12_000)], b"\xff" * 6400 + both))

    def test_a_short_sound_is_never_one(self) -> None:
        said = load("parking").audio
        echo = said[12_000 - 960 - 1120 : 12_000 - 960]  # 140 ms
        self.assertFalse(is_echo([heard(said, 12_000)], b"\xff" * 6400 + echo))

    def test_nor_is_silence_or_a_tone(self) -> None:
        said = load("parking").audio
        for came in (b"", b"\xff" * 16_000, bytes([0x90]) * 16_000):
            self.assertFalse(is_echo([heard(said, 12_000)], came))
        self.assertFalse(is_echo([b"\xff" * HEARD_BYTES], said[:8000]))

    def test_what_was_heard_for_less_time_than_it_came_is_not_looked_at(self) -> None:
        self.assertFalse(is_echo([load("parking").audio[:1600]], load("parking").audio[:8000]))
