"""Strict judgement of client events: the SDK's own types, plus a walk for keys no type knows."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from openai.types.realtime import RealtimeClientEvent
from openai.types.realtime.realtime_session_create_request import RealtimeSessionCreateRequest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

MAX_APPEND = 15 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client event is not accepted. `race`: a correct client can run into it (nothing to complain about)."""

    code: str
    message: str
    param: str | None = None
    race: bool = False


class Refused(Exception):
    """A client event is not accepted; carries the refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse(code: str, message: str, param: str | None = None, *, race: bool = False) -> Refused:
    return Refused(Refusal(code, message, param, race))


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    union = get_args(RealtimeClientEvent)[0]
    return {get_args(kind.model_fields["type"].annotation)[0]: TypeAdapter(kind) for kind in get_args(union)}


@cache
def _session_adapter() -> TypeAdapter[Any]:
    # The event's own type is a union with transcription sessions: judged alone, its errors name the right field.
    return TypeAdapter(RealtimeSessionCreateRequest)


def parse(message: str | bytes) -> dict[str, Any]:
    """A client frame as an object with a string `type`. Raises Refused."""
    if isinstance(message, bytes):
        raise refuse("invalid_event", "Binary frames are not supported. Send events as JSON text.")
    try:
        event = json.loads(message)
    except ValueError:
        raise refuse("invalid_event", "The event is not valid JSON.") from None
    if not isinstance(event, dict):
        raise refuse("invalid_event", "The event must be a JSON object.")
    return event


def judge(event: dict[str, Any]) -> None:
    """Raises Refused unless `event` is exactly what the API documents."""
    kind = event.get("type")
    if kind is None:
        raise refuse("missing_required_parameter", "Missing required parameter: 'type'.", "type")
    if not isinstance(kind, str) or kind not in _adapters():
        supported = ", ".join(f"'{name}'" for name in _adapters())
        raise refuse("invalid_value", f"Invalid value: {kind!r}. Supported values are: {supported}.", "type")
    if kind == "session.update" and isinstance(event.get("session"), dict):
        _judge_session(event["session"])
        _refuse_unknown({key: value for key, value in event.items() if key not in ("type", "event_id", "session")}, "")
        return
    _validate(_adapters()[kind], event, "")
    if kind == "input_audio_buffer.append":
        _judge_audio(event["audio"])


def _judge_session(session: dict[str, Any]) -> None:
    if "type" not in session:
        raise refuse("missing_required_parameter", "Missing required parameter: 'session.type'.", "session.type")
    if session["type"] == "transcription":
        raise refuse("invalid_value", "A realtime session cannot become a transcription session.", "session.type")
    _validate(_session_adapter(), session, "session")


def _judge_audio(audio: str) -> None:
    if len(audio) > MAX_APPEND:
        raise refuse("invalid_value", "Invalid 'audio': at most 15 MiB are accepted.", "audio")
    try:
        b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise refuse("invalid_value", "Invalid 'audio': not valid base64.", "audio") from None


def _validate(adapter: TypeAdapter[Any], data: dict[str, Any], root: str) -> None:
    try:
        model = adapter.validate_python(data, strict=True)
    except ValidationError as error:
        raise Refused(_explain(error.errors(include_url=False), data, root)) from None
    for path in unknown_keys(model, root):
        raise refuse("unknown_parameter", f"Unknown parameter: '{path}'.", path)


def _refuse_unknown(extra: dict[str, Any], root: str) -> None:
    for key in extra:
        path = f"{root}.{key}" if root else key
        raise refuse("unknown_parameter", f"Unknown parameter: '{path}'.", path)


def unknown_keys(value: object, path: str = "") -> Iterator[str]:
    """Dotted paths of keys no SDK type declares, at every depth of a validated event."""
    if isinstance(value, BaseModel):
        for key in value.model_extra or ():
            yield f"{path}.{key}" if path else key
        for key in type(value).model_fields:
            yield from unknown_keys(getattr(value, key), f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from unknown_keys(entry, f"{path}[{index}]")


def _explain(errors: list[ErrorDetails], data: dict[str, Any], root: str) -> Refusal:
    """The one error that fits: branches of a union whose `type` or `role` is another one are not what was meant."""
    other = [
        e["loc"][:-1]
        for e in errors
        if e["type"] == "literal_error" and e["loc"][-1] in ("type", "role") and len(e["loc"]) > 1
    ]
    meant = [e for e in errors if not any(e["loc"][: len(branch)] == branch for branch in other)] or errors
    error = meant[0]
    param = _param(error, data, root)
    if error["type"] == "missing":
        return Refusal("missing_required_parameter", f"Missing required parameter: '{param}'.", param)
    if error["type"] == "literal_error":
        expected = error["ctx"]["expected"]
        return Refusal("invalid_value", f"Invalid value: {error['input']!r}. Supported values are: {expected}.", param)
    return Refusal("invalid_type", f"Invalid type for '{param}': {error['msg']}.", param)


def _param(error: ErrorDetails, data: dict[str, Any], root: str) -> str:
    """The dotted path of an error without the union branches that pydantic puts into it."""
    path: str = root
    value: Any = data
    for position, part in enumerate(error["loc"]):
        if isinstance(part, int) and isinstance(value, list) and part < len(value):
            path, value = f"{path}[{part}]", value[part]
        elif isinstance(part, str) and isinstance(value, dict):
            last = position == len(error["loc"]) - 1 and error["type"] == "missing"
            if part in value or last:
                path, value = f"{path}.{part}" if path else part, value.get(part)
    return path
