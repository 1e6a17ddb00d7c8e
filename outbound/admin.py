"""Placing a call by hand, and what became of every call that was asked for."""

from __future__ import annotations

import secrets
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from businesses.admin import badge
from businesses.forms import AgentChoiceField
from businesses.local_time import date_and_minute, date_and_time
from businesses.models import Agent, Business
from businesses.phone_numbers import LONGEST
from businesses.tenancy import AgentFilter, BusinessFilter, TenantAdmin
from calls.admin import ANSWERED_BY, with_second_line
from calls.models import CallLog
from outbound import services, tasks, wording
from outbound.models import MESSAGE_CHARACTERS, OutboundCall, OutboundState

_BADGES = {
    OutboundState.REFUSED: "warning",
    OutboundState.BUSY: "warning",
    OutboundState.NO_ANSWER: "warning",
    OutboundState.CANCELED: "warning",
    OutboundState.UNKNOWN: "bad",
    OutboundState.FAILED: "bad",
    OutboundState.COMPLETED: "good",
    OutboundState.RINGING: "live",
    OutboundState.IN_PROGRESS: "live",
}


class CallForm(forms.Form):
    """`key` makes one call of a form that is sent twice."""

    agent = AgentChoiceField(Agent.objects.none())
    to = forms.CharField(
        label="Number",
        max_length=LONGEST,
        help_text="With a plus and the country, or as it is dialled in the home country of the business.",
    )
    message = forms.CharField(
        label="For an answering machine",
        required=False,
        max_length=MESSAGE_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
        help_text="Said after its tone. Empty: hang up when a machine answers.",
    )
    tries_again = forms.BooleanField(label="Try again when busy or not answered", required=False, initial=True)
    key = forms.RegexField(r"^[0-9a-f]{32}$", widget=forms.HiddenInput)


@admin.register(OutboundCall)
class OutboundCallAdmin(TenantAdmin):
    business_lookup = "business"
    list_display = ["asked", "number", "business_and_agent", "state_here", "by_whom", "call_link"]
    list_display_links = ["asked"]
    list_filter = ["state", BusinessFilter, AgentFilter]
    list_select_related = ["business", "agent", "asked_by"]
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    search_fields = ["to_number__startswith"]
    search_help_text = "The beginning of a number, with its plus."
    actions = ["take_back"]  # type: ignore[assignment]  # others have none
    fields = (
        *("asked", "business", "agent", "to_number", "from_number", "state_here", "by_whom", "call_link", "message"),
        *("message_left", "attempt", "tries_again", "due", "submitted", "key", "asked_by"),
    )
    readonly_fields = fields

    class Media:
        css = {"all": ["calls/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Outbound calls", **(extra_context or {})})

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="asked for", ordering="asked_at")
    def asked(self, call: OutboundCall) -> str:
        return date_and_minute(call.asked_at, call.business.zone)

    @admin.display(description="to / from", ordering="to_number")
    def number(self, call: OutboundCall) -> SafeString:
        attempt = f", attempt {call.attempt}" if call.attempt > 1 else ""
        return with_second_line(call.to_number, f"from {call.from_number}{attempt}")

    @admin.display(description="business / agent", ordering="business__name")
    def business_and_agent(self, call: OutboundCall) -> SafeString:
        return with_second_line(call.business, call.agent.name)

    @admin.display(description="state", ordering="state")
    def state_here(self, call: OutboundCall) -> SafeString:
        shown = badge(call.get_state_display(), _BADGES.get(OutboundState(call.state), ""))
        return with_second_line(shown, wording.reason(call.reason)) if call.reason else shown

    @admin.display(description="answered by", ordering="answered_by")
    def by_whom(self, call: OutboundCall) -> str:
        return ANSWERED_BY.get(call.answered_by, call.answered_by)

    @admin.display(description="message left")
    def message_left(self, call: OutboundCall) -> str:
        return date_and_time(call.message_left_at, call.business.zone) if call.message else ""

    @admin.display(description="to be dialled")
    def due(self, call: OutboundCall) -> str:
        return date_and_time(call.due_at, call.business.zone)

    @admin.display(description="handed to the carrier")
    def submitted(self, call: OutboundCall) -> str:
        return date_and_time(call.submitted_at, call.business.zone)

    @admin.display(description="call")
    def call_link(self, call: OutboundCall) -> SafeString | str:
        if call.call_sid is None:
            return ""
        row = CallLog.objects.filter(call_sid=call.call_sid, business=call.business_id).values_list("pk").first()
        if row is None:
            return f"…{call.call_sid[-6:]}"
        return format_html('<a href="{}">…{}</a>', reverse("admin:calls_calllog_change", args=row), call.call_sid[-6:])

    def has_take_back_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request)

    @admin.action(description="Take back what waits", permissions=["take_back"])
    def take_back(self, request: HttpRequest, chosen: QuerySet[OutboundCall]) -> None:
        done = sum(services.cancel(call, timezone.now()) for call in chosen)
        self.message_user(request, f"{done} taken back.", messages.SUCCESS)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Place a call."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = CallForm(request.POST or None, initial={"key": secrets.token_hex(16)})
        field = form.fields["agent"]
        assert isinstance(field, forms.ModelChoiceField)
        mine = Business.objects.visible_to(request.user)
        field.queryset = Agent.objects.filter(business__in=mine).select_related("business").order_by("name")
        if len(only := list(field.queryset[:2])) == 1:
            field.initial = only[0]
        if request.method == "POST" and form.is_valid():
            call = self._place(request, form)
            if call is not None:
                return HttpResponseRedirect(reverse("admin:outbound_outboundcall_change", args=[call.pk]))
        context = {**self.admin_site.each_context(request), "title": "Call", "opts": self.opts, "form": form}
        return TemplateResponse(request, "admin/outbound/outboundcall/call.html", {**context, **(extra_context or {})})

    def _place(self, request: HttpRequest, form: CallForm) -> OutboundCall | None:
        given = form.cleaned_data
        try:
            call = services.place_call(
                agent=given["agent"],
                to=given["to"],
                key=given["key"],
                now=timezone.now(),
                message=given["message"],
                tries_again=given["tries_again"],
                asked_by_id=request.user.pk,
            )
        except services.CannotPlace as error:
            form.add_error(None, str(error))
            return None
        if call.state == OutboundState.REFUSED:
            self.message_user(request, f"Not called: {wording.reason(call.reason)}", messages.WARNING)
        elif call.state == OutboundState.WAITING:
            tasks.ask_to_dial()
            self.log_addition(request, call, "Call asked for.")
            self.message_user(request, "The call is being placed. Load this page again to follow it.", messages.SUCCESS)
        return call
