"""Two businesses on one server, for tests that must keep them apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission, User
from django.db.models import Model

from analysis.models import AfterCallSettings, AnalysisState, CallAnalysis, Lead, LeadField, Transcription
from businesses.models import (
    Agent,
    AgentVersion,
    Business,
    Clip,
    DoNotCall,
    HttpTool,
    Membership,
    PhoneNumber,
    TransferTarget,
)
from calls.models import (
    CallLeg,
    CallLog,
    CallMessage,
    CallStatus,
    ConversationTurn,
    DeadLetter,
    EndedReason,
    Recording,
    ToolUse,
)
from outbound.models import OutboundCall
from tests.calls.support import a_turn

HOURS = ("opening_hours", "holidays")  # the prefixes of their forms
STARTED = datetime(2026, 11, 23, 14, 5, 12, tzinfo=UTC)


@dataclass
class World:
    """Everything one business has: each text in it contains `word`."""

    word: str
    business: Business
    agent: Agent
    published: AgentVersion
    draft: AgentVersion
    number: PhoneNumber
    call: CallLog
    turn: ConversationTurn
    message: CallMessage
    tool: HttpTool
    clip: Clip
    do_not_call: DoNotCall
    target: TransferTarget
    outbound: OutboundCall
    after_call: AfterCallSettings
    lead_field: LeadField
    analysis: CallAnalysis
    lead: Lead
    recording: Recording
    dead_letter: DeadLetter
    transcription: Transcription

    def rows(self) -> list[Model]:
        of_business = [self.business, self.agent, self.published, self.draft, self.number, self.tool, self.clip]
        after_the_call = [self.after_call, self.lead_field, self.analysis, self.lead, self.recording, self.dead_letter]
        of_calls = [self.do_not_call, self.target, self.outbound, self.call, self.turn, self.message]
        return [*of_business, *of_calls, *after_the_call, self.transcription]


def make_world(word: str, digit: int) -> World:
    business = Business.objects.create(name=f"{word} Dental", time_zone="America/New_York")
    agent = Agent.objects.create(business=business, name=f"{word} Robin")
    texts = {"instructions": f"{word} instructions", "greeting": f"{word} greeting"}
    published = AgentVersion.objects.create(agent=agent, number=1, **texts)
    tool = HttpTool(
        business=business,
        name=f"find_{word.lower()}",
        description=f"{word} orders",
        parameters={
            "type": "object",
            "properties": {"number": {"type": "string", "description": f"{word} number"}},
            "required": ["number"],
        },
        url=f"https://{word.lower()}.example.com/orders/{{number}}",
    )
    tool.set_secret(f"{word}-secret-0001")
    tool.save()
    published.publish()
    clip = Clip.objects.create(
        agent_version=published,
        key="greeting",
        text=f"{word} greeting",
        audio=word.encode(),
        rendered_at=STARTED,
        is_due=False,
    )
    draft = AgentVersion.objects.create(agent=agent, number=2, **texts)
    number = PhoneNumber.objects.create(number=f"+1555{digit}100100", business=business, agent=agent)
    call = CallLog.objects.create(
        call_sid=f"CA{digit:032x}",
        business=business,
        agent_version=published,
        from_number=f"sip:{word}@example.com",
        to_number=number.number,
        status=CallStatus.COMPLETED,
        ended_reason=EndedReason.CALLER_HUNG_UP,
        started_at=STARTED,
        ended_at=STARTED + timedelta(seconds=75),
        duration_seconds=75,
        expected_turns=1,
        streams={"0": {"turns": 1}},
        is_complete=True,
    )
    turn = ConversationTurn.objects.create(call=call, turn_index=0, bot_reply=f"{word} greeting")
    of_call = {"business": business, "call": call}
    ToolUse.objects.create(**of_call, tool_call_id="call_1", name="take_message", arguments=f'{{"text": "{word}"}}')
    message = CallMessage.objects.create(
        **of_call, key="call_1", caller_name=f"{word} caller", text=f"{word} message", taken_at=STARTED
    )
    CallLeg.objects.create(
        **of_call,
        key="call_2",
        kind="cold",
        state="completed",
        target_name=f"{word} front desk",
        briefing=f"{word} asks.",
        asked_at=STARTED - timedelta(days=2),
    )
    target = TransferTarget.objects.create(
        business=business, name=f"{word} front desk", description=f"{word} rooms", number=f"+1212555030{digit}"
    )
    do_not_call = DoNotCall.objects.create(business=business, number=f"+1212555010{digit}", note=f"{word} note")
    outbound = OutboundCall.objects.create(
        business=business,
        agent=agent,
        to_number=f"+1212555020{digit}",
        from_number=number.number,
        key=f"{word}-key",
        message=f"{word} for the machine",
        due_at=STARTED,
        asked_at=STARTED,
    )
    of_business = (word, business, agent, published, draft, number, call, turn, message, tool, clip)
    recording = Recording.objects.create(
        **of_call, recording_sid=f"RE{digit:032x}", state="failed", error=f"{word}-code", started_at=STARTED
    )
    dead_letter = DeadLetter.objects.create(
        task_id=f"{word}-task",
        kind="save_conversation_turn",
        call_sid=call.call_sid,
        business=business,
        reason=f"{word} reason",
        deliveries=5,
        payload={"call_sid": call.call_sid, "business_id": business.pk, **a_turn(1, user_text=f"{word} text")},
    )
    transcription = Transcription.objects.create(business=business, message=message, error=f"{word}-code")
    after = after_the_call(word, digit, call)
    return World(*of_business, do_not_call, target, outbound, *after, recording, dead_letter, transcription)


def after_the_call(word: str, digit: int, call: CallLog) -> tuple[AfterCallSettings, LeadField, CallAnalysis, Lead]:
    business = call.business
    claim = {"kind": "booking", "tool": "none", "quote": f"I have booked {word}.", "is_backed": False}
    return (
        AfterCallSettings.objects.create(business=business, is_on=True, guidance=f"{word} guidance"),
        LeadField.objects.create(
            business=business, name="their_name", label=f"{word} name", description=f"{word} text"
        ),
        CallAnalysis.objects.create(
            business=business,
            call=call,
            state=AnalysisState.DONE,
            summary=f"{word} summary",
            outcome="resolved",
            sentiment="neutral",
            follow_ups=[f"{word} to do"],
            lead_values={"their_name": f"{word} Ada"},
            claims=[claim],
            has_unbacked_claim=True,
            model=f"{word}-model",
            analysed_at=STARTED + timedelta(minutes=2),
        ),
        Lead.objects.create(
            business=business,
            number=f"+1555{digit}100142",
            values={"their_name": {"value": f"{word} Ada", "at": STARTED.isoformat(), "call": call.pk}},
            last_call=call,
            last_call_at=STARTED,
        ),
    )


def hours_form(**fields: Any) -> dict[str, Any]:
    """What a browser sends of the hours and the dial policy on a business's page: none, and `fields`."""
    empty = {f"{prefix}-{name}": "0" for prefix in (*HOURS, "dial_policy") for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    return {"when_closed": "agent", "closed_agent": "", "recording": "off", **empty, **fields}


def staff_member(*businesses: Business, name: str = "olga") -> User:
    """A staff user with every permission there is, who belongs to these businesses and is no superuser."""
    user = get_user_model().objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    for business in businesses:
        Membership.objects.create(user=user, business=business)
    return user
