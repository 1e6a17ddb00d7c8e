"""Whom a business may call, put callers through to, and never calls again."""

from __future__ import annotations

from datetime import time

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from businesses.models.business import Business
from businesses.validation import (
    E164,
)


class TransferKind(models.TextChoices):
    COLD = "cold", "Put through at once"
    WARM = "warm", "Ask the colleague first"


class TransferTarget(models.Model):
    """A person or department that agents may put callers through to: the model picks a name, never a number."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="transfer_targets")
    name = models.CharField(max_length=60, help_text="By which the agent knows it, like Sales or Dr. Huber.")
    description = models.CharField(max_length=200, blank=True, help_text="Tells the agent what it is for.")
    number = models.CharField(max_length=16, validators=[E164])
    kind = models.CharField(max_length=4, choices=TransferKind.choices, default=TransferKind.COLD)
    ring_seconds = models.PositiveSmallIntegerField(
        "ring for",
        default=20,
        validators=[MinValueValidator(5), MaxValueValidator(120)],
        help_text="In seconds, 5 to 120; then the caller is back with the agent.",
    )
    is_active = models.BooleanField("active", default=True)

    class Meta:
        ordering = ["business", "name"]
        constraints = [models.UniqueConstraint(fields=["business", "name"], name="target_name_once_per_business")]

    def __str__(self) -> str:
        return self.name


class DialPolicy(models.Model):
    """Where and when a business may call, for outbound calls and transfers alike. Without a row the defaults hold."""

    business = models.OneToOneField(Business, on_delete=models.CASCADE, related_name="dial_policy")
    home_country = models.CharField(max_length=2, default="US", help_text="Two letters, like US or DE.")
    allowed_countries = models.JSONField(
        default=list, blank=True, help_text='Besides the home country, like ["AT", "CH"].'
    )
    max_per_hour = models.PositiveIntegerField("calls an hour", default=60)
    max_per_day = models.PositiveIntegerField("calls a day", default=300)
    max_at_once = models.PositiveIntegerField("outbound calls at once", default=5)
    max_attempts = models.PositiveSmallIntegerField("attempts", default=3, help_text="For one number in 24 hours.")
    max_call_seconds = models.PositiveIntegerField("longest call", default=1800, help_text="In seconds.")
    calls_from = models.TimeField(default=time(8), help_text="In the zone of the person who is called.")
    calls_until = models.TimeField(default=time(21))

    class Meta:
        verbose_name_plural = "dial policies"

    def __str__(self) -> str:
        return f"dial policy of {self.business}"


class DoNotCallSource(models.TextChoices):
    ADMIN = "admin", "Entered by hand"
    IMPORT = "import", "Imported"
    CALLEE = "callee", "Said so in a call"


class DoNotCall(models.Model):
    """A number that this business never calls again."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="do_not_call")
    number = models.CharField(max_length=16, validators=[E164])
    source = models.CharField(max_length=10, choices=DoNotCallSource.choices, default=DoNotCallSource.ADMIN)
    call_sid = models.CharField("CallSid", max_length=64, blank=True, editable=False)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "do-not-call number"
        constraints = [models.UniqueConstraint(fields=["business", "number"], name="do_not_call_once_per_business")]

    def __str__(self) -> str:
        return self.number
