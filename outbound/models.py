"""Calls that we place: one row for each attempt, there before the carrier is asked."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.db import models

from businesses.models import Agent, Business
from businesses.validation import E164

MESSAGE_CHARACTERS = 600  # a TwiML document given with an update has 4000 at most, and accents are written longer


class OutboundState(models.TextChoices):
    """How far an attempt is (outbound.states says which of two counts). From `queued` on in the carrier's words."""

    WAITING = "waiting", "Waiting for its turn"
    SUBMITTING = "submitting", "Being handed to the carrier"
    UNKNOWN = "unknown", "Unknown whether the carrier took it"
    REFUSED = "refused", "Refused"
    QUEUED = "queued", "Queued at the carrier"
    RINGING = "ringing", "Ringing"
    IN_PROGRESS = "in-progress", "In progress"
    COMPLETED = "completed", "Completed"
    BUSY = "busy", "Busy"
    NO_ANSWER = "no-answer", "No answer"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"


OCCUPY_A_LINE = frozenset(
    {
        OutboundState.SUBMITTING,
        OutboundState.UNKNOWN,
        OutboundState.QUEUED,
        OutboundState.RINGING,
        OutboundState.IN_PROGRESS,
    }
)


def new_token() -> str:
    return secrets.token_hex(16)


class OutboundCall(models.Model):
    """One attempt to reach somebody. What is said in it is the CallLog's, which has the same CallSid."""

    business = models.ForeignKey(Business, on_delete=models.PROTECT, related_name="outbound_calls")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="outbound_calls")
    to_number = models.CharField("to", max_length=40, help_text="In E.164 form, unless it was refused as no number.")
    from_number = models.CharField("from", max_length=16, validators=[E164])
    key = models.CharField(max_length=100, help_text="Of whoever asks: asking again with it places no second call.")
    attempt = models.PositiveSmallIntegerField(default=1)
    # Stands in the addresses that the carrier is given, and so tells which attempt a call of the carrier's is.
    token = models.CharField(max_length=32, unique=True, default=new_token, editable=False)
    state = models.CharField(max_length=12, choices=OutboundState.choices, default=OutboundState.WAITING)
    reason = models.CharField(max_length=40, blank=True, help_text="A short code: why it was refused, failed or waits.")
    call_sid = models.CharField("CallSid", max_length=64, unique=True, null=True, blank=True)
    answered_by = models.CharField(max_length=20, blank=True, help_text="What machine detection says.")
    message = models.TextField(
        blank=True,
        max_length=MESSAGE_CHARACTERS,
        help_text="Said to an answering machine after its tone. Empty: hang up on machines.",
    )
    message_left_at = models.DateTimeField(null=True, blank=True)
    tries_again = models.BooleanField("try again when busy or not answered", default=True)
    due_at = models.DateTimeField()
    submissions = models.PositiveSmallIntegerField(default=0)
    submitted_at = models.DateTimeField(null=True, blank=True, help_text="When the carrier was asked last.")
    answered_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When its answer was heard, or no longer waited for: the next call is paced by it.",
    )
    ended_at = models.DateTimeField(null=True, blank=True)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    asked_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "outbound call"
        ordering = ["-asked_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["business", "key", "attempt"], name="outbound_attempt_once_per_key")
        ]
        indexes = [
            models.Index(
                fields=["due_at", "id"], name="outbound_to_submit", condition=models.Q(state=OutboundState.WAITING)
            ),
            models.Index(
                fields=["business", "state"],
                name="outbound_on_a_line",
                condition=models.Q(state__in=sorted(OCCUPY_A_LINE)),
            ),
            models.Index(fields=["business", "-asked_at"], name="outbound_by_business_and_time"),
            models.Index(fields=["-submitted_at"], name="outbound_by_submission"),
        ]

    def __str__(self) -> str:
        return f"call to …{self.to_number[-4:]}"
