"""Puts our own admin site in the place of Django's. Apart from voiceagent.apps, which may hold one app only."""

from django.contrib.admin import apps


class AdminConfig(apps.AdminConfig):
    default_site = "voiceagent.admin_site.AdminSite"
