"""What the pages show: rows turned into words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString

from analysis.models import (
    AfterCallSettings,
    AnalysisState,
    CallAnalysis,
    Lead,
    LeadField,
    Sentiment,
    Transcription,
    TranscriptionState,
)
from businesses.admin import badge
from businesses.local_time import date_and_minute
from calls import figures
from calls.models import TERMINAL_STATUSES, CallLog

_STATES = {
    AnalysisState.DONE: "good",
    AnalysisState.WAITING: "live",
    AnalysisState.REFUSED: "warning",
    AnalysisState.INCOMPLETE: "warning",
    AnalysisState.UNREADABLE: "bad",
    AnalysisState.FAILED: "bad",
}
_SENTIMENTS = {Sentiment.POSITIVE: "good", Sentiment.NEGATIVE: "bad", Sentiment.MIXED: "warning"}
_KINDS = {
    "message": "message taken",
    "transfer": "put through",
    "booking": "booked",
    "change": "changed",
    "lookup": "looked up",
    "other": "done",
}


@dataclass(frozen=True, slots=True)
class ClaimView:
    quote: str
    what: str
    is_backed: bool

    @property
    def verdict(self) -> str:
        return "in the record" if self.is_backed else "not in the record"


def state_badge(analysis: CallAnalysis) -> SafeString:
    state = AnalysisState(analysis.state)
    return badge(analysis.get_state_display(), _STATES[state])


def transcription_badge(transcription: Transcription) -> SafeString:
    kinds = {TranscriptionState.WAITING: "live", TranscriptionState.DONE: "good", TranscriptionState.FAILED: "bad"}
    return badge(transcription.get_state_display(), kinds[TranscriptionState(transcription.state)])


def standing(analysis: CallAnalysis) -> str:
    """Why it is not done, or when it was."""
    if analysis.state == AnalysisState.DONE:
        return date_and_minute(analysis.analysed_at, analysis.business.zone)
    tries = f"{analysis.tries} {'try' if analysis.tries == 1 else 'tries'} so far" if analysis.tries else ""
    return ", ".join(part for part in (analysis.error, tries) if part)


def claims_of(analysis: CallAnalysis) -> list[ClaimView]:
    return [
        ClaimView(claim["quote"], _KINDS.get(claim["kind"], claim["kind"]), claim["is_backed"])
        for claim in analysis.claims
    ]


def shown(value: Any) -> str:
    """A value of a lead field in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def told(analysis: CallAnalysis) -> list[tuple[str, str]]:
    """What the caller told in this call, as (label, value), in the order of the fields."""
    return _labelled(analysis.business_id, {k: v for k, v in analysis.lead_values.items() if v is not None})


def known(lead: Lead) -> list[tuple[str, str]]:
    return _labelled(lead.business_id, {name: entry["value"] for name, entry in lead.values.items()})


def _labelled(business_id: int, values: dict[str, Any]) -> list[tuple[str, str]]:
    """Under the labels of today; a field that is no more is shown under its name, after the others."""
    if not values:
        return []
    labels = dict(LeadField.objects.filter(business=business_id).values_list("name", "label"))
    order = [name for name in labels if name in values] + [name for name in values if name not in labels]
    return [(labels.get(name, name), shown(values[name])) for name in order]


def can_be_analysed(call: CallLog) -> bool:
    return call.status in TERMINAL_STATUSES and call.turns.exclude(user_text="").exists()


def section(call: CallLog, *, may_ask: bool) -> dict[str, Any]:
    """For the section on a call's page; empty when there is nothing to say."""
    analysis = CallAnalysis.objects.select_related("business").filter(call=call).first()
    if analysis is None:
        is_on = AfterCallSettings.objects.filter(business=call.business_id, is_on=True).exists()
        return {"call": call, "may_ask": may_ask} if is_on and can_be_analysed(call) else {}
    return {
        "call": call,
        "may_ask": may_ask,
        "analysis": analysis,
        "state": state_badge(analysis),
        "standing": standing(analysis),
        "is_waiting": analysis.state == AnalysisState.WAITING,
        "sentiment": badge(analysis.get_sentiment_display(), _SENTIMENTS.get(Sentiment(analysis.sentiment), ""))
        if analysis.sentiment
        else "",
        "claims": claims_of(analysis),
        "unbacked": [claim for claim in claims_of(analysis) if not claim.is_backed],
        "told": told(analysis),
        "cost": figures.money(analysis.cost) if analysis.cost is not None else "",
    }


def lead_table(leads: Sequence[Lead]) -> tuple[list[str], Iterable[list[object]]]:
    """Header and rows of an export: a column for each field of these businesses, and for what is known besides."""
    fields = LeadField.objects.filter(business__in={lead.business_id for lead in leads})
    names = list(dict.fromkeys(fields.order_by("position", "id").values_list("name", flat=True)))
    names += sorted({name for lead in leads for name in lead.values} - set(names))
    rows = (
        [lead.business.name, lead.number, date_and_minute(lead.last_call_at, lead.business.zone)]
        + [lead.values[name]["value"] if name in lead.values else None for name in names]
        for lead in leads
    )
    return ["business", "number", "last_call", *names], rows
