"""How a fact lies in a journal file. Pure.

A record is a mark, the payload's length, a CRC-32 over length and payload, and the payload: JSON, UTF-8. The mark
begins with 0xFF, a byte that UTF-8 never contains: after a damaged record the next mark is the next record, whatever
the damaged length said.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

VERSION = 1
MARK = b"\xffVJ\x01"
_HEADER = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")


class NotStorable(Exception):
    """The fact cannot be written as JSON. The message names the error, never the fact."""


@dataclass(frozen=True, slots=True, repr=False)  # repr=False: a fact holds a caller's words
class Record:
    """One fact. `kind` is the name of its service in calls.services, `seq` counts from 1 in each file, `at` is when it
    was accepted (ISO 8601, UTC)."""

    v: int
    event_id: str
    seq: int
    kind: str
    at: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class Piece:
    """A part of a file as it was found: `record` is None when it is damaged or of a form nobody knows."""

    offset: int
    data: bytes
    record: Record | None


def encode(record: Record) -> bytes:
    """The bytes to append. Raise NotStorable."""
    return frame(_payload(record))


def frame(payload: bytes) -> bytes:
    length = _LENGTH.pack(len(payload))
    return _HEADER.pack(MARK, len(payload), zlib.crc32(payload, zlib.crc32(length))) + payload


def pieces(data: bytes) -> list[Piece]:
    """Everything in the file, in order and without a gap: the records, and what between and after them is damaged."""
    found: list[Piece] = []
    position = 0
    while position < len(data):
        end = _end_of_frame(data, position)
        if end is not None:
            record = _decoded(data[position + _HEADER.size : end])
        else:
            record = None
            end = data.find(MARK, position + 1)
            # A mark that is no frame either belongs to the same damage.
            while end != -1 and _end_of_frame(data, end) is None:
                end = data.find(MARK, end + 1)
            end = len(data) if end == -1 else end
        found.append(Piece(position, data[position:end], record))
        position = end
    return found


def _end_of_frame(data: bytes, start: int) -> int | None:
    """Where the frame that begins here ends; None when none does, or not a whole and undamaged one."""
    if len(data) - start < _HEADER.size:
        return None
    mark, length, checksum = _HEADER.unpack_from(data, start)
    begin = start + _HEADER.size
    if mark != MARK or length > len(data) - begin:
        return None
    payload = memoryview(data)[begin : begin + length]
    return begin + length if zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length))) == checksum else None


def _payload(record: Record) -> bytes:
    try:
        return msgspec.json.encode(record)
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass  # half of a surrogate pair, a number beyond 64 bits: the services take both, only msgspec does not
    try:
        return json.dumps(asdict(record), default=str).encode()
    except (TypeError, ValueError, RecursionError) as error:
        failure = type(error).__name__
    raise NotStorable(failure)


def _decoded(payload: bytes) -> Record | None:
    record: Record | None
    try:
        record = msgspec.json.decode(payload, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        record = _decoded_leniently(payload)
    return record if record is not None and record.v == VERSION else None


def _decoded_leniently(payload: bytes) -> Record | None:
    """What json.dumps wrote, where msgspec could not."""
    try:
        return msgspec.convert(json.loads(payload), Record)
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None
