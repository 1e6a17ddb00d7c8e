"""What the carrier says about its calls, whoever the carrier is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CarrierCall:
    """A call as the carrier has it. `status` is the carrier's word: one of calls.models.CallStatus, unless it has made
    a new one. Times are aware."""

    call_sid: str
    status: str
    from_number: str = ""
    to_number: str = ""
    direction: str = ""
    is_leg: bool = False  # placed on behalf of another call: a transfer, say
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class NoSuchCall:
    pass


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer, or none of use. `reason` is a short code: an HTTP status or the name of an error."""

    reason: str


Answer = CarrierCall | NoSuchCall | Unreachable


class CarrierUnreachable(Exception):
    """A list of calls was not had. The message is a short code."""


@dataclass(frozen=True, slots=True)
class CarrierRecording:
    """A recording as the carrier has it. `is_message`: what a caller said after a tone, not the call itself."""

    recording_sid: str
    status: str
    channels: int
    started_at: datetime | None
    duration_seconds: int | None
    is_message: bool


class NotFetched(Exception):
    """A recording's file was not had. The message is a short code."""

    @property
    def code(self) -> str:
        return str(self.args[0])
