"""What an operator opens all day: the list of calls, each call as a conversation, and the messages that were taken.

Read-only, since calls.services writes; only that a message was handled is said here. The pages of calls
take a fixed number of queries, whatever they show. Times are in the zone of the call's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.views.decorators.http import require_GET

from businesses.admin import badge
from businesses.local_time import date_and_minute, date_and_time
from businesses.tenancy import AgentFilter, AnyModelAdmin, BusinessFilter, TenantAdmin
from calls import (
    conversation,
    dead_letters,
    dial_policy,
    figures,
    legs,
    page_sections,
    recording_files,
    recording_pages,
    streams,
)
from calls.call_list import REACHABLE, NearPaginator, UntilFilter, older_calls
from calls.models import (
    TERMINAL_STATUSES,
    CallLeg,
    CallLog,
    CallMessage,
    CallStatus,
    ConversationTurn,
    DeadLetter,
    Direction,
    EndedReason,
    LegState,
    MessageKind,
    Recording,
    RecordingState,
    RefusedFact,
    SuspectCall,
    TextState,
    ToolState,
    ToolUse,
    WebProcess,
)

_STATUS_BADGES = {
    CallStatus.COMPLETED: "good",
    CallStatus.IN_PROGRESS: "live",
    CallStatus.RINGING: "live",
    CallStatus.FAILED: "bad",
    CallStatus.BUSY: "warning",
    CallStatus.NO_ANSWER: "warning",
    CallStatus.CANCELED: "warning",
}
_BAD_ENDS = {
    EndedReason.MODEL_FAILED,
    EndedReason.MODEL_REFUSED,
    EndedReason.MODEL_SILENT,
    EndedReason.STREAM_LOST,
    EndedReason.NEVER_CONNECTED,
    EndedReason.SERVER_STOPPED,
}

_TOOL_BADGES = {
    ToolState.FINISHED: "good",
    ToolState.FAILED: "bad",
    ToolState.TIMED_OUT: "bad",
    ToolState.REFUSED: "warning",
    ToolState.ABANDONED: "warning",
}
_LEG_BADGES = {
    LegState.COMPLETED: "good",
    LegState.ACCEPTED: "live",
    LegState.ANSWERED: "live",
    LegState.RINGING: "live",
    LegState.FAILED: "bad",
    LegState.REFUSED: "warning",
    LegState.NO_ANSWER: "warning",
    LegState.BUSY: "warning",
}

_RECORDING_BADGES = {
    RecordingState.IN_PROGRESS: "live",
    RecordingState.WAITING: "live",
    RecordingState.STORED: "good",
    RecordingState.FAILED: "bad",
}


# The carrier's machine detection, of a call that we placed (protocols, twilio A7).
ANSWERED_BY = {
    "human": "A person",
    "fax": "A fax machine",
    "unknown": "Not known",
    "machine_start": "A machine",
    "machine_end_beep": "A machine, with a tone",
    "machine_end_silence": "A machine, then silence",
    "machine_end_other": "A machine",
}


def with_second_line(first: object, second: object) -> SafeString:
    return format_html('{}<span class="second">{}</span>', first, second)


class ReadOnly(AnyModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class CallAgentFilter(AgentFilter):
    lookup = "agent_version__agent"


class WhenFilter(admin.SimpleListFilter):
    """Spans that end now, so that they mean the same in every business's zone."""

    title = "time"
    parameter_name = "when"
    spans = {"day": ("Last 24 hours", 1), "week": ("Last 7 days", 7), "month": ("Last 30 days", 30)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, title) for key, (title, _) in self.spans.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[CallLog]) -> QuerySet[CallLog]:
        value = self.value()
        if value is None:
            return queryset
        if value not in self.spans:
            return queryset.none()
        return queryset.filter(started_at__gte=timezone.now() - timedelta(days=self.spans[value][1]))


