"""The rows of calls, locked while something is told of them. For calls.services.

A fact by itself locks its call, and what it changed is saved with the end of the block. Within `together` the facts of
many calls are one transaction: their rows are locked, settled and saved once, by one statement for all of them where
one will do. That comes to the same, since neither the facts nor settling depend on their order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import prefetch_related_objects

from businesses.models import AgentVersion, Business
from calls import facts, merging, parts
from calls.facts import BadFact
from calls.models import CallLog
from calls.tool_uses import ToolUse, merged

_COLUMNS = [column.attname for column in CallLog._meta.concrete_fields]


@dataclass(slots=True, repr=False)
class _Locked:
    """A call's row as it is told of, and those of its parts, by their keys, that were told and are not stored yet."""

    call: CallLog
    before: dict[str, Any]
    turns: dict[int, facts.Turn] = field(default_factory=dict)
    tool_uses: dict[str, ToolUse] = field(default_factory=dict)
    messages: dict[str, facts.Message] = field(default_factory=dict)
    is_settled: bool = True


@dataclass(slots=True, repr=False)
class _Together:
    calls: dict[str, _Locked]
    agents: set[tuple[int, int]] = field(default_factory=set)  # versions that were looked up, each with its business


_together: ContextVar[_Together | None] = ContextVar("together", default=None)


@contextmanager
def together(calls: Collection[tuple[str, int]]) -> Iterator[None]:
    """Write what is told of these calls, CallSid and business, within in one transaction. Raise BadFact as the facts
    themselves would be refused. Whoever is told of a refusal within must raise something, so that nothing of it is
    stored: a fact that was refused half-way may have left its traces in the row."""
    wanted = dict(calls)
    if set(wanted.items()) != set(calls):
        raise BadFact("two businesses claim one call")
    for call_sid, business_id in wanted.items():
        facts.call_identity(call_sid, business_id)
    with transaction.atomic():
        held = _Together({call.call_sid: _Locked(call, _columns(call)) for call in _lock(wanted)})
        token = _together.set(held)
        try:
            yield
        finally:
            _together.reset(token)
        _store(held.calls.values())


@contextmanager
def locked_call(call_sid: str, business_id: int) -> Iterator[CallLog]:
    """The call's row, locked until the end of the block, where what changed is saved; made if there is none. Raise
    BadFact when it belongs to another business."""
    if (held := _together.get()) is not None:
        one = held.calls.get(call_sid)
        if one is None or one.call.business_id != business_id:
            raise BadFact("the fact is of another call than those that it is written with")
        yield one.call
        return
    with transaction.atomic():
        [call] = _lock({call_sid: business_id})
        before = _columns(call)
        yield call
        if changed := _changed(call, before):
            call.save(update_fields=[*changed, "updated_at"])


def is_alone() -> bool:
    """Whether the fact is written by itself."""
    return _together.get() is None


def settle(call: CallLog) -> None:
    """Now, or once for all that is told of the call together."""
    if (held := _together.get()) is None:
        merging.settle(call, merging.turns_of([call])[call.pk])
    else:
        held.calls[call.call_sid].is_settled = False


def put_turns(call: CallLog, turns: Sequence[facts.Turn]) -> bool:
    """As parts.put_turns. Told together with others they are stored with theirs, and what the end of the call says
    again only once; then whether any of them is news to the database is not known, and True."""
    if (held := _together.get()) is None:
        return parts.put_turns([(call.pk, turn) for turn in turns])
    told = held.calls[call.call_sid].turns
    new = [turn for turn in turns if (old := told.get(turn.turn_index)) is None or old.revision < turn.revision]
    told.update({turn.turn_index: turn for turn in new})
    return bool(new)


def put_tool_uses(call: CallLog, uses: Sequence[ToolUse]) -> None:
    """As parts.put_tool_uses, now or with those of other calls."""
    if (held := _together.get()) is None:
        parts.put_tool_uses([(call, use) for use in uses])
        return
    told = held.calls[call.call_sid].tool_uses
    for use in uses:
        old = told.get(use.tool_call_id)
        told[use.tool_call_id] = use if old is None else merged(old, use)


def put_messages(call: CallLog, messages: Sequence[facts.Message]) -> None:
    """As parts.put_messages, now or with those of other calls."""
    if (held := _together.get()) is None:
        parts.put_messages([(call, message) for message in messages])
        return
    for message in messages:
        held.calls[call.call_sid].messages.setdefault(message.key, message)


def check_agent(agent_version_id: int, business_id: int) -> None:
    """Raise BadFact unless it is the business's own."""
    held = _together.get()
    if held is not None and (agent_version_id, business_id) in held.agents:
        return
    if not AgentVersion.objects.filter(pk=agent_version_id, agent__business_id=business_id).exists():
        raise BadFact("the agent belongs to another business")
    if held is not None:
        held.agents.add((agent_version_id, business_id))


def _lock(wanted: dict[str, int]) -> list[CallLog]:
    """PostgreSQL locks the rows, in one order for everybody; SQLite (IMMEDIATE) has one writer at a time."""
    calls = _locked(wanted)
    missing = sorted(wanted.keys() - {call.call_sid for call in calls})
    if missing:
        businesses = {wanted[call_sid] for call_sid in missing}
        if Business.objects.filter(pk__in=businesses).count() < len(businesses):
            raise BadFact("there is no such business")
        # Another worker may have made one since: then this waits for its transaction and does nothing.
        stubs = [CallLog(call_sid=call_sid, business_id=wanted[call_sid]) for call_sid in missing]
        CallLog.objects.bulk_create(stubs, ignore_conflicts=True)
        calls += _locked(missing)
    if any(call.business_id != wanted[call.call_sid] for call in calls):
        raise BadFact("the call belongs to another business")
    return calls


def _locked(call_sids: Iterable[str]) -> list[CallLog]:
    return list(CallLog.objects.select_for_update().filter(call_sid__in=list(call_sids)).order_by("call_sid"))


def _store(calls: Iterable[_Locked]) -> None:
    calls = list(calls)
    parts.put_turns([(one.call.pk, one.turns[index]) for one in calls for index in sorted(one.turns)])
    parts.put_tool_uses([(one.call, use) for one in calls for use in one.tool_uses.values()])
    parts.put_messages([(one.call, message) for one in calls for message in one.messages.values()])
    unsettled = [one.call for one in calls if not one.is_settled]
    turns = merging.turns_of(unsettled)
    for call in unsettled:
        merging.settle(call, turns[call.pk])
    prefetch_related_objects([call for call in unsettled if call.agent_version_id], "agent_version")
    changes = [(one.call, _changed(one.call, one.before)) for one in calls]
    if changed := [call for call, names in changes if names]:
        names = {"updated_at"}.union(*(names for _, names in changes))
        # They are all there, and locked: this updates each row to what its object says, by one statement.
        CallLog.objects.bulk_create(changed, update_conflicts=True, unique_fields=["id"], update_fields=sorted(names))


def _changed(call: CallLog, before: dict[str, Any]) -> list[str]:
    """The columns that are not as before, those among them that are added up over the call's streams."""
    if call.streams and (call.streams, call.started_at) != (before["streams"], before["started_at"]):
        merging.add_up(call)
    return [name for name, value in _columns(call).items() if value != before[name]]


def _columns(call: CallLog) -> dict[str, Any]:
    return {name: getattr(call, name) for name in _COLUMNS}
