"""What the database has of some calls: one query for all of them, however many turns they have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from django.db.models import BooleanField, ExpressionWrapper, Q

from calls.journal.claims import Known
from calls.models import CallLog

_AT_ONCE = 500  # an old SQLite takes 999 parameters
_FILLED = (
    "from_number",
    "to_number",
    "stream_sid",
    "account_sid",
    "agent_version_id",
    "ended_reason",
    "recording_url",
    "model_session_id",
    "ended_at",
)
_NUMBERS = ("expected_turns", "carrier_duration_seconds", "interruptions")


def look_up(call_sids: Iterable[str]) -> dict[str, Known]:
    """The calls that have a row. Raise django.db.Error."""
    known: dict[str, Known] = {}
    for some in _chunks(call_sids):
        rows = (
            CallLog.objects.filter(call_sid__in=some)
            .annotate(has_transcript=ExpressionWrapper(~Q(transcript=""), output_field=BooleanField()))
            .order_by()
            .values(
                *("call_sid", "business_id", "status", "direction", "has_transcript"),
                *("turns__turn_index", "turns__revision"),
                *_FILLED,
                *_NUMBERS,
            )
        )
        for row in rows.iterator():
            call = known.get(row["call_sid"])
            if call is None:
                call = known[row["call_sid"]] = Known(
                    business_id=row["business_id"],
                    status=row["status"],
                    direction=row["direction"],
                    filled=frozenset(
                        [name for name in _FILLED if row[name]] + ["transcript"] * bool(row["has_transcript"])
                    ),
                    **{name: row[name] for name in _NUMBERS},
                )
            if row["turns__turn_index"] is not None:
                call.revisions[row["turns__turn_index"]] = row["turns__revision"]
    return known


def _chunks(call_sids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(call_sids)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
