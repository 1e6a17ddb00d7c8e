"""Asks the text model, by the `openai` package's Responses API, and has spoken messages written down by its
audio.transcriptions. The only importer of `openai` in this app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI

from analysis import answers
from analysis.answers import Answer, NoAnswer

TIMEOUT_SECONDS = 40.0  # below the task's limit
MAX_OUTPUT_TOKENS = 4000  # what a reasoning model thinks is among them


@dataclass(frozen=True, slots=True)
class Asked:
    """`task`: what we say; `data`: what was said in the call."""

    task: str
    data: str
    schema_name: str
    schema: dict[str, Any]


def ask(asked: Asked) -> Answer:
    """Raise NoAnswer. Blocks for TIMEOUT_SECONDS and a little at most between two bytes."""
    if not settings.OPENAI_API_KEY:
        raise NoAnswer("no_api_key")
    with _answering() as client:
        raw = client.responses.with_raw_response.create(
            model=settings.OPENAI_ANALYSIS_MODEL,
            instructions=asked.task,
            input=[{"role": "user", "content": asked.data}],
            text={
                "format": {
                    "type": "json_schema",
                    "name": asked.schema_name,
                    "schema": asked.schema,
                    "strict": True,
                }
            },
            max_output_tokens=MAX_OUTPUT_TOKENS,
            store=False,  # a stranger's words are not kept there for looking up
        )
        return answers.read(raw.text)


def transcribe(sound: IO[bytes], language: str) -> Answer:
    """Write down what is said in a WAV file. `language`: a BCP 47 tag. Raise NoAnswer."""
    if not settings.OPENAI_API_KEY:
        raise NoAnswer("no_api_key")
    with _answering() as client:
        raw = client.audio.transcriptions.with_raw_response.create(
            model=settings.OPENAI_TRANSCRIPTION_MODEL,
            file=("message.wav", sound, "audio/wav"),
            language=language.partition("-")[0].lower(),
            response_format="json",
        )
        return answers.read_transcription(raw.text)


@contextmanager
def _answering() -> Iterator[OpenAI]:
    """A client, of whose errors no text gets out: it may quote the request. Raise NoAnswer."""
    client = OpenAI(
        api_key=settings.OPENAI_API_KEY,
        base_url=settings.OPENAI_BASE_URL,
        timeout=TIMEOUT_SECONDS,
        max_retries=0,  # a try that failed is noted, and made again later: analysis.services
    )
    with client:
        try:
            yield client
        except APITimeoutError:
            raise NoAnswer("timed_out") from None
        except APIStatusError as error:
            raise answers.of_status(
                error.status_code, str(error.code or ""), error.response.headers.get("retry-after", "")
            ) from None
        except APIConnectionError:
            raise NoAnswer("unreachable") from None
