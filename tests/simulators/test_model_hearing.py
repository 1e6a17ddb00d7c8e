"""Voice detection and recognition on real clips, without a server."""

from __future__ import annotations

import random

from django.test import SimpleTestCase

from simulators.model import audio
from simulators.model.config import SERVER_VAD
from simulators.model.hearing import UNKNOWN_TEXT, Hearing
from simulators.model.listening import Ear
from simulators.model.vad import SpeechStarted, SpeechStopped
from simulators.speech import all_clips, load

CALLER = [clip for clip in all_clips().values() if clip.speaker == "caller"]
HEARING = Hearing(all_clips())


def noisy(ulaw: bytes, level: float = 60) -> bytes:
    """With line noise of that standard deviation (of 32768)."""
    pick = random.Random(1)
    return bytes(audio._linear_to_ulaw(audio.ULAW[code] + int(pick.gauss(0, level))) for code in ulaw)


def ear(**detection: object) -> Ear:
    listener = Ear()
    listener.configure({"format": {"type": "audio/pcmu"}, "turn_detection": {**SERVER_VAD, **detection}})
    return listener


class VoiceDetectionTests(SimpleTestCase):
    def test_each_line_of_the_caller_is_one_stretch_of_speech(self) -> None:
        for clip in CALLER:
            with self.subTest(clip.name):
                found = ear().hear(b"\xff" * 8000 + clip.audio + b"\xff" * 8000)
                self.assertEqual([type(event) for event in found], [SpeechStarted, SpeechStopped])

    def test_start_and_end_are_on_the_clock_of_the_input(self) -> None:
        start, stop = ear().hear(b"\xff" * 8000 + load("ask-hours").audio + b"\xff" * 8000)
        assert isinstance(start, SpeechStarted) and isinstance(stop, SpeechStopped)
        # 1000 ms of silence, 100 ms at the head of the clip, less 300 ms of padding
        self.assertAlmostEqual(start.audio_start_ms, 800, delta=80)
        # to the clip's end, less its 100 ms of silence, and the 500 ms that ended the turn
        self.assertAlmostEqual(stop.audio_end_ms, 1000 + load("ask-hours").duration_ms - 100 + 500, delta=120)

    def test_the_settings_of_turn_detection_are_honoured(self) -> None:
        sound = b"\xff" * 8000 + load("bye").audio + b"\xff" * 16000
        usual = ear().hear(sound)
        padded = ear(prefix_padding_ms=0).hear(sound)
        patient = ear(silence_duration_ms=1500).hear(sound)
        nervous = ear(silence_duration_ms=100).hear(sound)
        assert isinstance(usual[0], SpeechStarted) and isinstance(padded[0], SpeechStarted)
        assert isinstance(usual[1], SpeechStopped) and isinstance(patient[1], SpeechStopped)
        self.assertEqual(padded[0].audio_start_ms - usual[0].audio_start_ms, 300)
        self.assertEqual(patient[1].audio_end_ms - usual[1].audio_end_ms, 1000)
        self.assertGreater(len(nervous), 2)

    def test_a_high_threshold_is_deaf_to_a_quiet_voice(self) -> None:
        quiet = bytes(audio._linear_to_ulaw(audio.ULAW[code] // 8) for code in load("ask-hours").audio)
        self.assertEqual(ear(threshold=1.0).hear(quiet), [])
        self.assertNotEqual(ear(threshold=0.2).hear(quiet), [])

    def test_silence_noise_and_a_click_start_nothing(self) -> None:
        click = b"\xff" * 4000 + b"\x00\x80" * 80 + b"\xff" * 4000
        self.assertEqual(ear().hear(noisy(b"\xff" * 16000)), [])
        self.assertEqual(ear().hear(click), [])

    def test_it_does_not_matter_how_the_bytes_are_cut(self) -> None:
        sound = b"\xff" * 3000 + load("ask-parking").audio + b"\xff" * 8000
        for size in (1, 7, 160, 400, 5000):
            listener = ear()
            found = [event for at in range(0, len(sound), size) for event in listener.hear(sound[at : at + size])]
            with self.subTest(size):
                self.assertEqual(found, ear().hear(sound))
                self.assertEqual(listener.total_bytes, len(sound))


class RecognitionTests(SimpleTestCase):
    def heard(self, sound: bytes) -> tuple[tuple[str, ...], str]:
        result = HEARING.recognise(audio.envelope(sound))
        return result.clips, result.text

    def test_every_line_of_the_caller_is_known_again(self) -> None:
        for clip in CALLER:
            for offset in (0, 40, 80, 1600, 1600 + 80):
                with self.subTest(clip.name, offset=offset):
                    clean = b"\xff" * offset + clip.audio + b"\xff" * 4000
                    self.assertEqual(self.heard(clean), ((clip.name,), clip.text))
                    self.assertEqual(self.heard(noisy(clean)), ((clip.name,), clip.text))

    def test_the_agent_and_made_up_speech_are_not_taken_for_the_caller(self) -> None:
        strange = [clip.audio for clip in all_clips().values() if clip.speaker == "agent"]
        strange += [audio.babble("Could I speak to someone about an invoice, please?"), noisy(b"\xff" * 20000, 3000)]
        for sound in strange:
            self.assertEqual(self.heard(sound), ((), UNKNOWN_TEXT))

    def test_two_lines_in_one_breath_are_both_heard_in_order(self) -> None:
        clips, text = self.heard(load("ask-parking").audio + load("ask-hours").audio)
        self.assertEqual(clips, ("ask-parking", "ask-hours"))
        self.assertEqual(text, f"{load('ask-parking').text} {load('ask-hours').text}")

    def test_a_part_of_a_line_has_only_its_words(self) -> None:
        sound = load("ask-saturday").audio
        most, text = self.heard(sound[: len(sound) * 2 // 3])
        self.assertEqual(most, ("ask-saturday",))
        self.assertTrue(load("ask-saturday").text.startswith(text))
        self.assertLess(len(text), len(load("ask-saturday").text))
        self.assertEqual(self.heard(sound[: len(sound) * 2 // 5])[0], ())


class FormatTests(SimpleTestCase):
    def test_loudness_is_the_same_in_every_format(self) -> None:
        ulaw = load("ask-hours").audio[8000:8160]
        loudness = audio.rms(ulaw, "audio/pcmu")
        for name in ("audio/pcma", "audio/pcm"):
            with self.subTest(name):
                self.assertAlmostEqual(audio.rms(audio.encode(ulaw, name), name) / loudness, 1, delta=0.05)

    def test_babble_is_audible_as_long_as_its_text_and_always_the_same(self) -> None:
        text = "Good evening, this is the night desk."
        sound = audio.babble(text)
        self.assertEqual(len(sound) // 8, len(text) * 60)
        self.assertEqual(sound, audio.babble(text))
        self.assertNotEqual(sound, audio.babble("Good evening, this is the night dusk."))
        loud = [value for value in audio.envelope(sound) if value > 1000]
        self.assertGreater(len(loud), len(audio.envelope(sound)) * 0.6)
        self.assertEqual(len(ear().hear(sound + b"\xff" * 8000)), 2)

    def test_mu_law_goes_there_and_back(self) -> None:
        for code in range(256):
            self.assertEqual(audio.ULAW[audio._linear_to_ulaw(audio.ULAW[code])], audio.ULAW[code])
