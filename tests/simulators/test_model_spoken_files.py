"""The simulated transcription of files: what it hears, what it refuses, what can go wrong."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
import wave
from typing import Any

from django.test import SimpleTestCase
from openai import APIStatusError, OpenAI

from simulators import speech
from simulators.carrier.audio import pcm
from tests.analysis.support import KEY, text_model


def a_file(*clips: str, channels: int = 1) -> bytes:
    """A WAV file of 8 kHz with these clips, a second of silence around each."""
    silence = b"\xff" * 8000
    sound = silence + silence.join(speech.load(name).audio for name in clips) + silence
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(channels)
        audio.setsampwidth(2)
        audio.setframerate(8000)
        samples = pcm(sound)
        audio.writeframes(samples.tobytes())
    return file.getvalue()


class SpokenFilesTest(SimpleTestCase):
    def ask(self, *faults: str, key: str = KEY, **changes: Any) -> Any:
        with text_model(*faults) as server:
            client = OpenAI(api_key=key, base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0)
            with client:
                fields = {"model": "gpt-transcribe", "file": ("message.wav", a_file("ask-hours"))} | changes
                return client.audio.transcriptions.create(**fields)

    def refused(self, *faults: str, key: str = KEY, **changes: Any) -> tuple[int, str | None]:
        with self.assertRaises(APIStatusError) as caught:
            self.ask(*faults, key=key, **changes)
        return caught.exception.status_code, caught.exception.code

    def test_it_hears_the_clips_in_a_file(self) -> None:
        heard = self.ask(file=("message.wav", a_file("ask-hours", "ask-parking")), language="en")
        words = " ".join(speech.load(name).text for name in ("ask-hours", "ask-parking"))
        self.assertEqual(heard.text, words)
        self.assertEqual(heard.usage.type, "duration")
        self.assertAlmostEqual(heard.usage.seconds, len(a_file("ask-hours", "ask-parking")) / 16_000, delta=0.01)

    def test_models_that_are_paid_by_the_token_say_tokens(self) -> None:
        usage = self.ask(model="gpt-4o-transcribe").usage
        self.assertEqual(usage.total_tokens, usage.input_tokens + usage.output_tokens)

    def test_silence_is_no_text(self) -> None:
        self.assertEqual(self.ask(file=("message.wav", a_file("cough"))).text, "")
        self.assertEqual(self.ask(file=("message.wav", a_file())).text, "")

    def test_what_is_not_right_is_refused(self) -> None:
        cases: list[tuple[dict[str, Any], tuple[int, str]]] = [
            ({"model": "gpt-6-luna"}, (404, "model_not_found")),
            ({"file": ("message", a_file("bye"))}, (400, "invalid_value")),
            ({"file": ("message.txt", a_file("bye"))}, (400, "invalid_value")),
            ({"file": ("message.wav", b"RIFF no wave")}, (400, "invalid_value")),
            ({"file": ("message.wav", b"")}, (400, "invalid_value")),
            ({"language": "english"}, (400, "invalid_language_format")),
            ({"response_format": "srt"}, (400, "unsupported_value")),
            ({"extra_body": {"volume": "11"}}, (400, "unknown_parameter")),
        ]
        for changes, refusal in cases:
            with self.subTest(str(changes)[:60]):
                self.assertEqual(self.refused(**changes), refusal)
        self.assertEqual(self.refused(key="another"), (401, "invalid_api_key"))

    def test_what_is_no_form_is_refused(self) -> None:
        with text_model() as server:
            for kind in ("application/json", "multipart/form-data", "multipart/form-data; boundary=x"):
                request = urllib.request.Request(
                    f"http://127.0.0.1:{server.port}/v1/audio/transcriptions",
                    b"{}",
                    {"Content-Type": kind, "Authorization": f"Bearer {KEY}"},
                )
                with self.subTest(kind), self.assertRaises(urllib.error.HTTPError) as caught:
                    urllib.request.urlopen(request, timeout=5)
                self.assertEqual(caught.exception.code, 400)
                caught.exception.close()

    def test_faults(self) -> None:
        self.assertEqual(self.refused("transcribe-status"), (500, None))
        self.assertEqual(self.refused("transcribe-status:429@1"), (429, "rate_limit_exceeded"))
        self.assertEqual(self.ask("transcribe-status@2").text, speech.load("ask-hours").text)
        with text_model("transcribe-broken") as server:
            client = OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0)
            with client:
                asked: dict[str, Any] = {"model": "gpt-transcribe", "file": ("message.wav", a_file("bye"))}
                raw = client.audio.transcriptions.with_raw_response.create(**asked)
        self.assertEqual(raw.text, "<html>Bad gateway</html>")
