"""Which rows a staff user may see in admin: those of the businesses the user is a member of, and no others.

`TenantAdmin` says how a model's rows belong to a business and holds every query, choice and filter to it. Whatever is
registered without it is for superusers only (voiceagent.admin_site), so that forgetting it shows too little, not too
much. What a user may do with visible rows is decided by Django's permissions, as anywhere in admin: a new install has
the group "Operators" for that (calls, migration 0002).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from businesses.models import Agent, Business

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    AnyModelAdmin = admin.ModelAdmin


class _RelatedField(Protocol):
    @property
    def related_model(self) -> type[Model]: ...


class TenantAdmin(AnyModelAdmin):
    """Admin of a model whose rows belong to a business, found by `business_lookup`: `business`, `agent__business`."""

    business_lookup: str
    # Nobody deletes by the dozen here, and a list without checkboxes is easier to read on a phone.
    actions = None
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        if request.user.is_superuser:
            return rows
        # The ids, not a subquery: with one business the database walks its index in time order.
        mine = list(Business.objects.visible_to(request.user).values_list("pk", flat=True))
        return rows.filter(**{f"{self.business_lookup}__in": mine})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Choose the business of a new row for whoever has only one."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        if self.business_lookup == "business" and "business" not in initial:
            mine = list(Business.objects.visible_to(request.user).values_list("pk", flat=True)[:2])
            if len(mine) == 1:
                initial["business"] = mine[0]
        return initial

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = choices_of(db_field, self.admin_site, request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = choices_of(db_field, self.admin_site, request)
        return super().formfield_for_manytomany(db_field, request, **kwargs)


def choices_of(db_field: _RelatedField, site: admin.AdminSite, request: HttpRequest) -> QuerySet[Any]:
    """Return the rows that a user may choose for a relation: those which the related model's own admin lists."""
    related = db_field.related_model
    try:
        related_admin = site.get_model_admin(related)
    except NotRegistered:
        related_admin = None
    if request.user.is_superuser or isinstance(related_admin, TenantAdmin):
        return related_admin.get_queryset(request) if related_admin else related._default_manager.all()
    return related._default_manager.none()


class ChoiceFilter(admin.SimpleListFilter):
    """A filter over rows of another model, of which only the visible ones are offered and accepted."""

    lookup: str

    def choices_for(self, request: HttpRequest) -> list[tuple[str, str]]:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return self.choices_for(request)

    def has_output(self) -> bool:
        return len(self.lookup_choices) > 1  # of one there is nothing to choose

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        if self.value() not in [value for value, _ in self.lookup_choices]:
            return queryset.none()
        return queryset.filter(**{self.lookup: self.value()})


class BusinessFilter(ChoiceFilter):
    title = "business"
    parameter_name = "business"
    lookup = "business"

    def choices_for(self, request: HttpRequest) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Business.objects.visible_to(request.user).values_list("pk", "name")]


class AgentFilter(ChoiceFilter):
    """Agents of the visible businesses. The name of the business is added where a user sees several."""

    title = "agent"
    parameter_name = "agent"
    lookup = "agent"

    def choices_for(self, request: HttpRequest) -> list[tuple[str, str]]:
        agents = list(
            Agent.objects.filter(business__in=Business.objects.visible_to(request.user))
            .order_by("business__name", "name")
            .values_list("pk", "name", "business__name")
        )
        several = len({business for _, _, business in agents}) > 1
        return [(str(pk), f"{name}, {business}" if several else name) for pk, name, business in agents]
