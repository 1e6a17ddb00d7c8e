"""Whom callers are put through to: the targets that an agent may name, whether one may be dialled, and its number.

The agent, and the speech model behind it, know names only. A number is read here alone: when the transfer is asked
for, and again in the moment in which the carrier is told to dial.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from businesses.models import Business, TransferTarget
from businesses.snapshots import TransferOption
from calls import dialing, services, streams
from calls.dial_policy import Refused, Verdict
from calls.legs import RANKS
from calls.live_calls import AskedTransfer
from calls.models import CallLeg, LegKind, LegState


@dataclass(frozen=True, slots=True, repr=False)
class LegToDial:
    """A leg as the carrier is to be told of it; with a `refusal` (a short code) it is not dialled after all."""

    business_id: int
    key: str
    kind: str
    target_name: str
    number: str = ""
    ring_seconds: int = 0
    max_seconds: int = 0
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class KnownLeg:
    """The carrier's name of the colleague's call, if that is known, and whether the call is over."""

    leg_sid: str = ""
    is_over: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Briefing:
    """What the agent has to tell the colleague, and the language in which it did."""

    text: str = ""
    language: str = "en"


def options(business_id: int) -> tuple[TransferOption, ...]:
    """Whom an agent of the business may put callers through to now."""
    targets = TransferTarget.objects.filter(business_id=business_id, is_active=True).order_by("name")
    return tuple(TransferOption(target.pk, target.name, target.description, target.kind) for target in targets)


def verdict(call_sid: str, business_id: int, target_id: int, now: datetime) -> Verdict:
    """Whether this call may be put through to the target at `now`."""
    target = _target(business_id, pk=target_id)
    if target is None:
        return Refused("no_target")
    tried = CallLeg.objects.filter(call__call_sid=call_sid, business_id=business_id).exclude(dialing.NEVER_DIALLED)
    if tried.count() >= streams.MAX_TRANSFERS:
        return Refused("per_call")
    return dialing.check(business_id, target.number, now, to_colleague=True)


def to_dial(call_sid: str, business_id: int, asked: AskedTransfer | None, now: datetime) -> LegToDial | None:
    """The leg that the agent asked for last. `asked`: what the processes say that know of it; else the row does, if it
    is there. None: nobody knows."""
    if asked is not None:
        key, target = asked.key, _target(business_id, pk=asked.target_id)
    else:
        legs = CallLeg.objects.filter(call__call_sid=call_sid, business_id=business_id, state=LegState.ASKED)
        legs = legs.exclude(kind=LegKind.FORWARD)
        leg = legs.order_by(F("asked_at").desc(nulls_last=True), "-pk").first()
        if leg is None:
            return None
        key, target = leg.key, _target(business_id, name=leg.target_name)
    if target is None:
        return LegToDial(business_id, key, "", "", refusal="no_target")
    known = (business_id, key, target.kind, target.name)
    # Other calls may have used up what there was when the agent asked; this one's own leg does not count itself.
    allowed = dialing.check(business_id, target.number, now, to_colleague=True, besides=(call_sid, key))
    if isinstance(allowed, Refused):
        return LegToDial(*known, refusal=allowed.code)
    return LegToDial(*known, allowed.number, target.ring_seconds, allowed.max_seconds)


def claim(call_sid: str, leg: LegToDial, now: datetime) -> bool:
    """Whether the carrier is to be asked for this leg: once, whoever asks. Its row is there then, and counts for the
    caps."""
    services.save_leg(
        call_sid,
        leg.business_id,
        leg.key,
        LegState.ASKED.value,
        kind=leg.kind,
        target_name=leg.target_name,
        number=leg.number,
        asked_at=now.isoformat(),
    )
    legs = CallLeg.objects.filter(call__call_sid=call_sid, business_id=leg.business_id, key=leg.key)
    return legs.filter(placed_at=None).update(placed_at=now) == 1


def known_leg(call_sid: str, business_id: int, key: str) -> KnownLeg:
    """What its row says."""
    leg = CallLeg.objects.filter(call__call_sid=call_sid, business_id=business_id, key=key).first()
    if leg is None:
        return KnownLeg()
    return KnownLeg(leg.leg_sid, RANKS[leg.state] >= RANKS[LegState.NO_ANSWER] or leg.ended_at is not None)


def briefing(call_sid: str, business_id: int, key: str) -> Briefing:
    """Nothing to tell where the leg has no row yet."""
    business = Business.objects.filter(pk=business_id).first()
    if business is None:
        return Briefing()
    leg = CallLeg.objects.filter(business=business, call__call_sid=call_sid, key=key).first()
    return Briefing(leg.briefing if leg is not None else "", business.language)


def _target(business_id: int, **known: object) -> TransferTarget | None:
    return TransferTarget.objects.filter(business_id=business_id, is_active=True, **known).first()
