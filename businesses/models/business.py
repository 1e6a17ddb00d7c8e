"""A business: how its callers are met, and which staff may see it."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

from businesses.validation import (
    E164,
    LANGUAGE_TAG,
    validate_time_zone,
)


class WhenBusy(models.TextChoices):
    """What becomes of a caller for whom there is no room: all lines of the business, or of this server, are busy."""

    FORWARD = "forward", "Forward to the forwarding number"
    HOLD = "hold", "Ask to hold, then forward"
    TELL = "tell", "Say so and hang up"


class WhenClosed(models.TextChoices):
    """What becomes of a caller outside the opening hours."""

    AGENT = "agent", "The agent answers, or another one if it is named"
    MESSAGE = "message", "Record a message"
    FORWARD = "forward", "Forward to the forwarding number"


class RecordingMode(models.TextChoices):
    """Whether calls are recorded, and how a caller learns of it."""

    OFF = "off", "No recording"
    ANNOUNCE = "announce", "Record, and say so before"
    ASK = "ask", "Ask first, and record only after a yes"


class BusinessQuerySet(models.QuerySet["Business"]):
    def visible_to(self, user: Any) -> BusinessQuerySet:
        """The businesses a staff user may see: all for a superuser, else those of the user's memberships."""
        if user.is_superuser:
            return self
        return self.filter(memberships__user=user)


class Business(models.Model):
    name = models.CharField(max_length=120)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    language = models.CharField(
        max_length=16, default="en", validators=[LANGUAGE_TAG], help_text="A language tag, like en or de-CH."
    )
    forwarding_number = models.CharField(
        max_length=16, blank=True, validators=[E164], help_text="Where a call goes when the agent cannot take it."
    )
    max_calls = models.PositiveIntegerField(
        "calls at once",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="How many calls the agents take at the same time. Empty: as many as the server can.",
    )
    # db_default: a web process of the release before goes on adding rows until it is restarted.
    when_busy = models.CharField(
        "when all lines are busy",
        max_length=10,
        choices=WhenBusy.choices,
        default=WhenBusy.FORWARD,
        db_default=WhenBusy.FORWARD,
        help_text="What further callers get. On hold is a minute. Without a forwarding number: Say so and hang up.",
    )
    when_closed = models.CharField(
        "outside the opening hours",
        max_length=10,
        choices=WhenClosed.choices,
        default=WhenClosed.AGENT,
        db_default=WhenClosed.AGENT,
        help_text="What callers get then. Without any opening hours it is always open.",
    )
    closed_agent = models.ForeignKey(
        "Agent",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="agent when closed",
        help_text="Answers outside the opening hours, in place of the number's own agent.",
    )
    recording = models.CharField(
        "recording of calls",
        max_length=10,
        choices=RecordingMode.choices,
        default=RecordingMode.OFF,
        db_default=RecordingMode.OFF,
        help_text="What the law asks for depends on where callers are: ask somebody who knows.",
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = BusinessQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "businesses"

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.closed_agent is not None and self.closed_agent.business_id != self.pk:
            raise ValidationError({"closed_agent": "This agent belongs to another business."})

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The zone its people read times in; UTC when the server's zone data no longer knows the name."""
        try:
            return zoneinfo.ZoneInfo(self.time_zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            return zoneinfo.ZoneInfo("UTC")


class Membership(models.Model):
    """Lets one staff user see one business in admin."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="memberships")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "business"], name="one_membership_per_user_and_business")
        ]

    def __str__(self) -> str:
        return f"{self.user} at {self.business}"
