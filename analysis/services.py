"""From a finished call to its analysis: which are due, what is asked, what is kept. The only writers of these rows.

A row is the job: it says when the next try is, and a message in the queue only names it. What is lost in the queue is
found again when the row's time has come; what comes twice finds that somebody else has taken it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q

from analysis import answers, claims, findings, leads, prompt
from analysis.answers import Answer, NoAnswer
from analysis.findings import Field, Findings, Question
from analysis.models import AfterCallSettings, AnalysisState, CallAnalysis, Lead, LeadField, Outcome, Sentiment
from analysis.text_model import Asked
from businesses.models import AgentVersion
from calls import conversation, costs
from calls.models import TERMINAL_STATUSES, CallLog, ConversationTurn, LegKind, LegState, MessageKind, ToolState

BATCH = 50
LOOK_BACK = timedelta(days=3)  # what beat finds by itself; older calls are analysed from their page
SETTLED_AFTER = timedelta(minutes=10)  # a call whose record never got complete is not waited for longer
LEASE = timedelta(minutes=5)  # a try is over by then, whatever became of it: above the task's limit and its queueing
MAX_TURNS = 2000

_REACHED = [LegState.ANSWERED, LegState.ACCEPTED, LegState.COMPLETED]


@dataclass(frozen=True, slots=True)
class Job:
    """One try, taken. `number`: which one, so that a late result can be told from a newer one's."""

    analysis: CallAnalysis
    number: int
    question: Question
    asked: Asked


def find(now: datetime) -> int:
    """Make rows for finished calls of businesses that want it, BATCH at most. Return how many."""
    spoken = ConversationTurn.objects.filter(call=OuterRef("pk")).exclude(user_text="")
    new = 0
    for wanted in AfterCallSettings.objects.filter(is_on=True, business__is_active=True):
        if new >= BATCH:
            break
        calls = CallLog.objects.filter(
            Q(is_complete=True) | Q(ended_at__lt=now - SETTLED_AFTER),
            Exists(spoken),
            business=wanted.business_id,
            status__in=sorted(TERMINAL_STATUSES),
            started_at__gt=now - LOOK_BACK,
            ended_at__gte=wanted.since,
            analysis=None,
        ).order_by("started_at")
        rows = [
            CallAnalysis(call_id=pk, business_id=wanted.business_id, next_try_at=now)
            for pk in calls.values_list("pk", flat=True)[: BATCH - new]
        ]
        CallAnalysis.objects.bulk_create(rows, ignore_conflicts=True)
        new += len(rows)
    return new


def due(now: datetime) -> list[tuple[int, int]]:
    """Analyses to be queued now, as (primary key, tries so far), BATCH at most; they are not due again for LEASE."""
    waiting = CallAnalysis.objects.filter(state=AnalysisState.WAITING, next_try_at__lte=now).order_by("next_try_at")
    found = list(waiting.values_list("pk", "tries")[:BATCH])
    CallAnalysis.objects.filter(pk__in=[pk for pk, _ in found], state=AnalysisState.WAITING).update(
        next_try_at=now + LEASE
    )
    return found


def again(call: CallLog, now: datetime) -> None:
    """Analyse a call once more, or for the first time. What is known of it stays until the new answer is there."""
    CallAnalysis.objects.update_or_create(
        call=call,
        defaults={"state": AnalysisState.WAITING, "tries": 0, "next_try_at": now, "error": ""},
        create_defaults={"business_id": call.business_id, "next_try_at": now},
    )


def take(analysis_id: int, tries: int, now: datetime) -> Job | None:
    """Begin a try. None when it is somebody else's, or there is nothing to be done any more."""
    mine = CallAnalysis.objects.filter(pk=analysis_id, state=AnalysisState.WAITING, tries=tries).update(
        tries=F("tries") + 1, next_try_at=now + LEASE
    )
    if not mine:
        return None
    analysis = CallAnalysis.objects.select_related("call__business", "call__agent_version").get(pk=analysis_id)
    question = question_of(analysis.call)
    return Job(analysis, analysis.tries, question, asked(analysis.call, question))


def fields_of(business_id: int) -> tuple[Field, ...]:
    rows = LeadField.objects.filter(business=business_id)
    return tuple(Field(row.name, row.label, row.kind, row.description, tuple(row.choices)) for row in rows)


def question_of(call: CallLog) -> Question:
    return Question(
        fields=fields_of(call.business_id),
        tools=_tools(call.agent_version, call),
        outcomes=tuple(Outcome.values),
        sentiments=tuple(Sentiment.values),
    )


def _tools(version: AgentVersion | None, call: CallLog) -> tuple[str, ...]:
    """What the agent could do, and what it did: tools may be there that no version lists."""
    listed = [name for name in (version.tools if version else []) if isinstance(name, str)]
    used = call.tool_uses.exclude(name="").values_list("name", flat=True)
    return tuple(sorted({*listed, *used} - {findings.NO_TOOL}))


