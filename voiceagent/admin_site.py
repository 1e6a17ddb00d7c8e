"""The admin site: who sees what by default, what its first page shows first, and the simulated model's banner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest

from businesses.tenancy import TenantAdmin

# What an operator opens, in this order; everything else follows.
_FIRST_APPS = ["calls", "businesses", "console"]
_FIRST_MODELS = ["CallLog", "CallMessage", "PhoneNumber", "Agent", "Business"]


class SuperusersOnly:
    """A model admin's permissions for rows that belong to no business: jobs, users, groups."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser and super().has_module_permission(request)  # type: ignore[misc]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser and super().has_view_permission(request, obj)  # type: ignore[misc]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser and super().has_add_permission(request)  # type: ignore[misc]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser and super().has_change_permission(request, obj)  # type: ignore[misc]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser and super().has_delete_permission(request, obj)  # type: ignore[misc]


class AdminSite(admin.AdminSite):
    site_header = "voiceagent"
    site_title = "voiceagent"
    index_title = "Calls, numbers and agents"
    site_url = None  # there are no pages but these

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register like Django, and keep staff out of every model that does not say whose its rows are."""
        admin_class = admin_class or admin.ModelAdmin
        if not issubclass(admin_class, TenantAdmin):
            admin_class = type(admin_class.__name__, (SuperusersOnly, admin_class), {"__module__": __name__})
        super().register(model_or_iterable, admin_class, **options)

    def each_context(self, request: Any) -> dict[str, Any]:
        return {
            **super().each_context(request),
            "model_is_simulated": getattr(settings, "MODEL_IS_SIMULATED", False),
        }

    def get_app_list(self, request: Any, app_label: str | None = None) -> list[Any]:
        apps: list[Any] = super().get_app_list(request, app_label)
        for app in apps:
            app["models"].sort(key=lambda model: _place(model["object_name"], _FIRST_MODELS))
        return sorted(apps, key=lambda app: _place(app["app_label"], _FIRST_APPS))


def _place(name: str, first: Iterable[str]) -> int:
    """The rank of `name` among those that come first; the rest share the last one and keep their order."""
    names = list(first)
    return names.index(name) if name in names else len(names)
