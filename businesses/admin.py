"""Pages to set up who answers: businesses, their agents and their numbers.

An agent is edited by editing its draft, on the agent's own page; publishing freezes the draft as a version, which new
calls use from then on. Published versions are shown and never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.db.models.functions import Length
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from businesses import allowed_hosts, clips, jobs, sentences, wav
from businesses.dialing_admin import DialPolicyInline
from businesses.forms import (
    AgentChoiceField,
    AnyInlineFormSet,
    BusinessForm,
    DraftForm,
    DraftFormSet,
    HttpToolForm,
)
from businesses.local_time import date_and_time
from businesses.models import (
    Agent,
    AgentVersion,
    Business,
    Clip,
    Holiday,
    HttpTool,
    Membership,
    OpeningHours,
    PhoneNumber,
)
from businesses.tenancy import AgentFilter, BusinessFilter, TenantAdmin

if TYPE_CHECKING:
    AnyStackedInline = admin.StackedInline[Any, Any]
    AnyTabularInline = admin.TabularInline[Any, Any]
else:
    AnyStackedInline = admin.StackedInline
    AnyTabularInline = admin.TabularInline


def badge(text: object, kind: str = "") -> SafeString:
    """A word in a rounded box. `kind` is good, live, warning, bad or empty (voiceagent/admin.css)."""
    return format_html('<span class="badge{}">{}</span>', f" badge--{kind}" if kind else "", text)


class MembershipInline(AnyTabularInline):
    """Who sees the business. Superusers only: a member could otherwise let in anybody."""

    model = Membership
    extra = 0
    autocomplete_fields = ["user"]
    verbose_name_plural = "staff users who see this business"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser


class HoursFormSet(AnyInlineFormSet):
    """Rows of one business, each perhaps of one of its numbers: those of other businesses are no choice."""

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        of_business = PhoneNumber.objects.filter(business=self.instance.pk) if self.instance.pk else None
        form.fields["number"].queryset = PhoneNumber.objects.none() if of_business is None else of_business


class HoursInline(AnyTabularInline):
    """A part of the business's page: whoever may change the business may change it."""

    formset = HoursFormSet
    extra = 0

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "number":
            field.widget = forms.Select()  # without the links to the number's own page, for which there is no room
        if field is not None and db_field.name in ("opens", "closes"):
            field.widget.format = "%H:%M"
        if field is not None and db_field.name == "name":
            field.widget.attrs["class"] = ""  # admin's own width would push the table out of its box
        return field

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("businesses.view_business") or self.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("businesses.change_business")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("businesses.change_business")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("businesses.change_business")


class OpeningHoursInline(HoursInline):
    model = OpeningHours
    fields = ["weekday", "opens", "closes", "number"]


class HolidayInline(HoursInline):
    model = Holiday
    fields = ["date", "name", "opens", "closes", "number"]


