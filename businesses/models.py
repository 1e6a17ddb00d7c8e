"""Whom calls are answered for: businesses, who may see them, their agents and their numbers."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from businesses.snapshots import AgentSnapshot

E164 = RegexValidator(
    r"^\+[1-9]\d{6,14}$", "Write the number in E.164 form: a plus sign, country code and number, like +15550100100."
)


def validate_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"“{name}” is not a time zone. Use a name like Europe/Berlin or America/New_York.")


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


class BusinessQuerySet(models.QuerySet["Business"]):
    def visible_to(self, user: Any) -> BusinessQuerySet:
        """The businesses a staff user may see: all for a superuser, else those of the user's memberships."""
        if user.is_superuser:
            return self
        return self.filter(memberships__user=user)


class Business(models.Model):
    name = models.CharField(max_length=120)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    language = models.CharField(max_length=16, default="en", help_text="BCP 47 tag, like en or de-CH.")
    forwarding_number = models.CharField(
        max_length=16, blank=True, validators=[E164], help_text="Where a call goes when the agent cannot take it."
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = BusinessQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "businesses"

    def __str__(self) -> str:
        return self.name


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


class AgentVersion(models.Model):
    """One state of an agent. A draft may be edited; once published it never changes, so that a call can name it."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(help_text="Counts up from 1 for each agent.")
    instructions = models.TextField(help_text="What the agent is told about its task and manners.")
    greeting = models.TextField(help_text="The first sentence the caller hears.")
    voice = models.CharField(max_length=40, default="marin")
    language = models.CharField(max_length=16, default="en", help_text="BCP 47 tag, like en or de-CH.")
    model = models.CharField(max_length=80, blank=True, help_text="Speech model; empty for the server's setting.")
    transcription_model = models.CharField(max_length=80, blank=True, help_text="Empty for the server's setting.")
    turn_detection = models.JSONField(default=default_turn_detection)
    max_call_seconds = models.PositiveIntegerField(
        default=1800, validators=[MinValueValidator(30), MaxValueValidator(3300)], help_text="30 to 3300 seconds."
    )
    tools = models.JSONField(default=default_tools, blank=True, help_text="Names of what the agent may do in a call.")
    published_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["agent", "-number"]
        constraints = [models.UniqueConstraint(fields=["agent", "number"], name="version_number_once_per_agent")]

    def __str__(self) -> str:
        return f"{self.agent} v{self.number}"

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
