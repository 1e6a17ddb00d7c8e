"""The list of calls when there are millions: what is counted, how far one pages, and how one goes on from there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from calls.models import CallLog

# Counting a million rows takes longer than the whole page, and so does skipping them. Nobody reads 100 pages.
REACHABLE = 5_000


class NearPaginator(Paginator):  # type: ignore[type-arg]
    """Pages over the first REACHABLE rows, and counts no further."""

    @cached_property
    def found(self) -> int:
        """How many rows there are, one more than REACHABLE at most."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by().values("pk")[: REACHABLE + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self.found, REACHABLE)

    def page(self, number: Any) -> Page[Any]:
        """The rows of the page alone are read: skipping others must not count their turns."""
        found = super().page(number)
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        found.object_list = rows.filter(pk__in=list(found.object_list.values_list("pk", flat=True)))  # type: ignore[attr-defined]
        return found

    @property
    def is_cut(self) -> bool:
        return self.found > REACHABLE


class UntilFilter(admin.SimpleListFilter):
    """Calls that started at this moment or before. Offered only by the link below the last page (older_calls)."""

    title = "until"
    parameter_name = "until"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = self.value()
        moment = _moment(value)
        return [] if value is None else [(value, f"{moment:%d %b %Y, %H:%M} UTC" if moment else "no such time")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[CallLog]) -> QuerySet[CallLog]:
        if self.value() is None:
            return queryset
        moment = _moment(self.value())
        return queryset.filter(started_at__lte=moment) if moment else queryset.none()


def older_calls(changes: ChangeList) -> str:
    """The query that goes on where the last page ends; empty on any other, or when it ends with the last call."""
    paginator = changes.paginator
    rows = list(changes.result_list)
    is_last = changes.page_num == paginator.num_pages
    if not (isinstance(paginator, NearPaginator) and paginator.is_cut and is_last and rows and rows[-1].started_at):
        return ""
    # The newest first, whatever the list was sorted by; what started in the same moment is shown once more.
    until = rows[-1].started_at.astimezone(UTC).isoformat()
    return changes.get_query_string({UntilFilter.parameter_name: until}, [PAGE_VAR])


def _moment(value: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None
