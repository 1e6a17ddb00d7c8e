"""What is made of a call when it is over, and what a business has learnt of its callers. Nothing of a live call reads
these, and calls knows nothing of them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from businesses.models import Business
from calls.models import CallLog, CallMessage

MAX_FIELDS = 30
MAX_CHOICES = 30
FIELD_NAME = RegexValidator(
    r"\A[a-z][a-z0-9_]{0,39}\Z", "Lower-case letters, digits and _, beginning with a letter, 40 at most."
)


class AnalysisState(models.TextChoices):
    """How far the analysis of a call is. Only `waiting` goes on by itself."""

    WAITING = "waiting", "Waiting"
    DONE = "done", "Done"
    REFUSED = "refused", "The model declined"
    INCOMPLETE = "incomplete", "The answer was cut off"
    UNREADABLE = "unreadable", "The answers could not be read"
    FAILED = "failed", "Failed"


class Outcome(models.TextChoices):
    RESOLVED = "resolved", "Settled in the call"
    MESSAGE = "message_taken", "Message taken"
    TRANSFERRED = "transferred", "Put through to a person"
    FOLLOW_UP = "follow_up", "Somebody has to follow up"
    NOT_RESOLVED = "not_resolved", "Not settled"
    NOT_A_CALLER = "not_a_caller", "Wrong number, advertising or no conversation"


class Sentiment(models.TextChoices):
    POSITIVE = "positive", "Pleased"
    NEUTRAL = "neutral", "Neutral"
    MIXED = "mixed", "Mixed"
    NEGATIVE = "negative", "Displeased"


class FieldKind(models.TextChoices):
    TEXT = "text", "Text"
    NUMBER = "number", "Number"
    YES_NO = "yes_no", "Yes or no"
    DATE = "date", "Date"
    CHOICE = "choice", "One of a list"


class AfterCallSettings(models.Model):
    """Whether a business's calls are analysed. Without a row they are not."""

    business = models.OneToOneField(Business, on_delete=models.CASCADE, related_name="+")
    is_on = models.BooleanField(
        "analyse calls", default=False, help_text="Transcripts of finished calls are sent to a text model."
    )
    guidance = models.TextField(
        blank=True, max_length=2000, help_text="What the model should know or look for, like: we sell no insurance."
    )
    since = models.DateTimeField(null=True, blank=True, editable=False, help_text="Calls that ended later are taken.")

    class Meta:
        verbose_name = verbose_name_plural = "analysis of calls"

    def __str__(self) -> str:
        return f"analysis of calls of {self.business}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Calls from before it was switched on are left alone: they may be many."""
        self.since = (self.since or timezone.now()) if self.is_on else None
        super().save(*args, **kwargs)


class LeadField(models.Model):
    """Something that a business wants to know of its callers."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="lead_fields")
    name = models.CharField(max_length=40, validators=[FIELD_NAME], help_text="In exports, like insurance_company.")
    label = models.CharField(max_length=80, help_text="On pages, like Insurance company.")
    kind = models.CharField(max_length=10, choices=FieldKind.choices, default=FieldKind.TEXT)
    choices = models.JSONField(
        default=list, blank=True, help_text='Of "One of a list": the list, like ["new", "existing"].'
    )
    description = models.TextField(
        blank=True, max_length=400, help_text="For the model: what is meant, and what does not count."
    )
    position = models.PositiveSmallIntegerField(default=0, help_text="The smallest comes first.")

    class Meta:
        ordering = ["business", "position", "id"]
        constraints = [models.UniqueConstraint(fields=["business", "name"], name="lead_field_once_per_business")]

    def __str__(self) -> str:
        return self.label

    def clean(self) -> None:
        if not isinstance(self.choices, list) or not all(isinstance(c, str) and 0 < len(c) <= 80 for c in self.choices):
            raise ValidationError({"choices": "Write a list of texts of up to 80 letters."})
        if len(set(self.choices)) != len(self.choices) or len(self.choices) > MAX_CHOICES:
            raise ValidationError({"choices": f"{MAX_CHOICES} different texts at most."})
        if (self.kind == FieldKind.CHOICE) != bool(self.choices):
            raise ValidationError({"choices": 'A list belongs to "One of a list", and only there.'})
        others = LeadField.objects.filter(business_id=self.business_id).exclude(pk=self.pk).count()
        if others >= MAX_FIELDS:
            raise ValidationError(f"A business has {MAX_FIELDS} fields at most.")


class CallAnalysis(models.Model):
    """What a text model made of one finished call. It goes with the call, and never changes it."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="+")
    call = models.OneToOneField(CallLog, on_delete=models.CASCADE, related_name="analysis")
    state = models.CharField(max_length=10, choices=AnalysisState.choices, default=AnalysisState.WAITING)
    summary = models.TextField(blank=True)
    outcome = models.CharField(max_length=20, choices=Outcome.choices, blank=True)
    sentiment = models.CharField(max_length=10, choices=Sentiment.choices, blank=True)
    follow_ups = models.JSONField(default=list, blank=True, help_text="What somebody should do, as texts.")
    lead_values = models.JSONField(default=dict, blank=True, help_text="By a field's name; null: not said.")
    claims = models.JSONField(default=list, blank=True, help_text="analysis.claims.Checked, as objects.")
    has_unbacked_claim = models.BooleanField(
        "claim without a deed", default=False, help_text="The agent said it did something that is not in the record."
    )
    model = models.CharField(max_length=80, blank=True)
    usage = models.JSONField("tokens", default=dict, blank=True, help_text="Of all tries together.")
    cost = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True, help_text="USD, of all tries.")
    error = models.CharField(max_length=40, blank=True, help_text="Why the last try failed, a short code.")
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    analysed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "analysis"
        verbose_name_plural = "analyses"
        ordering = ["-call__started_at", "-id"]
        indexes = [
            models.Index(
                fields=["next_try_at"], name="analysis_to_do", condition=models.Q(state=AnalysisState.WAITING)
            ),
            models.Index(fields=["business", "-id"], name="analysis_by_business"),
        ]

    def __str__(self) -> str:
        return f"analysis of call {self.call}"


class TranscriptionState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class Transcription(models.Model):
    """The job of writing down one message that was spoken after the tone. The words are the message's own."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="+")
    message = models.OneToOneField(CallMessage, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=10, choices=TranscriptionState.choices, default=TranscriptionState.WAITING)
    model = models.CharField(max_length=80, blank=True)
    usage = models.JSONField("usage", default=dict, blank=True, help_text="Tokens and seconds, of all tries together.")
    cost = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True, help_text="USD, of all tries.")
    error = models.CharField(max_length=40, blank=True, help_text="Why the last try failed, a short code.")
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["next_try_at"],
                name="transcription_to_do",
                condition=models.Q(state=TranscriptionState.WAITING),
            ),
            models.Index(fields=["business", "-id"], name="transcription_by_business"),
        ]

    def __str__(self) -> str:
        return f"transcription of message {self.message_id}"


class Lead(models.Model):
    """What is known of one caller of a business, over all calls from that number."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="+")
    number = models.CharField(max_length=16)
    values = models.JSONField(default=dict, blank=True, help_text="analysis.leads.Known, by a field's name.")
    last_call = models.ForeignKey(CallLog, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    last_call_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-last_call_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["business", "number"], name="lead_once_per_number")]
        indexes = [models.Index(fields=["business", "-last_call_at"], name="lead_by_business_and_time")]

    def __str__(self) -> str:
        return self.number
