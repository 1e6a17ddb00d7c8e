"""The page "Jobs". For superusers only, as all pages of rows that belong to no business (voiceagent.admin_site)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from businesses.admin import badge
from businesses.tenancy import AnyModelAdmin
from console import collect, text, verdicts
from console.models import Jobs
from console.verdicts import Level, LookAt

_PAGES = {
    LookAt.DEAD_LETTERS: ("admin:calls_deadletter_changelist", "?replayed=no"),
    LookAt.FAILED_JOBS: ("admin:django_celery_results_taskresult_changelist", "?status__exact=FAILURE"),
    LookAt.WEB_PROCESSES: ("admin:calls_webprocess_changelist", ""),
}
_WORDS = {Level.GOOD: "all is well", Level.WARNING: "needs a look", Level.BAD: "something is wrong"}


@admin.register(Jobs)
class JobsAdmin(AnyModelAdmin):
    """One page and no rows."""

    def get_urls(self) -> list[URLPattern]:
        return [path("", self.admin_site.admin_view(self.changelist_view), name="console_jobs_changelist")]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        figures = collect.collect()
        advice = verdicts.judge(figures, collect.limits())
        level = verdicts.overall(advice)
        context = {
            **self.admin_site.each_context(request),
            "title": "Jobs",
            "subtitle": "",
            "opts": self.opts,
            "at": figures.at,
            "state": badge(_WORDS[level], level.value),
            "advice": [_shown(item) for item in advice],
            "server": text.server_cells(figures),
            "queues": [(queue.name, text.queue_cells(queue)) for queue in figures.queues],
            "processes": text.process_cells(figures),
        }
        return TemplateResponse(request, "admin/console/jobs.html", context)


def _shown(item: verdicts.Advice) -> dict[str, Any]:
    name, query = _PAGES.get(item.look_at, ("", ""))
    return {
        "badge": badge(item.about, item.level.value),
        "text": item.text,
        "command": item.command,
        "url": reverse(name) + query if name else "",
        "page": item.look_at.value,
    }
