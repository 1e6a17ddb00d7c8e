"""What the database has of some calls: five queries for all of them, however much there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Q

from calls import legs, recordings, tool_uses
from calls.journal.claims import Known
from calls.models import CallLeg, CallLog, CallMessage, EndSource, Recording, ToolUse

_AT_ONCE = 500  # an old SQLite takes 999 parameters
_FILLED = (
    "from_number",
    "to_number",
    "stream_sid",
    "account_sid",
    "agent_version_id",
    "recording_consent",
    "recording_url",
    "model_session_id",
    "ended_at",
)
_OTHERS = ("call_sid", "business_id", "status", "direction", "owner_boot_id", "end_source", "reaped_at")
_NUMBERS = ("carrier_duration_seconds", "interruptions", "last_stream")


def look_up(call_sids: Iterable[str]) -> dict[str, Known]:
    """The calls that have a row. Raise django.db.Error."""
    known: dict[str, Known] = {}
    for some in _chunks(call_sids):
        rows = (
            CallLog.objects.filter(call_sid__in=some)
            .annotate(has_transcript=ExpressionWrapper(~Q(transcript=""), output_field=BooleanField()))
            .order_by()
            .values(
                *("has_transcript", "turns__turn_index", "turns__revision"),
                *_OTHERS,
                *_FILLED,
                *_NUMBERS,
                "streams",
            )
        )
        for row in rows.iterator():
            call = known.get(row["call_sid"])
            if call is None:
                call = known[row["call_sid"]] = _known(row)
            if row["turns__turn_index"] is not None:
                call.revisions[row["turns__turn_index"]] = row["turns__revision"]
        # Apart: joined to the turns, each row would come once for each turn.
        uses = ToolUse.objects.filter(call__call_sid__in=some).order_by()
        for call_sid, key, state in uses.values_list("call__call_sid", "tool_call_id", "state").iterator():
            if call_sid in known:  # else its row came between the two queries
                known[call_sid].tool_ranks[key] = tool_uses.RANKS[state]
        messages = CallMessage.objects.filter(call__call_sid__in=some).order_by()
        for call_sid, key in messages.values_list("call__call_sid", "key").iterator():
            if call_sid in known:
                known[call_sid].messages.add(key)
        recorded = Recording.objects.filter(call__call_sid__in=some).order_by()
        for call_sid, sid, state in recorded.values_list("call__call_sid", "recording_sid", "state").iterator():
            if call_sid in known:
                known[call_sid].recording_ranks[sid] = recordings.RANKS[state]
        called = CallLeg.objects.filter(call__call_sid__in=some).order_by()
        for call_sid, key, state in called.values_list("call__call_sid", "key", "state").iterator():
            if call_sid in known:
                known[call_sid].leg_ranks[key] = legs.RANKS[state]
    return known


def _known(row: Mapping[str, Any]) -> Known:
    return Known(
        business_id=row["business_id"],
        status=row["status"],
        direction=row["direction"],
        filled=frozenset([name for name in _FILLED if row[name]] + ["transcript"] * bool(row["has_transcript"])),
        owner_boot_id=row["owner_boot_id"],
        is_guess=row["end_source"] == EndSource.GUESS,
        is_reaped=row["reaped_at"] is not None,
        streams={
            int(number): -1 if report["turns"] is None else report["turns"] for number, report in row["streams"].items()
        },
        **{name: row[name] for name in _NUMBERS},
    )


def _chunks(call_sids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(call_sids)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
