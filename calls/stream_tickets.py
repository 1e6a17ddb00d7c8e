"""What lets one media stream in: a ticket in the stream's address and a token in its `start`, both signed and
short-lived.

The ticket is checked at the handshake, before anything is spent, and stands in a URL: it names no phone number. The
token comes in Twilio's `start` (`<Parameter name="token">`) and says whose call it is. Both carry the same `jti`, so
that a token cannot be used with another call's ticket. Neither is a secret against Twilio; both are against everybody
else.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.core import signing

LIFETIME_SECONDS = 600  # used once, and only with the carrier's signature: long enough for clocks minutes apart
# Twilio: name and value of a <Parameter> together stay below 500 characters (protocols, twilio A2).
_TOKEN_LIMIT = 490


class TicketRefused(Exception):
    """The ticket or token does not let this stream in. `reason` is a short code, safe to log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the address of a stream proves. `expires_at`: seconds since 1970. `stream_number`: 0, and counting
    up when the call is resumed."""

    call_sid: str
    business_id: int
    agent_version_id: int
    jti: str
    expires_at: int
    stream_number: int = 0
    is_outbound: bool = False
    came_back: bool = False  # from somebody who was not reached


@dataclass(frozen=True, slots=True)
class StreamToken:
    """What `start` proves. `from_number` may be empty when it was too long for the token: the webhook recorded it."""

    call_sid: str
    account_sid: str
    business_id: int
    from_number: str
    to_number: str
    direction: str


def issue(
    *,
    call_sid: str,
    account_sid: str,
    business_id: int,
    agent_version_id: int,
    from_number: str,
    to_number: str,
    direction: str,
    stream_number: int = 0,
    came_back: bool = False,
    now: float | None = None,
) -> tuple[str, str]:
    """Return (ticket, token) for one stream of this call, good for LIFETIME_SECONDS from `now` (seconds since 1970)."""
    jti = secrets.token_urlsafe(12)
    expires_at = int(time.time() if now is None else now) + LIFETIME_SECONDS
    is_outbound = direction.startswith("outbound")
    direction = "outbound" if is_outbound else direction
    named = [call_sid, business_id, agent_version_id, jti, expires_at, stream_number]
    # Only where it is needed: a process of the release before knows tickets of six fields.
    more = [is_outbound, True] if came_back else [True] if is_outbound else []
    ticket = _ticket_signer().sign_object([*named, *more])

    def token_with(from_number: str, to_number: str) -> str:
        fields = [jti, expires_at, call_sid, account_sid, business_id, from_number, to_number, direction]
        return _token_signer().sign_object(fields)

    # A caller's SIP address can have 255 characters. Left out here it is not lost: the webhook's own fact carries it.
    for kept in ((from_number, to_number), ("", to_number), ("", "")):
        token = token_with(*kept)
        if len(token) <= _TOKEN_LIMIT:
            break
    return ticket, token


def read_ticket(ticket: str, call_sid: str, *, now: float | None = None) -> Ticket:
    """Check the ticket out of the address of `call_sid`'s stream. Raise TicketRefused."""
    shape = (str, int, int, str, int, int)
    fields = _unsign(_ticket_signer(), ticket, shape, (*shape, bool), (*shape, bool, bool))
    read = Ticket(*fields)
    if read.call_sid != call_sid:
        raise TicketRefused("other_call")
    _refuse_expired(read.expires_at, now)
    return read


def read_token(token: str, ticket: Ticket, *, now: float | None = None) -> StreamToken:
    """Check the token out of `start` against the ticket of the same stream. Raise TicketRefused."""
    jti, expires_at, *rest = _unsign(_token_signer(), token, (str, int, str, str, int, str, str, str))
    read = StreamToken(*rest)
    if jti != ticket.jti:
        raise TicketRefused("other_ticket")
    if (read.call_sid, read.business_id) != (ticket.call_sid, ticket.business_id):
        raise TicketRefused("other_call")
    _refuse_expired(expires_at, now)
    return read


def _ticket_signer() -> signing.Signer:
    return signing.Signer(salt="voiceagent.stream.ticket", sep=".")


def _token_signer() -> signing.Signer:
    return signing.Signer(salt="voiceagent.stream.token", sep=".")


def _unsign(signer: signing.Signer, value: str, *shapes: Sequence[type]) -> list[Any]:
    try:
        fields = cast("list[Any]", signer.unsign_object(value))
    except signing.BadSignature:
        raise TicketRefused("bad_signature") from None
    # Only this project's key can sign another shape: a key shared with another program, or an older version.
    if not isinstance(fields, list) or tuple(type(field) for field in fields) not in shapes:
        raise TicketRefused("malformed")
    return fields


def _refuse_expired(expires_at: int, now: float | None) -> None:
    if (time.time() if now is None else now) > expires_at:
        raise TicketRefused("expired")