def agent_field(make: Callable[..., Any], db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
    """The form field of a relation; agents are shown with their business, for whoever sees several."""
    is_agent = db_field.related_model is Agent
    if is_agent:
        kwargs["form_class"] = AgentChoiceField
    field = make(db_field, request, **kwargs)
    if is_agent and field is not None:
        field.queryset = field.queryset.select_related("business")
    return field


@admin.register(Business)
class BusinessAdmin(TenantAdmin):
    business_lookup = "pk"
    form = BusinessForm
    fieldsets = [
        (None, {"fields": ["name", "time_zone", "language", "forwarding_number", "is_active"]}),
        ("When all lines are busy", {"fields": ["max_calls", "when_busy"]}),
        ("Outside the opening hours", {"fields": ["when_closed", "closed_agent"]}),
        ("Recording", {"fields": ["recording"]}),
    ]
    inlines = [OpeningHoursInline, HolidayInline, DialPolicyInline, MembershipInline]
    list_display = ["name", "time_zone", "language", "forwarding_number", "is_active"]
    search_fields = ["name"]

    # A business is a tenant of this server: making and removing one is not its staff's to do.
    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser and super().has_add_permission(request)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return agent_field(super().formfield_for_foreignkey, db_field, request, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not once one of its agents was published: see AgentAdmin. It can be switched off."""
        versions = AgentVersion.objects.filter(agent__business=obj, published_at__isnull=False) if obj else None
        if versions is not None and versions.exists():
            return False
        return request.user.is_superuser and super().has_delete_permission(request, obj)


class DraftInline(AnyStackedInline):
    model = AgentVersion
    form = DraftForm
    formset = DraftFormSet
    template = "admin/businesses/agent/draft.html"
    extra = 1
    max_num = 1
    verbose_name = "draft"
    fieldsets = [
        (None, {"fields": ["greeting", "instructions", "voice", "language", "tools", "max_call_seconds"]}),
        (
            "Manners on the phone",
            {"fields": ["caller_speaks_first", "protected_greeting_seconds", "silence_seconds"]},
        ),
        ("Speech model and turn detection", {"fields": ["model", "transcription_model", "turn_detection"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AgentVersion]:
        return super().get_queryset(request).filter(published_at__isnull=True)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("businesses.change_agentversion")


@admin.register(Agent)
class AgentAdmin(TenantAdmin):
    business_lookup = "business"
    fields = ["name", "business"]
    ordering = ["business__name", "name"]
    inlines = [DraftInline]
    list_display = ["name", "business", "calls_use", "draft_state", "numbers_count"]
    list_filter = [BusinessFilter]
    list_select_related = ["business"]
    search_fields = ["name"]
    change_form_template = "admin/businesses/agent/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        published = AgentVersion.objects.filter(agent=OuterRef("pk"), published_at__isnull=False).order_by("-number")
        drafts = AgentVersion.objects.filter(agent=OuterRef("pk"), published_at__isnull=True)
        agents: QuerySet[Agent] = super().get_queryset(request)
        return agents.annotate(
            used_version=published.values("number")[:1],
            has_draft=Exists(drafts),
            how_many_numbers=Count("numbers"),
        )

    @admin.display(description="calls use", ordering="used_version")
    def calls_use(self, agent: Any) -> SafeString:
        if agent.used_version is None:
            return badge("not published", "warning")
        return format_html("version {}", agent.used_version)

    @admin.display(description="draft")
    def draft_state(self, agent: Any) -> SafeString | str:
        return badge("draft") if agent.has_draft else ""

    @admin.display(description="numbers", ordering="how_many_numbers")
    def numbers_count(self, agent: Any) -> int:
        count: int = agent.how_many_numbers
        return count

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not once it was published: the calls it took name its versions."""
        if obj is not None and obj.published_version() is not None:
            return False
        return super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # Calls in the log name versions of this agent: another business would see them as its own agent's.
        return ["business"] if obj else []

    def get_formset_kwargs(self, request: HttpRequest, obj: Any, inline: Any, prefix: str) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_formset_kwargs(request, obj, inline, prefix)
        published = obj.published_version() if obj.pk else None
        if published is not None:
            kwargs["initial"] = [published.content()]
        return kwargs

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        agent = kwargs.get("obj")
        if agent is not None:
            published = list(agent.versions.filter(published_at__isnull=False))
            for version in published:
                version.published_here = date_and_time(version.published_at, agent.business.zone)
            context["published_versions"] = published
        context["can_publish"] = request.user.has_perm("businesses.change_agentversion")
        return super().render_change_form(request, context, *args, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if "_publish" in request.POST:
            self._publish_draft(request, form.instance)

    def _publish_draft(self, request: HttpRequest, agent: Agent) -> None:
        if not request.user.has_perm("businesses.change_agentversion"):
            raise PermissionDenied
        draft = agent.draft()
        if draft is None:
            self.message_user(request, "Nothing to publish: there is no draft.", messages.WARNING)
            return
        draft.publish()
        self.log_change(request, agent, f"Published version {draft.number}.")
        self.message_user(request, f"Version {draft.number} is published: new calls use it.", messages.SUCCESS)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        if "_publish" in request.POST:
            return HttpResponseRedirect(reverse("admin:businesses_agent_change", args=[obj.pk]))
        return super().response_change(request, obj)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        if "_publish" in request.POST:
            return HttpResponseRedirect(reverse("admin:businesses_agent_change", args=[obj.pk]))
        return super().response_add(request, obj, post_url_continue)


def sentences_of(version: AgentVersion) -> list[dict[str, Any]]:
    """What a published version says in its own voice, for its page, in the order of a call; of a draft nothing."""
    if not version.is_published:
        return []
    rows = Clip.objects.without_audio().annotate(size=Length("audio")).filter(agent_version=version)
    clips_by_key: dict[str, Any] = {clip.key: clip for clip in rows}
    return [
        {
            "key": key,
            "purpose": sentences.PURPOSES[key],
            "text": text,
            "clip": (clip := clips_by_key.get(key)),
            "seconds": f"{clip.size / 8000:.1f} s" if clip is not None and clip.rendered_at else "",
            "rendered": date_and_time(clip.rendered_at, version.agent.business.zone) if clip is not None else "",
        }
        for key, text in sentences.of_agent(version.greeting, version.language).items()
    ]


@admin.register(AgentVersion)
class AgentVersionAdmin(TenantAdmin):
    """One version, to be read. It has no entry in the index: the way to it is the agent's page, or a call's."""

    business_lookup = "agent__business"
    fields = ["agent", "number", "published", *AgentVersion.CONTENT, "http_tools"]
    readonly_fields = ["published", "http_tools"]
    list_display = ["__str__", "published"]
    list_select_related = ["agent__business"]
    change_form_template = "admin/businesses/agentversion/change_form.html"

    @admin.display(description="published", ordering="published_at")
    def published(self, version: AgentVersion) -> str:
        return date_and_time(version.published_at, version.agent.business.zone) or "not yet: this is a draft"

    @admin.display(description="HTTP tools as published")
    def http_tools(self, version: AgentVersion) -> str:
        tools = [(tool["name"], tool["method"], tool["url"]) for tool in version.frozen_http_tools or []]
        return format_html_join(SafeString("<br>"), "{}: {} {}", tools) or "none"

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        version = kwargs.get("obj")
        if version is not None:
            context.update(title=f"{version.agent}, version {version.number}", subtitle=None)
            context["sentences"] = sentences_of(version)
        context["can_start_draft"] = request.user.has_perm("businesses.add_agentversion")
        context["can_render"] = request.user.has_perm("businesses.change_agentversion")
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view, "businesses_agentversion"
        return [
            path("<path:object_id>/new-draft/", view(self.new_draft), name=f"{name}_new_draft"),
            path("<path:object_id>/render-again/", view(self.render_again), name=f"{name}_render_again"),
            path("<path:object_id>/sentences/<slug:key>.wav", view(self.play), name=f"{name}_play"),
            *super().get_urls(),
        ]

    def play(self, request: HttpRequest, object_id: str, key: str) -> HttpResponse:
        """A sentence of the version as a sound file."""
        version = self.get_object(request, object_id)
        if version is None:
            raise Http404
        if not self.has_view_permission(request, version):
            raise PermissionDenied
        clip = Clip.objects.rendered().filter(agent_version=version, key=key).first()
        if clip is None:
            raise Http404
        file = wav.of_mu_law(bytes(clip.audio))
        part = wav.part_asked_for(request.headers.get("Range", ""), len(file))
        if part is None:
            return HttpResponse(file, content_type="audio/wav", headers={"Accept-Ranges": "bytes"})
        headers = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {part.start}-{part.stop - 1}/{len(file)}"}
        return HttpResponse(file[part], status=206, content_type="audio/wav", headers=headers)

    @method_decorator(require_POST)
    def render_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Have the sentences of a published version rendered once more, in the background."""
        version = self.get_object(request, object_id)
        if version is None or not version.is_published:
            raise Http404
        if not request.user.has_perm("businesses.change_agentversion"):
            raise PermissionDenied
        text, level = self._ask_to_render(request, version)
        self.message_user(request, text, level)
        return HttpResponseRedirect(reverse("admin:businesses_agentversion_change", args=[version.pk]))

    def _ask_to_render(self, request: HttpRequest, version: AgentVersion) -> tuple[str, int]:
        """Return what came of it, in words, and how grave that is."""
        if not settings.RENDER_CLIPS:
            return "Sentences are not rendered on this server: RENDER_CLIPS is off.", messages.WARNING
        clips.want_again(version.pk)
        self.log_change(request, version, "Sentences to be rendered again.")
        if jobs.ask_to_render(version.pk):
            return "The sentences are being rendered. Load this page again in half a minute.", messages.SUCCESS
        return "No worker could be asked just now. Sentences of versions in use follow later.", messages.WARNING

    @method_decorator(require_POST)
    def new_draft(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Start a draft that says what this version says, and show it on the agent's page."""
        version = self.get_object(request, object_id)
        if version is None:
            raise Http404
        if not request.user.has_perm("businesses.add_agentversion"):
            raise PermissionDenied
        with transaction.atomic():
            agent = Agent.objects.select_for_update().get(pk=version.agent_id)
            if agent.draft() is not None:
                text, level = "There is a draft already. Publish it or delete it first.", messages.WARNING
            else:
                draft = agent.start_draft(version)
                self.log_addition(request, draft, f"New draft from version {version.number}.")
                text, level = f"This draft says what version {version.number} says.", messages.SUCCESS
        self.message_user(request, text, level)
        return HttpResponseRedirect(reverse("admin:businesses_agent_change", args=[agent.pk]))

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return {}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Drafts only: a published version may be in use by a call that has no row yet."""
        return (obj is None or not obj.is_published) and super().has_delete_permission(request, obj)


@admin.register(PhoneNumber)
class PhoneNumberAdmin(TenantAdmin):
    business_lookup = "business"
    fields = ["number", "business", "agent", "when_closed", "closed_agent", "is_active"]
    list_display = ["number", "business", "agent", "answered", "is_active"]
    list_filter = [BusinessFilter, AgentFilter]
    list_select_related = ["business", "agent"]
    search_fields = ["number"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PhoneNumber]:
        published = AgentVersion.objects.filter(agent=OuterRef("agent"), published_at__isnull=False)
        numbers: QuerySet[PhoneNumber] = super().get_queryset(request)
        return numbers.annotate(can_answer=Exists(published))

    @admin.display(description="answered")
    def answered(self, number: Any) -> SafeString:
        if not number.is_active:
            return badge("switched off")
        return badge("yes", "good") if number.can_answer else badge("agent not published", "warning")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return agent_field(super().formfield_for_foreignkey, db_field, request, **kwargs)


@admin.register(HttpTool)
class HttpToolAdmin(TenantAdmin):
    business_lookup = "business"
    form = HttpToolForm
    list_display = ["name", "state", "host", "business"]
    list_filter = [BusinessFilter]
    list_select_related = ["business"]
    search_fields = ["name", "url"]

    class Media:
        css = {"all": ["businesses/admin.css"]}

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """What is shown of a secret is in the form; whoever may only look sees nothing of it."""
        fields = ["name", "business", "description", "parameters", "method", "url"]
        if obj is None or self.has_change_permission(request, obj):
            fields += ["secret", "remove_secret"] if obj is not None and obj.encrypted_secret else ["secret"]
        return [*fields, "timeout_seconds", "is_active"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["business"] if obj else []  # its secret is that business's

    @admin.display(description="host")
    def host(self, tool: HttpTool) -> str:
        return urlsplit(tool.url).hostname or ""

    @admin.display(description="usable")
    def state(self, tool: HttpTool) -> SafeString:
        if not tool.is_active:
            return badge("switched off")
        return badge("yes", "good") if is_allowed_host(self.host(tool)) else badge("host not allowed", "warning")

    def save_model(self, request: HttpRequest, obj: HttpTool, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not is_allowed_host(self.host(obj)):
            text = f"Calls cannot use it yet: {self.host(obj)} is not among this server's HTTP_TOOL_HOSTS."
            self.message_user(request, text, messages.WARNING)


def is_allowed_host(host: str) -> bool:
    return allowed_hosts.is_allowed(host, settings.HTTP_TOOL_HOSTS)
