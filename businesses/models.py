"""Whom calls are answered for: businesses, who may see them, their agents and their numbers."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from businesses.snapshots import AgentSnapshot
from businesses.validation import (
    E164,
    LANGUAGE_TAG,
    validate_time_zone,
    validate_tools,
    validate_turn_detection,
)


def default_turn_detection() -> dict[str, Any]:
    """Server VAD with every value spelled out: the documented defaults disagree (protocols, openai-realtime B2)."""
    return {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "create_response": True,
        "interrupt_response": True,
    }


def default_tools() -> list[str]:
    return ["end_call"]


class WhenBusy(models.TextChoices):
    """What becomes of a caller for whom there is no room: all lines of the business, or of this server, are busy."""

    FORWARD = "forward", "Forward to the forwarding number"
    HOLD = "hold", "Ask to hold, then forward"
    TELL = "tell", "Say so and hang up"


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
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = BusinessQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "businesses"

    def __str__(self) -> str:
        return self.name

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


class Agent(models.Model):
    """Who answers. What it says and how stands in its versions; calls use the newest published one."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="agents")
    name = models.CharField(max_length=80)

    class Meta:
        ordering = ["business", "name"]
        constraints = [models.UniqueConstraint(fields=["business", "name"], name="agent_name_once_per_business")]

    def __str__(self) -> str:
        return self.name

    def published_version(self) -> AgentVersion | None:
        return self.versions.filter(published_at__isnull=False).order_by("-number").first()

    def draft(self) -> AgentVersion | None:
        return self.versions.filter(published_at__isnull=True).first()

    def next_version_number(self) -> int:
        newest = self.versions.order_by("-number").first()
        return newest.number + 1 if newest else 1

    def start_draft(self, like: AgentVersion) -> AgentVersion:
        """Save a new draft with what `like` says. Raise IntegrityError when there is a draft already."""
        content = {name: getattr(like, name) for name in AgentVersion.CONTENT}
        return self.versions.create(number=self.next_version_number(), **content)


class AgentVersion(models.Model):
    """One state of an agent. A draft may be edited; once published it never changes, so that a call can name it."""

    # What is edited, and copied into a new draft.
    CONTENT = (
        "greeting",
        "instructions",
        "voice",
        "language",
        "tools",
        "max_call_seconds",
        "model",
        "transcription_model",
        "turn_detection",
    )

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(help_text="Counts up from 1 for each agent.")
    instructions = models.TextField(help_text="What the agent is told about its task and manners.")
    greeting = models.TextField(help_text="The first sentence the caller hears.")
    voice = models.CharField(
        max_length=40,
        default="marin",
        help_text="A voice of the speech model, like marin, cedar, alloy, ash, coral, sage or verse.",
    )
    language = models.CharField(
        max_length=16,
        default="en",
        validators=[LANGUAGE_TAG],
        help_text="What callers speak: a language tag, like en or de-CH.",
    )
    model = models.CharField(
        "speech model", max_length=80, blank=True, help_text="Leave empty for the server's setting."
    )
    transcription_model = models.CharField(
        max_length=80, blank=True, help_text="Writes down what the caller said. Leave empty for the server's setting."
    )
    turn_detection = models.JSONField(
        default=default_turn_detection,
        validators=[validate_turn_detection],
        help_text="How the model notices that the caller has finished: type server_vad (silence) or semantic_vad.",
    )
    max_call_seconds = models.PositiveIntegerField(
        "longest call",
        default=1800,
        validators=[MinValueValidator(30), MaxValueValidator(3300)],
        help_text="In seconds, 30 to 3300.",
    )
    tools = models.JSONField(
        default=default_tools,
        blank=True,
        validators=[validate_tools],
        help_text="What the agent may do in a call, besides talking.",
    )
    published_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["agent", "-number"]
        verbose_name = "agent version"
        constraints = [
            models.UniqueConstraint(fields=["agent", "number"], name="version_number_once_per_agent"),
            models.UniqueConstraint(
                fields=["agent"], condition=models.Q(published_at__isnull=True), name="one_draft_per_agent"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent} v{self.number}"

    @property
    def is_published(self) -> bool:
        return self.published_at is not None

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raise ValidationError when the stored row is published already: a call in the log points at it."""
        if self.pk and AgentVersion.objects.filter(pk=self.pk, published_at__isnull=False).exists():
            raise ValidationError("A published version never changes. Make a new version instead.")
        super().save(*args, **kwargs)

    def publish(self) -> None:
        """Freeze this draft; from now on new calls of the agent use it."""
        self.published_at = timezone.now()
        self.save()

    def snapshot(self) -> AgentSnapshot:
        return AgentSnapshot(
            version_id=self.pk,
            business_id=self.agent.business_id,
            business_name=self.agent.business.name,
            agent_name=self.agent.name,
            instructions=self.instructions,
            greeting=self.greeting,
            voice=self.voice,
            language=self.language,
            model=self.model,
            transcription_model=self.transcription_model,
            turn_detection=self.turn_detection,
            max_call_seconds=self.max_call_seconds,
            tools=tuple(self.tools),
        )


class PhoneNumber(models.Model):
    """A number callers dial: it decides for which business and by which agent they are answered."""

    number = models.CharField(max_length=16, unique=True, validators=[E164])
    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="numbers")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="numbers")
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return self.number

    def clean(self) -> None:
        if self.agent_id and self.business_id and self.agent.business_id != self.business_id:
            raise ValidationError({"agent": "This agent belongs to another business."})
