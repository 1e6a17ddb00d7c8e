"""Twilio Media Streams: JSON text frames to events, commands to JSON text frames (protocols, twilio A3 and A4).

Incoming: all counters are strings, unknown fields and unknown kinds of message are tolerated. Outgoing: exactly
the fields Twilio knows; one field more makes it warn (31951) and drop the message. The caller's audio stays base64.
"""

from dataclasses import dataclass
from typing import Annotated, assert_never

import msgspec
from msgspec import Meta, Struct, field

from media.engine.commands import ClearPlayback, PlayAudio, SendMark
from media.engine.events import (
    CallerAudio,
    CarrierEvent,
    DtmfPressed,
    MarkReached,
    StreamStopped,
    UnknownCarrierEvent,
)

MAX_PAYLOAD_CHARS = 64 * 1024  # six seconds of audio; a normal frame is 216 characters


class WireError(Exception):
    """A message that cannot be read. The text names the place, never the content."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The first message; says nothing about the call."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the stream says of itself; `parameters` are the <Parameter>s of the TwiML. Not yet authorised."""

    stream_sid: str
    call_sid: str
    account_sid: str
    parameters: dict[str, str]


# --- From Twilio ---------------------------------------------------------------------------------------------


class _Connected(Struct, tag_field="event", tag="connected"):
    pass


class _MediaFormat(Struct, rename="camel"):
    encoding: str
    sample_rate: int
    channels: int


class _StartBody(Struct, rename="camel"):
    stream_sid: Annotated[str, Meta(min_length=1, max_length=64)]
    call_sid: Annotated[str, Meta(min_length=1, max_length=64)]
    account_sid: Annotated[str, Meta(min_length=1, max_length=64)]
    media_format: _MediaFormat
    custom_parameters: dict[str, str] = field(default_factory=dict)


class _Start(Struct, tag_field="event", tag="start"):
    start: _StartBody


class _MediaBody(Struct):
    payload: Annotated[str, Meta(min_length=1, max_length=MAX_PAYLOAD_CHARS)]


class _Media(Struct, tag_field="event", tag="media"):
    media: _MediaBody


class _MarkBody(Struct):
    name: str


class _Mark(Struct, tag_field="event", tag="mark"):
    mark: _MarkBody


class _DtmfBody(Struct):
    # The digits end up in a text that the model reads: nothing but keys may pass.
    digit: Annotated[str, Meta(pattern=r"^[0-9A-D*#]\Z")]


class _Dtmf(Struct, tag_field="event", tag="dtmf"):
    dtmf: _DtmfBody


class _Stop(Struct, tag_field="event", tag="stop"):
    pass


class _Kind(Struct):
    event: str


_KNOWN_KINDS = frozenset({"connected", "start", "media", "mark", "dtmf", "stop"})
_PHONE_AUDIO = _MediaFormat(encoding="audio/x-mulaw", sample_rate=8000, channels=1)

_read = msgspec.json.Decoder(_Media | _Mark | _Dtmf | _Stop | _Start | _Connected).decode
_read_kind = msgspec.json.Decoder(_Kind).decode


def decode(raw: str | bytes) -> Connected | Start | CarrierEvent:
    """Read one text frame. A kind nobody has heard of becomes UnknownCarrierEvent; anything else unread: WireError."""
    try:
        message = _read(raw)
    except msgspec.ValidationError as error:
        return _unknown_kind(raw, error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise WireError("not JSON") from None
    match message:
        case _Media():
            return CallerAudio(message.media.payload)
        case _Mark():
            return MarkReached(message.mark.name)
        case _Dtmf():
            return DtmfPressed(message.dtmf.digit)
        case _Stop():
            return StreamStopped()
        case _Start():
            return _start(message.start)
        case _Connected():
            return Connected()
        case _:
            assert_never(message)


def often(raw: bytes) -> str | MarkReached | None:
    """The short way of `decode` for what comes all the time: the base64 audio of a frame, or a mark.

    None for everything else, be it right or wrong.
    """
    try:
        message = _read(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if type(message) is _Media:
        return message.media.payload
    return MarkReached(message.mark.name) if type(message) is _Mark else None


def _start(body: _StartBody) -> Start:
    if body.media_format != _PHONE_AUDIO:
        raise WireError("unexpected value at $.start.mediaFormat")
    return Start(body.stream_sid, body.call_sid, body.account_sid, body.custom_parameters)


def _unknown_kind(raw: str | bytes, error: msgspec.ValidationError) -> UnknownCarrierEvent:
    try:
        kind = _read_kind(raw).event
    except msgspec.ValidationError:
        raise WireError("no kind at $.event") from None
    if kind not in _KNOWN_KINDS:
        return UnknownCarrierEvent(kind[:64])
    place = str(error).rpartition(" - at ")[2].strip("`")  # the rest of the message may quote what was sent
    raise WireError(f"unexpected value at {place}") from None


# --- To Twilio -----------------------------------------------------------------------------------------------


class _PlayBody(Struct):
    payload: bytes  # msgspec writes it as base64


class _Play(Struct, tag_field="event", tag="media", rename="camel"):
    stream_sid: str
    media: _PlayBody


class _SetMark(Struct, tag_field="event", tag="mark", rename="camel"):
    stream_sid: str
    mark: _MarkBody


class _Clear(Struct, tag_field="event", tag="clear", rename="camel"):
    stream_sid: str


_write = msgspec.json.Encoder().encode


def encode(command: PlayAudio | SendMark | ClearPlayback, stream_sid: str) -> bytes:
    """Write the UTF-8 of one text frame; a binary one is refused (31950). CloseStream is the socket's business."""
    match command:
        case PlayAudio():
            return _write(_Play(stream_sid, _PlayBody(command.audio)))
        case SendMark():
            return _write(_SetMark(stream_sid, _MarkBody(command.name)))
        case ClearPlayback():
            return _write(_Clear(stream_sid))
        case _:
            assert_never(command)
