"""POST /v1/audio/transcriptions: what is said in a file, as far as a WAV file with the simulators' clips goes.

Demanding like the real one: a form that is none, a field that the API does not have, a file without a name by which its
kind is known, a model that cannot do it are refused with the API's error object.
"""

from __future__ import annotations

import email.parser
import email.policy
import io
import math
import re
import wave
from array import array
from dataclasses import dataclass
from typing import Any

from openai.types.audio.transcription_create_params import TranscriptionCreateParamsNonStreaming

from simulators.model.audio import FRAME_MS
from simulators.model.faults import Faults
from simulators.model.hearing import NOISE, Hearing
from simulators.model.oracle import refuse
from simulators.model.reply import Reply, error

PATH = "/v1/audio/transcriptions"
MODELS = frozenset({"gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1"})
ENDINGS = ("flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "wav", "webm")
MAX_FILE = 25 * 1024 * 1024
PARAMETERS = frozenset(TranscriptionCreateParamsNonStreaming.__annotations__)  # what the SDK knows
_LANGUAGE = re.compile(r"[a-z]{2}")


@dataclass(frozen=True, slots=True)
class Asked:
    model: str
    content: bytes
    fields: dict[str, str]


def faulty(faults: Faults, number: int) -> Reply | None:
    """What goes wrong with the Nth request, if anything does."""
    if (status := faults.number("transcribe-status", 500, number)) is not None:
        codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
        return error(int(status), codes.get(int(status)), f"Simulated {int(status)}.")
    return Reply(200, "<html>Bad gateway</html>") if faults.has("transcribe-broken", number) else None


def parse(content_type: str, body: bytes) -> Asked:
    """The request, found to be right. Raise Refused."""
    form = _form(content_type, body)
    fields = {name: content.decode("utf-8", "replace") for name, (filename, content) in form.items() if not filename}
    for name in form:
        if name.removesuffix("[]") not in PARAMETERS:
            raise refuse("unknown_parameter", f"Unknown parameter: '{name}'.", name)
    if "file" not in form or not form["file"][0]:
        raise refuse("missing_required_parameter", "Missing required parameter: 'file'.", "file")
    if "model" not in fields:
        raise refuse("missing_required_parameter", "Missing required parameter: 'model'.", "model")
    if fields["model"] not in MODELS:
        raise refuse("model_not_found", f"The model '{fields['model']}' does not exist.", "model")
    filename, content = form["file"]
    if filename.rpartition(".")[2].lower() not in ENDINGS:
        raise refuse("invalid_value", f"Unrecognized file format. Supported formats: {list(ENDINGS)}", "file")
    if len(content) > MAX_FILE:
        raise refuse("invalid_value", "Maximum content size limit (26214400) exceeded.", "file")
    if fields.get("response_format", "json") != "json":
        raise refuse("unsupported_value", "This simulator answers in JSON only.", "response_format")
    if "language" in fields and not _LANGUAGE.fullmatch(fields["language"]):
        raise refuse("invalid_language_format", "Language parameter must be specified in ISO-639-1 format.", "language")
    return Asked(fields["model"], content, fields)


def transcribe(asked: Asked, hearing: Hearing) -> dict[str, Any]:
    """The answer to a right request. Raise Refused for what is no audio."""
    loudness, seconds = _heard(asked.content)
    heard = hearing.recognise(loudness)
    text = "" if heard.clips == (NOISE,) or not any(loudness) else heard.text
    tokens, words = math.ceil(seconds * 10), -(-len(text) // 4)
    usage: dict[str, Any] = {"type": "duration", "seconds": seconds}
    if asked.model.startswith("gpt-4o"):
        details = {"audio_tokens": tokens, "text_tokens": 0}
        usage = {"type": "tokens", "input_tokens": tokens, "output_tokens": words, "total_tokens": tokens + words}
        usage["input_token_details"] = details
    return {"text": text, "usage": usage}


def _heard(content: bytes) -> tuple[list[float], float]:
    try:
        with wave.open(io.BytesIO(content)) as audio:
            if audio.getsampwidth() != 2 or audio.getframerate() % (1000 // FRAME_MS):
                raise wave.Error
            rate, channels, samples = audio.getframerate(), audio.getnchannels(), array("h")
            samples.frombytes(audio.readframes(audio.getnframes()))
    except (wave.Error, EOFError, ValueError):
        raise refuse(
            "invalid_value", "The audio file could not be decoded or its format is not supported.", "file"
        ) from None
    size = rate * FRAME_MS // 1000 * channels
    loudness = [
        math.sqrt(sum(sample * sample for sample in samples[start : start + size]) / size)
        for start in range(0, len(samples) - size + 1, size)
    ]
    return loudness, len(samples) / channels / rate


def _form(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """By name: the file's name, empty for a plain field, and the content."""
    if not content_type.lower().startswith("multipart/form-data"):
        raise refuse("invalid_content_type", "Expected multipart/form-data.")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    if not message.is_multipart() or message.defects:
        raise refuse("invalid_form", "Could not parse multipart form.")
    form: dict[str, tuple[str, bytes]] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if not isinstance(name, str) or name in form:
            raise refuse("invalid_form", "Could not parse multipart form.")
        content = part.get_payload(decode=True)
        form[name] = (part.get_filename() or "", content if isinstance(content, bytes) else b"")
    return form
