"""What the Responses API, or that for transcriptions, sent back, and what to do when it was no answer. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_TRIES = 5
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0
PERMANENT = frozenset({400, 401, 403, 404, 413, 422})


class NoAnswer(Exception):
    """The model could not be asked, or said nothing that can be used. The message is a short code."""

    def __init__(self, code: str, *, is_permanent: bool = False, wait_seconds: float = 0.0) -> None:
        super().__init__(code)
        self.code = code
        self.is_permanent = is_permanent
        self.wait_seconds = wait_seconds  # as the server wished


@dataclass(frozen=True, slots=True)
class Answer:
    """`end`: done, refused or incomplete."""

    end: str
    text: str = ""
    model: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    reason: str = ""


def read(body: str) -> Answer:
    """A response object, as text. Raise NoAnswer when it is none, or one that failed."""
    try:
        response = json.loads(body)
    except (ValueError, RecursionError):
        raise NoAnswer("unreadable_response") from None
    if not isinstance(response, dict) or response.get("object") != "response":
        raise NoAnswer("unreadable_response")
    facts: dict[str, Any] = {"model": str(response.get("model") or "")[:80], "usage": usage(response.get("usage"))}
    match response.get("status"):
        case "incomplete":
            reason = _mapping(response.get("incomplete_details")).get("reason")
            return Answer("incomplete", reason=str(reason or "unknown")[:40], **facts)
        case "completed":
            return _completed(response, facts)
        case _:
            raise NoAnswer("response_failed")


def _completed(response: Mapping[str, Any], facts: dict[str, Any]) -> Answer:
    parts = [part for item in _entries(response.get("output")) for part in _entries(item.get("content"))]
    if any(part.get("type") == "refusal" for part in parts):
        return Answer("refused", reason="model_declined", **facts)
    texts = [str(part.get("text") or "") for part in parts if part.get("type") == "output_text"]
    if not texts:
        raise NoAnswer("empty_response")
    return Answer("done", text="".join(texts), **facts)


def usage(told: Any) -> dict[str, int]:
    """Tokens under the names that calls.costs knows; cached ones are part of the input."""
    found = _mapping(told)
    counts = {
        "input_tokens": found.get("input_tokens"),
        "output_tokens": found.get("output_tokens"),
        "cached_tokens": _mapping(found.get("input_tokens_details")).get("cached_tokens"),
    }
    return {name: count for name, count in counts.items() if isinstance(count, int) and 0 < count < 10**9}


def read_transcription(body: str) -> Answer:
    """A transcription, as text; empty text when nothing that was said could be understood. Raise NoAnswer."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise NoAnswer("unreadable_response") from None
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        raise NoAnswer("unreadable_response")
    return Answer("done", text=found["text"].strip(), usage=_spoken_usage(found.get("usage")))


def _spoken_usage(told: Any) -> dict[str, int]:
    """Under the names that calls.costs knows. Models that are paid by the token tell tokens, others the seconds they
    have heard."""
    found = _mapping(told)
    seconds = found.get("seconds")
    counts = {
        "transcription_input_tokens": found.get("input_tokens"),
        "transcription_output_tokens": found.get("output_tokens"),
        "transcription_audio_tokens": _mapping(found.get("input_token_details")).get("audio_tokens"),
        "transcription_ms": round(1000 * seconds) if isinstance(seconds, int | float) and 0 < seconds < 10**6 else None,
    }
    return {name: count for name, count in counts.items() if isinstance(count, int) and 0 < count < 10**9}


def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


def of_status(status: int, code: str, retry_after: str) -> NoAnswer:
    """What an HTTP status other than 200 means. `code`: the error's own; `retry_after`: the header."""
    if status in PERMANENT:
        names = {401: "key_refused", 403: "key_refused", 404: "no_such_model"}
        return NoAnswer(names.get(status, "request_refused"), is_permanent=True)
    if status == 429:
        return NoAnswer(
            "no_quota" if code == "insufficient_quota" else "rate_limited", wait_seconds=_seconds(retry_after)
        )
    return NoAnswer("server_error", wait_seconds=_seconds(retry_after))


def pause(tries: int, wished: float = 0.0) -> float:
    """Seconds until the next try, after so many."""
    doubled: float = FIRST_PAUSE * 2 ** (tries - 1)
    return min(max(doubled, wished), LONGEST_PAUSE)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:  # a date: our own pause is good enough
        return 0.0
    return seconds if 0 < seconds <= LONGEST_PAUSE else 0.0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _entries(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