def asked(call: CallLog, question: Question) -> Asked:
    """What the model is asked about a call."""
    turns = [
        prompt.Turn(turn.user_text, conversation.heard_and_unheard(turn)[0])
        for turn in call.turns.order_by("turn_index")[:MAX_TURNS]
    ]
    wanted = AfterCallSettings.objects.filter(business=call.business_id).first()
    began = call.started_at or call.created_at
    return Asked(
        task=prompt.instructions(
            language=call.business.language,
            day=f"{began.astimezone(call.business.zone):%A, %Y-%m-%d}",
            guidance=wanted.guidance if wanted else "",
        ),
        data=prompt.transcript(turns),
        schema_name=findings.NAME,
        schema=findings.schema(question),
    )


def deeds_of(call: CallLog) -> claims.Deeds:
    """What the record says was done in a call."""
    return claims.Deeds(
        finished_tools=frozenset(call.tool_uses.filter(state=ToolState.FINISHED).values_list("name", flat=True)),
        messages=call.messages.filter(kind=MessageKind.MESSAGE).count(),
        # Whoever is asked first has not taken the call by answering.
        people_reached=call.legs.filter(state__in=_REACHED).exclude(kind=LegKind.WARM, state=LegState.ANSWERED).count(),
    )


def store_answer(job: Job, answer: Answer, now: datetime) -> str:
    """Keep what the model said. Return the state that the analysis has now, or "late" when nobody waits for it."""
    if answer.end != "done":
        state = AnalysisState.REFUSED if answer.end == "refused" else AnalysisState.INCOMPLETE
        return _finish(job, answer, {"state": state, "error": answer.reason, "next_try_at": None})
    try:
        found = findings.read(answer.text, job.question)
    except findings.Unreadable:
        return _finish(job, answer, _next(job, "unreadable_answer", AnalysisState.UNREADABLE, now))
    with transaction.atomic():
        result = _finish(job, answer, _columns(job, found, now))
        if result == AnalysisState.DONE:
            _learn(job.analysis.call, found)
    return result


def store_failure(job: Job, failure: NoAnswer, now: datetime) -> str:
    """Note why there was no answer, and when it is tried again. Return the state, or "late"."""
    return _finish(
        job,
        Answer("failed"),
        _next(job, failure.code, AnalysisState.FAILED, now, failure.wait_seconds, is_last=failure.is_permanent),
    )


def _next(
    job: Job, code: str, at_last: str, now: datetime, wished: float = 0.0, *, is_last: bool = False
) -> dict[str, object]:
    if is_last or job.number >= answers.MAX_TRIES:
        return {"state": at_last, "error": code, "next_try_at": None}
    wait = timedelta(seconds=answers.pause(job.number, wished))
    return {"state": AnalysisState.WAITING, "error": code, "next_try_at": now + wait}


def _columns(job: Job, found: Findings, now: datetime) -> dict[str, object]:
    checked = claims.check(found.claims, deeds_of(job.analysis.call))
    return {
        "state": AnalysisState.DONE,
        "summary": found.summary,
        "outcome": found.outcome,
        "sentiment": found.sentiment,
        "follow_ups": list(found.follow_ups),
        "lead_values": found.lead,
        "claims": [claim.as_dict() for claim in checked],
        "has_unbacked_claim": any(not claim.is_backed for claim in checked),
        "error": "",
        "next_try_at": None,
        "analysed_at": now,
    }


def _finish(job: Job, answer: Answer, columns: dict[str, object]) -> str:
    """Write, if the try is still the one that is waited for. What it cost is counted for every answer that came."""
    spent = _spent(job.analysis, answer)
    still_mine = CallAnalysis.objects.filter(pk=job.analysis.pk, state=AnalysisState.WAITING, tries=job.number)
    return str(columns["state"]) if still_mine.update(**columns, **spent) else "late"


def _spent(analysis: CallAnalysis, answer: Answer) -> dict[str, object]:
    if not answer.usage:
        return {}
    model = answer.model or settings.OPENAI_ANALYSIS_MODEL
    began = analysis.call.started_at or analysis.call.created_at
    price = costs.cost(model, answer.usage, began.date(), settings.SPEECH_PRICES)
    known_before = analysis.cost is not None or not analysis.usage
    total = (analysis.cost or 0) + price if price is not None and known_before else None
    return {"model": model, "usage": answers.added(analysis.usage, answer.usage), "cost": total}


def _learn(call: CallLog, found: Findings) -> None:
    """Add what this call told to what is known of its caller."""
    number = leads.number_of(call.direction, call.from_number, call.to_number)
    if not number or all(value is None for value in found.lead.values()):
        return
    at = call.started_at or call.created_at
    try:
        with transaction.atomic():
            Lead.objects.get_or_create(business_id=call.business_id, number=number)
    except IntegrityError:  # somebody else made it between the two statements
        pass
    lead = Lead.objects.select_for_update().get(business_id=call.business_id, number=number)
    lead.values = leads.merged(lead.values, found.lead, at, call.pk)
    if lead.last_call_at is None or lead.last_call_at <= at:
        lead.last_call, lead.last_call_at = call, at
    lead.save(update_fields=["values", "last_call", "last_call_at"])
