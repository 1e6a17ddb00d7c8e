"""Reading what the server under test sends on a media stream, as strictly as Twilio or stricter.

Codes: 31950 for what is not a text message of JSON, 31951 for a message that is not one of the three, has a field
too many or too few, or names another stream (twilio.com/docs/api/errors/31950, 31951).
"""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulators.carrier.ledger import Complaint


@dataclass(frozen=True, slots=True)
class Media:
    audio: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    pass


Message = Media | Mark | Clear


class Refused(Exception):
    """A message Twilio would throw away."""

    def __init__(self, code: int, what: str, detail: str = "") -> None:
        super().__init__(what)
        self.complaint = Complaint(code, what, detail)


def read(message: str | bytes, stream_sid: str) -> Message:
    """One message; raises Refused."""
    if isinstance(message, bytes):
        raise Refused(31950, "binary message")
    try:
        data = json.loads(message, object_pairs_hook=_pairs)
    except ValueError:
        raise Refused(31950, "not JSON") from None
    if not isinstance(data, dict):
        raise Refused(31950, "not a JSON object")
    event = data.get("event")
    reader = _READERS.get(event) if isinstance(event, str) else None
    if reader is None:
        raise Refused(31951, "unknown event", str(event)[:40])
    result = reader(data)
    if data["streamSid"] != stream_sid:
        raise Refused(31951, "wrong streamSid", str(event))
    return result


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise Refused(31951, "a field given twice")
    return data


def _fields(data: object, names: set[str], where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Refused(31951, "not an object", where)
    if extra := sorted(set(data) - names):
        raise Refused(31951, "extra field", f"{where}: {', '.join(extra)[:80]}")
    if missing := sorted(names - set(data)):
        raise Refused(31951, "missing field", f"{where}: {', '.join(missing)}")
    return data


def _media(data: dict[str, Any]) -> Media:
    inner = _fields(_fields(data, {"event", "streamSid", "media"}, "media")["media"], {"payload"}, "media.media")
    payload = inner["payload"]
    if not isinstance(payload, str) or not payload:
        raise Refused(31951, "media without a payload")
    try:
        audio = base64.b64decode(payload.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Refused(31951, "payload is not base64") from None
    if base64.b64encode(audio).decode() != payload:
        raise Refused(31951, "payload is not canonical base64")
    if audio.startswith(b"RIFF"):
        raise Refused(31951, "payload with a WAV header")
    return Media(audio)


def _mark(data: dict[str, Any]) -> Mark:
    inner = _fields(_fields(data, {"event", "streamSid", "mark"}, "mark")["mark"], {"name"}, "mark.mark")
    if not isinstance(inner["name"], str) or not inner["name"]:
        raise Refused(31951, "mark without a name")
    return Mark(inner["name"])


def _clear(data: dict[str, Any]) -> Clear:
    _fields(data, {"event", "streamSid"}, "clear")
    return Clear()


_READERS: dict[str, Callable[[dict[str, Any]], Message]] = {"media": _media, "mark": _mark, "clear": _clear}
