"""What was made of calls: on the page of each call, in a list of its own, and what is known of callers.

An analysis is never edited; it can be made again. Everything is held to the user's own businesses (businesses.tenancy).
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.views.decorators.http import require_POST

from analysis import export, pages, services, transcriptions
from analysis.models import AfterCallSettings, CallAnalysis, Lead, LeadField, Transcription
from businesses.admin import badge
from businesses.local_time import date_and_minute
from businesses.tenancy import BusinessFilter, TenantAdmin
from calls import page_sections
from calls.admin import ReadOnly, with_second_line
from calls.models import CallLog

MAX_EXPORT = 10_000


@page_sections.register
def section(call: CallLog, request: HttpRequest) -> str:
    """What the page of a call shows of its analysis."""
    if not request.user.has_perm("analysis.view_callanalysis"):
        return ""
    shown = pages.section(call, may_ask=request.user.has_perm("analysis.change_callanalysis"))
    return render_to_string("admin/analysis/section.html", shown, request=request) if shown else ""


class FlagFilter(admin.SimpleListFilter):
    title = "claims"
    parameter_name = "claims"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unbacked", "Without a deed"), ("backed", "None without a deed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[CallAnalysis]) -> QuerySet[CallAnalysis]:
        match self.value():
            case None:
                return queryset
            case "unbacked":
                return queryset.filter(has_unbacked_claim=True)
            case _:
                return queryset.filter(has_unbacked_claim=False, analysed_at__isnull=False)


@admin.register(CallAnalysis)
class CallAnalysisAdmin(TenantAdmin, ReadOnly):
    business_lookup = "business"
    fields = ["call_link", "business", "stands", "outcome", "sentiment", "summary", "to_do", "claimed", "told", "cost"]
    list_display = ["called", "said", "came_of_it", "flag", "call_link"]
    list_display_links = ["called"]
    list_filter = [FlagFilter, "state", "outcome", "sentiment", BusinessFilter]
    list_select_related = ["business", "call"]
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    search_fields = ["call__from_number__startswith", "call__call_sid__startswith"]
    search_help_text = "The beginning of the caller's number, or of a CallSid."
    actions = ["analyse_again"]  # type: ignore[assignment]  # others have none

    class Media:
        css = {"all": ["calls/admin.css", "analysis/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Analyses of calls", **(extra_context or {})})

    @admin.display(description="call", ordering="call__started_at")
    def called(self, analysis: CallAnalysis) -> SafeString:
        call = analysis.call
        when = date_and_minute(call.started_at or call.created_at, analysis.business.zone)
        return with_second_line(when, call.from_number or "unknown")

    @admin.display(description="summary")
    def said(self, analysis: CallAnalysis) -> str:
        return Truncator(analysis.summary).chars(200) or "-"

    @admin.display(description="outcome", ordering="outcome")
    def came_of_it(self, analysis: CallAnalysis) -> SafeString | str:
        if not analysis.outcome:
            return pages.state_badge(analysis)
        return with_second_line(analysis.get_outcome_display(), analysis.get_sentiment_display())

    @admin.display(description="claims", ordering="has_unbacked_claim")
    def flag(self, analysis: CallAnalysis) -> SafeString | str:
        return badge("claim without a deed", "bad") if analysis.has_unbacked_claim else "-"

    @admin.display(description="call")
    def call_link(self, analysis: CallAnalysis) -> SafeString:
        url = reverse("admin:calls_calllog_change", args=[analysis.call_id])
        return format_html('<a href="{}">{}</a>', url, analysis.call)

    @admin.display(description="state")
    def stands(self, analysis: CallAnalysis) -> SafeString:
        return with_second_line(pages.state_badge(analysis), pages.standing(analysis))

    @admin.display(description="to do")
    def to_do(self, analysis: CallAnalysis) -> str:
        return "\n".join(f"- {line}" for line in analysis.follow_ups) or "-"

    @admin.display(description="what the agent said it did")
    def claimed(self, analysis: CallAnalysis) -> str:
        lines = [f"{claim.quote} ({claim.what}: {claim.verdict})" for claim in pages.claims_of(analysis)]
        return "\n".join(lines) or "-"

    @admin.display(description="what the caller told")
    def told(self, analysis: CallAnalysis) -> str:
        lines = [f"{label}: {value}" for label, value in pages.told(analysis)]
        return "\n".join(lines) or "-"

    def has_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("analysis.change_callanalysis")

    @admin.action(description="Analyse again", permissions=["again"])
    def analyse_again(self, request: HttpRequest, chosen: QuerySet[CallAnalysis]) -> None:
        now, done = timezone.now(), 0
        for analysis in chosen.select_related("call"):
            services.again(analysis.call, now)
            done += 1
        self.message_user(request, f"{done} will be analysed again, from half a minute on.", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.analyse_call)
        return [path("call/<int:call_id>/again/", view, name="analysis_callanalysis_again"), *super().get_urls()]

    @method_decorator(require_POST)
    def analyse_call(self, request: HttpRequest, call_id: int) -> HttpResponse:
        """Analyse one call, also one that never was; the button on its page."""
        call = CallLog.objects.visible_to(request.user).filter(pk=call_id).first()
        if call is None:
            raise Http404
        if not self.has_again_permission(request):
            raise PermissionDenied
        if pages.can_be_analysed(call):
            services.again(call, timezone.now())
            self.message_user(request, "The call will be analysed. Load this page again in half a minute.")
        else:
            self.message_user(request, "Only a finished call in which something was said.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:calls_calllog_change", args=[call.pk]))


@admin.register(Transcription)
class TranscriptionAdmin(TenantAdmin, ReadOnly):
    """What became of messages that were spoken after the tone; the words are on the pages of the messages."""

    business_lookup = "business"
    fields = ["message_link", "business", "stands", "model", "cost"]
    list_display = ["message_link", "stands", "cost"]
    list_display_links = None
    list_filter = ["state", BusinessFilter]
    list_select_related = ["business", "message"]
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    actions = ["write_down_again"]  # type: ignore[assignment]  # others have none

    class Media:
        css = {"all": ["calls/admin.css", "analysis/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Spoken messages written down", **(extra_context or {})})

    @admin.display(description="message")
    def message_link(self, transcription: Transcription) -> SafeString:
        message = transcription.message
        when = date_and_minute(message.taken_at or message.created_at, transcription.business.zone)
        link = format_html('<a href="{}">{}</a>', reverse("admin:calls_callmessage_change", args=[message.pk]), when)
        return with_second_line(link, transcription.business)

    @admin.display(description="state")
    def stands(self, transcription: Transcription) -> SafeString:
        return with_second_line(pages.transcription_badge(transcription), transcription.error)

    def has_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("analysis.change_transcription")

    @admin.action(description="Write down again", permissions=["again"])
    def write_down_again(self, request: HttpRequest, chosen: QuerySet[Transcription]) -> None:
        now, done = timezone.now(), 0
        for transcription in chosen:
            transcriptions.again(transcription, now)
            done += 1
        self.message_user(request, f"{done} will be written down again, from half a minute on.", messages.SUCCESS)


@admin.register(AfterCallSettings)
class AfterCallSettingsAdmin(TenantAdmin):
    business_lookup = "business"
    fields = ["business", "is_on", "guidance"]
    list_display = ["business", "is_on"]
    list_select_related = ["business"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["business"] if obj else []


@admin.register(LeadField)
class LeadFieldAdmin(TenantAdmin):
    business_lookup = "business"
    fields = ["business", "label", "name", "kind", "choices", "description", "position"]
    list_display = ["label", "name", "kind", "business", "position"]
    list_filter = [BusinessFilter]
    list_select_related = ["business"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # What is known of callers stands under the name, in that business.
        return ["business", "name"] if obj else []


@admin.register(Lead)
class LeadAdmin(TenantAdmin, ReadOnly):
    """What is known of callers. Not edited, since the next call would change it again; it can be deleted."""

    business_lookup = "business"
    fields = ["number", "business", "known", "last", "last_call_link"]
    list_display = ["number", "known_in_short", "last", "business"]
    list_filter = [BusinessFilter]
    list_select_related = ["business"]
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    search_fields = ["number__startswith"]
    search_help_text = "The beginning of the number."
    actions = ["export_csv"]  # type: ignore[assignment]  # others have none

    class Media:
        css = {"all": ["calls/admin.css", "analysis/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Leads", **(extra_context or {})})

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("analysis.delete_lead")

    @admin.display(description="known")
    def known(self, lead: Lead) -> str:
        return "\n".join(f"{label}: {value}" for label, value in pages.known(lead)) or "-"

    @admin.display(description="known")
    def known_in_short(self, lead: Lead) -> str:
        values = "; ".join(f"{name}: {pages.shown(known['value'])}" for name, known in lead.values.items())
        return Truncator(values).chars(160) or "-"

    @admin.display(description="last call", ordering="last_call_at")
    def last(self, lead: Lead) -> str:
        return date_and_minute(lead.last_call_at, lead.business.zone) or "-"

    @admin.display(description="call")
    def last_call_link(self, lead: Lead) -> SafeString | str:
        if lead.last_call_id is None:
            return "-"
        return format_html('<a href="{}">open</a>', reverse("admin:calls_calllog_change", args=[lead.last_call_id]))

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("analysis.view_lead")

    @admin.action(description="Export as CSV", permissions=["export"])
    def export_csv(self, request: HttpRequest, chosen: QuerySet[Lead]) -> HttpResponse:
        leads = list(chosen.select_related("business")[:MAX_EXPORT])
        text = export.table(*pages.lead_table(leads))
        headers = {"Content-Disposition": 'attachment; filename="leads.csv"'}
        return HttpResponse("\ufeff" + text, content_type="text/csv; charset=utf-8", headers=headers)
