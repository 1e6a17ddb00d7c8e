"""No table: a name and a permission for the page, so that it stands on admin's first page and in its menus."""

from __future__ import annotations

from django.db import models


class Jobs(models.Model):
    class Meta:
        managed = False
        default_permissions = ("view",)
        verbose_name = verbose_name_plural = "jobs"