@admin.register(CallLog)
class CallLogAdmin(TenantAdmin, ReadOnly):
    business_lookup = "business"
    fields = ["call_sid"]  # the page has a template of its own: admin only has to know one field
    list_display = ["started", "numbers", "business_and_agent", "state", "ending", "length", "turns_here"]
    list_display_links = ["started"]
    list_filter = [WhenFilter, "status", BusinessFilter, CallAgentFilter, "direction", "ended_reason", UntilFilter]
    # Only by time: to sort by a name or a length all calls would have to be read. Filters and search find the rest.
    paginator = NearPaginator
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    search_fields = ["call_sid"]  # shows the box; get_search_results says what is searched
    search_help_text = "A phone number (from its beginning, with or without +) or a CallSid."
    change_form_template = "admin/calls/calllog/change_form.html"

    class Media:
        css = {"all": ["calls/admin.css", "calls/recording.css"]}
        js = ["calls/recording.js"]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response = super().changelist_view(request, {"title": "Calls", **(extra_context or {})})
        context = response.context_data if isinstance(response, TemplateResponse) else None
        if context is not None and "cl" in context:
            changes = context["cl"]
            context["reachable"] = REACHABLE if changes.paginator.is_cut else 0
            context["older"] = older_calls(changes)
        return response

    def get_queryset(self, request: HttpRequest) -> QuerySet[CallLog]:
        calls: QuerySet[CallLog] = super().get_queryset(request)
        # A subquery and no join: it is counted for the rows of the page, not for all that match.
        turns = ConversationTurn.objects.filter(call=OuterRef("pk")).order_by().values("call")
        count = Subquery(turns.annotate(count=Count("pk")).values("count"), output_field=IntegerField())
        return (
            calls.select_related("business", "agent_version__agent")
            .annotate(turn_count=Coalesce(count, 0))
            # Long texts that no page of calls shows: of the transcript, the turns say the same.
            .defer(
                "transcript", *(f"agent_version__{name}" for name in ("instructions", "greeting", "frozen_http_tools"))
            )
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find calls by the beginning of a number or of the CallSid: each of the three has an index for that."""
        term = search_term.strip()
        if not term:
            return queryset, False
        match = Q(call_sid__startswith=term) | Q(from_number__startswith=term) | Q(to_number__startswith=term)
        digits = re.sub(r"[\s().+/-]", "", term)
        if digits.isascii() and digits.isdigit():
            number = f"+{digits.removeprefix('00')}"
            match |= Q(from_number__startswith=number) | Q(to_number__startswith=number)
        return queryset.filter(match), False

    @admin.display(description="started", ordering="started_at")
    def started(self, call: CallLog) -> SafeString:
        when = date_and_minute(call.started_at or call.created_at, call.business.zone)
        return with_second_line(when, call)

    @admin.display(description="from / to")
    def numbers(self, call: CallLog) -> SafeString:
        where = f"{call.get_direction_display().lower()} to {call.to_number or 'unknown'}"
        return with_second_line(call.from_number or "unknown", where)

    @admin.display(description="business / agent")
    def business_and_agent(self, call: CallLog) -> SafeString:
        version = call.agent_version
        agent = f"{version.agent.name}, version {version.number}" if version else "no agent"
        return with_second_line(call.business, agent)

    @admin.display(description="status")
    def state(self, call: CallLog) -> SafeString:
        return status_badge(call)

    @admin.display(description="how it ended")
    def ending(self, call: CallLog) -> SafeString | str:
        return ending(call)

    @admin.display(description="duration")
    def length(self, call: CallLog) -> SafeString | str:
        """With what it cost below: at 1280 px there is no room for a column more."""
        length = conversation.minutes(call.duration_seconds)
        return length if call.cost is None else with_second_line(length, figures.money(call.cost))

    @admin.display(description="turns")
    def turns_here(self, call: Any) -> SafeString | str:
        if call.is_complete or call.status not in TERMINAL_STATUSES:
            return str(call.turn_count)
        of_all = f" of {call.expected_turns}" if call.expected_turns is not None else ""
        return with_second_line(f"{call.turn_count}{of_all}", badge("incomplete", "warning"))

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        call = kwargs.get("obj")
        if call is not None:
            context.update(call_page(call), sections=page_sections.of(call, request))
        return super().render_change_form(request, context, *args, **kwargs)


class HandledFilter(admin.SimpleListFilter):
    title = "handled"
    parameter_name = "handled"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Open"), ("yes", "Handled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[CallMessage]) -> QuerySet[CallMessage]:
        if self.value() is None:
            return queryset
        return queryset.filter(handled_at__isnull=self.value() == "no")


@admin.register(CallMessage)
class CallMessageAdmin(TenantAdmin, ReadOnly):
    """What callers left to be passed on, until somebody of the business says that it has been handled."""

    business_lookup = "business"
    list_display = ["taken", "sender", "said", "handled", "call_link"]
    list_display_links = ["taken"]
    list_filter = [HandledFilter, "kind", BusinessFilter]
    list_select_related = ["business", "call", "handled_by", "recording"]
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    search_fields = ["caller_name__icontains", "callback_number__startswith", "call__from_number__startswith"]
    search_help_text = "The caller's name, or the beginning of the number to call back, or of the caller's."
    change_form_template = "admin/calls/callmessage/change_form.html"
    actions = ["mark_as_handled", "mark_as_open"]  # type: ignore[assignment]  # others have none
    fields = ["taken", "kind", "caller_name", "call_back", "words", "handled", "call_link", "business"]

    class Media:
        css = {"all": ["calls/admin.css", "calls/recording.css"]}
        js = ["calls/recording.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CallMessage]:
        rows: QuerySet[CallMessage] = super().get_queryset(request)
        return rows.defer("recording__peaks", "call__transcript")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        message = kwargs.get("obj")
        if message is not None:
            context["players"] = recording_pages.of_message(message, request)
        return super().render_change_form(request, context, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Messages", **(extra_context or {})})

    @admin.display(description="taken", ordering="taken_at")
    def taken(self, message: CallMessage) -> str:
        return date_and_minute(message.taken_at or message.created_at, message.business.zone)

    @admin.display(description="from", ordering="caller_name")
    def sender(self, message: CallMessage) -> SafeString:
        return with_second_line(message.caller_name or "no name", number_of(message) or "no number")

    @admin.display(description="call back")
    def call_back(self, message: CallMessage) -> SafeString | str:
        return phone_link(number_of(message))

    @admin.display(description="message")
    def said(self, message: CallMessage) -> SafeString | str:
        return words(message, 200)

    @admin.display(description="message")
    def words(self, message: CallMessage) -> SafeString | str:
        return words(message)

    @admin.display(description="handled", ordering="handled_at")
    def handled(self, message: CallMessage) -> SafeString:
        return handled(message)

    @admin.display(description="call")
    def call_link(self, message: CallMessage) -> SafeString:
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:calls_calllog_change", args=[message.call_id]), message.call
        )

    def has_handle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("calls.change_callmessage")

    @admin.action(description="Mark as handled", permissions=["handle"])
    def mark_as_handled(self, request: HttpRequest, chosen: QuerySet[CallMessage]) -> None:
        # Those only that are still open: of two people who were at it, the first one stays.
        done = chosen.filter(handled_at=None).update(handled_at=timezone.now(), handled_by=request.user)
        self.message_user(request, f"{done} marked as handled.", messages.SUCCESS)

    @admin.action(description="Mark as open again", permissions=["handle"])
    def mark_as_open(self, request: HttpRequest, chosen: QuerySet[CallMessage]) -> None:
        done = chosen.exclude(handled_at=None).update(handled_at=None, handled_by=None)
        self.message_user(request, f"{done} marked as open.", messages.SUCCESS)


@admin.register(Recording)
class RecordingAdmin(TenantAdmin, ReadOnly):
    """Where the recordings are. They are played on the pages of their calls."""

    business_lookup = "business"
    list_display = ["begun", "stands", "how_much", "call_link"]
    list_filter = ["state", BusinessFilter]
    ordering = ["-pk"]
    sortable_by = ()  # there may be many
    list_select_related = ["business", "call"]
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    search_fields = ["recording_sid__startswith", "call__call_sid__startswith"]
    search_help_text = "The beginning of a RecordingSid or a CallSid."
    actions = ["fetch_again"]  # type: ignore[assignment]  # others have none
    fields = ["begun", "stands", "length", "size", "channels", "call_link", "recording_sid", "business"]

    class Media:
        css = {"all": ["calls/admin.css", "calls/recording.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Recordings", **(extra_context or {})})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Recording]:
        rows: QuerySet[Recording] = super().get_queryset(request)
        return rows.defer("peaks", "call__transcript")

    @admin.display(description="begun")
    def begun(self, recording: Recording) -> str:
        return date_and_minute(recording.started_at or recording.created_at, recording.business.zone)

    @admin.display(description="state")
    def stands(self, recording: Recording) -> SafeString:
        shown = badge(recording.get_state_display(), _RECORDING_BADGES.get(RecordingState(recording.state), ""))
        tries = f"{recording.tries} {'try' if recording.tries == 1 else 'tries'}" if recording.error else ""
        return with_second_line(shown, ", ".join(part for part in (recording.error, tries) if part))

    @admin.display(description="duration")
    def how_much(self, recording: Recording) -> SafeString:
        return with_second_line(self.length(recording), self.size(recording))

    @admin.display(description="duration")
    def length(self, recording: Recording) -> str:
        return conversation.minutes(recording.duration_seconds)

    @admin.display(description="size")
    def size(self, recording: Recording) -> str:
        return filesizeformat(recording.size_bytes) if recording.size_bytes else "-"

    @admin.display(description="call")
    def call_link(self, recording: Recording) -> SafeString:
        url = reverse("admin:calls_calllog_change", args=[recording.call_id])
        return format_html('<a href="{}">{}</a>', url, recording.call)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("<int:recording_id>/address/", view(self.new_address), name="calls_recording_address"),
            path("audio/<str:token>/", view(self.audio), name="calls_recording_audio"),
        ]
        return [*own, *super().get_urls()]

    @method_decorator(require_GET)
    def new_address(self, request: HttpRequest, recording_id: int) -> HttpResponse:
        return recording_pages.new_address(request, self.get_queryset(request), recording_id)

    @method_decorator(require_GET)
    def audio(self, request: HttpRequest, token: str) -> HttpResponseBase:
        return recording_pages.audio(request, self.get_queryset(request), token)

    def has_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("calls.change_recording")

    @admin.action(description="Fetch again", permissions=["again"])
    def fetch_again(self, request: HttpRequest, chosen: QuerySet[Recording]) -> None:
        done = recording_files.again(list(chosen.values_list("pk", flat=True)), timezone.now())
        self.message_user(request, f"{done} will be fetched again: those that had failed.", messages.SUCCESS)


@admin.register(RefusedFact)
class RefusedFactAdmin(ReadOnly):
    """For superusers: which business a refused fact belongs to is just what is not known."""

    list_display = ["created_at", "kind", "call_sid", "claimed_business_id", "reason"]
    list_filter = ["kind"]
    search_fields = ["call_sid"]


class ReplayedFilter(admin.SimpleListFilter):
    """With how many there are of each: zero waiting is what one comes here to see."""

    title = "replayed"
    parameter_name = "replayed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        letters = model_admin.get_queryset(request)
        waiting = letters.filter(replayed_at=None).count()
        return [("no", f"Waiting ({waiting})"), ("yes", f"Replayed ({letters.count() - waiting})")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        if self.value() is None:
            return queryset
        return queryset.filter(replayed_at__isnull=self.value() == "no")


@admin.register(DeadLetter)
class DeadLetterAdmin(TenantAdmin, ReadOnly):
    """Tasks that failed too often. Staff of the business may replay them; what they carry only superusers see."""

    business_lookup = "business"
    list_display = ["created_at", "kind", "call_sid", "business", "deliveries", "reason", "replayed_at"]
    list_filter = [ReplayedFilter, BusinessFilter]
    search_fields = ["call_sid"]
    list_select_related = ["business"]
    actions = ["replay"]  # type: ignore[assignment]  # others have none
    fields = ["created_at", "kind", "call_sid", "business", "task_id", "deliveries", "reason", "replayed_at"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*self.fields, "payload"] if request.user.is_superuser else self.fields

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("calls.change_deadletter")

    @admin.action(description="Replay", permissions=["replay"])
    def replay(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        done = refused = 0
        for letter in letters.filter(replayed_at=None).order_by("created_at", "pk"):
            try:
                accepted = dead_letters.replay(letter)
            except dead_letters.NotReplayed as error:
                self.message_user(request, f"{letter} stays: {error}.", messages.ERROR)
            else:
                done += 1
                refused += not accepted
        self.message_user(request, f"{done} replayed, {refused} of them refused.", messages.INFO)


@admin.register(WebProcess)
class WebProcessAdmin(ReadOnly):
    list_display = ["host", "pid", "live_calls", "loop_late_ms", "started_at", "seen_at"]


@admin.register(SuspectCall)
class SuspectCallAdmin(ReadOnly):
    """Calls that nobody living carries, until the reaper has ended them."""

    list_display = ["call", "since", "answer", "tries", "next_look_at"]
    list_select_related = ["call"]


def status_badge(call: CallLog) -> SafeString:
    return badge(call.get_status_display(), _STATUS_BADGES.get(CallStatus(call.status), ""))


def ending(call: CallLog) -> SafeString | str:
    if call.ended_reason in _BAD_ENDS:
        return badge(call.get_ended_reason_display(), "bad")
    if call.ended_reason == EndedReason.TURNED_AWAY:
        return badge(call.get_ended_reason_display(), "warning")
    return call.get_ended_reason_display() or "-"


def handled(message: CallMessage) -> SafeString:
    if message.handled_at is None:
        return badge("open", "warning")
    when = date_and_minute(message.handled_at, message.business.zone)
    by = f"{when}, {message.handled_by}" if message.handled_by else when
    return with_second_line(badge("handled", "good"), by)


def number_of(message: CallMessage) -> str:
    """Where the caller wants to be called back; who spoke after the tone was not asked."""
    is_spoken = message.kind == MessageKind.VOICEMAIL
    return message.callback_number or (message.call.from_number if is_spoken else "")


def words(message: CallMessage, length: int = 0) -> SafeString | str:
    """What the caller wants; of a message after the tone also how long it is, and whether it is written down."""
    text = Truncator(message.text).chars(length) if length else message.text
    if message.kind != MessageKind.VOICEMAIL:
        return text
    recording = message.recording
    spoken = f"spoken, {conversation.minutes(recording.duration_seconds)}" if recording is not None else "spoken"
    if recording is not None and recording.state == RecordingState.FAILED and not text:
        return with_second_line(badge("The recording could not be fetched", "bad"), spoken)
    state = TextState(message.text_state) if message.text_state else None
    if state is None:
        return with_second_line(text or "No words were understood.", spoken)
    kind = "bad" if state == TextState.FAILED else ""
    return with_second_line(badge(message.get_text_state_display(), kind), spoken)


def phone_link(number: str) -> SafeString | str:
    """A number that a telephone can dial as a link; what a caller said besides stays text."""
    digits = re.sub(r"[\s().-]", "", number)
    return format_html('<a href="tel:{}">{}</a>', digits, number) if re.fullmatch(r"\+?[0-9]{3,20}", digits) else number


def call_page(call: Any) -> dict[str, Any]:
    """Return what the template of a call's page shows: facts as (name, value) and turns as conversation.TurnView."""
    zone = call.business.zone
    told = {int(number): report["turns"] or 0 for number, report in call.streams.items()}
    rows = list(call.turns.order_by("turn_index"))
    turns = list(conversation.read(rows, call.started_at, zone, told, _put_through(call)))
    is_over = call.status in TERMINAL_STATUSES
    last = streams.counts(turn.index for turn in turns).get(call.last_stream, 0)
    after = told.get(call.last_stream, 0) - last
    is_outbound = call.direction == Direction.OUTBOUND
    return {
        "title": f"Call to {call.to_number}" if is_outbound else f"Call from {call.from_number or 'an unknown number'}",
        "subtitle": date_and_time(call.started_at or call.created_at, zone),
        "turns": turns,
        "agent_name": call.agent_version.agent.name if call.agent_version else "Agent",
        "is_live": not is_over,
        "is_incomplete": is_over and not call.is_complete,
        "missing_turns": sum(turn.missing_before for turn in turns) + max(after, 0),
        "missing_after": max(after, 0),
        "has_lost_stream": any(number not in told for number in range(call.last_stream)),
        "status_badge": status_badge(call),
        "ending": ending(call),
        # Somebody else's text: only an address of the web becomes a link.
        "recording_url": call.recording_url if call.recording_url.startswith(("https://", "http://")) else "",
        "facts": _facts(call, zone, len(turns)) + _figures(call, rows, told),
        "counted": figures.counted(call.counters),
        "tool_uses": [_tool_use(use, call.started_at, is_over) for use in call.tool_uses.order_by("started_at", "pk")],
        "legs": [_leg(leg, call.started_at, is_over) for leg in call.legs.order_by("asked_at", "pk")],
        "messages_taken": [
            {
                "message": message,
                "number": phone_link(number_of(message)),
                "words": words(message),
                "handled": handled(message),
            }
            for message in call.messages.select_related("business", "call", "handled_by", "recording")
            .defer("recording__peaks", "call__transcript")
            .order_by("taken_at", "pk")
        ],
        "ids": [
            ("CallSid", call.call_sid),
            ("StreamSid", call.stream_sid),
            ("AccountSid", call.account_sid),
            ("Model session", call.model_session_id),
        ],
    }


def _facts(call: CallLog, zone: Any, turn_count: int) -> list[tuple[str, object]]:
    turns = turn_count if call.expected_turns in (None, turn_count) else f"{turn_count} of {call.expected_turns}"
    return [
        ("From", call.from_number or "unknown"),
        ("To", call.to_number or "unknown"),
        ("Direction", call.get_direction_display()),
        *([("Answered by", ANSWERED_BY.get(call.answered_by, call.answered_by))] if call.answered_by else []),
        ("Business", call.business),
        ("Started", date_and_time(call.started_at, zone) or "-"),
        ("Ended", date_and_time(call.ended_at, zone) or "-"),
        ("Duration", conversation.minutes(call.duration_seconds)),
        ("Turns", turns),
        *_recordings(call),
        *_resumed(call),
        ("Interruptions", call.interruptions),
    ]


def _put_through(call: CallLog) -> set[int]:
    """The streams that were closed for a transfer."""
    return {
        int(number) for number, report in call.streams.items() if report.get("ended_reason") == EndedReason.TRANSFERRED
    }


def _resumed(call: CallLog) -> list[tuple[str, object]]:
    """How often the call went on after its stream was lost; a caller who came back from a transfer is no such case."""
    times = call.last_stream - sum(number < call.last_stream for number in _put_through(call))
    return [("Resumed", "once" if times == 1 else f"{times} times")] if times > 0 else []


def _recordings(call: CallLog) -> list[tuple[str, object]]:
    """What the carrier recorded, and how the caller knew of it, or what the caller said to it."""
    told = f", {call.recording_consent}" if call.recording_consent else ""
    found: list[tuple[str, object]] = [
        ("Recording", f"{_RECORDED[RecordingState(row.state)]}{told} ({row.recording_sid})")
        for row in call.recordings.defer("peaks")
    ]
    return found or ([("Recording", f"none{told}")] if told else [])


_RECORDED = {
    RecordingState.IN_PROGRESS: "being recorded",
    RecordingState.ABSENT: "nothing was recorded",
    RecordingState.WAITING: "complete, to be fetched",
    RecordingState.STORED: "stored",
    RecordingState.FAILED: "could not be fetched",
    RecordingState.DELETED: "deleted",
}


def _figures(call: CallLog, turns: Iterable[ConversationTurn], told: Mapping[int, int]) -> list[tuple[str, object]]:
    """What the call used up. `told`: the streams that have said so; of the others it is not known."""
    found: list[tuple[str, object]] = []
    if times := figures.answer_times(turn.reply_ms for turn in turns):
        found.append(("Time to answer", times))
    if call.usage:
        at_least = "at least " if any(number not in told for number in range(call.last_stream + 1)) else ""
        cost = "no price is known for it" if call.cost is None else at_least + figures.money(call.cost)
        found += [("Tokens", at_least + figures.tokens(call.usage)), ("Cost of the speech models", cost)]
    return found


def _tool_use(use: ToolUse, call_started_at: datetime | None, is_over: bool) -> dict[str, Any]:
    """What the page shows of a tool. One that a dead process had started will not end any more."""
    lost = use.state == ToolState.STARTED and is_over
    took = (use.ended_at - use.started_at).total_seconds() * 1000 if use.started_at and use.ended_at else None
    return {
        "use": use,
        "state": badge("Its end is not known", "warning")
        if lost
        else badge(use.get_state_display(), _TOOL_BADGES.get(ToolState(use.state), "live")),
        "offset": conversation.offset(use.started_at, call_started_at),
        "took": figures.seconds(max(took, 0)) if took is not None else "",
    }


def _leg(leg: CallLeg, call_started_at: datetime | None, is_over: bool) -> dict[str, Any]:
    """What the page shows of somebody who was called for the caller. One that has no end by now will have none."""
    state = LegState(leg.state)
    lost = legs.RANKS[state] < legs.RANKS["no-answer"] and is_over
    return {
        "leg": leg,
        "state": badge("Its end is not known", "warning")
        if lost
        else badge(leg.get_state_display(), _LEG_BADGES.get(state, "")),
        "why": legs.REASONS.get(leg.reason) or dial_policy.SENTENCES.get(leg.reason, leg.reason),
        "offset": conversation.offset(leg.asked_at, call_started_at),
        "talked": conversation.minutes(leg.duration_seconds) if leg.duration_seconds else "",
        "number": phone_link(leg.number),
    }
