"""A phone call and its turns."""

from __future__ import annotations

from typing import Any

from django.db import models

from businesses.models import AgentVersion, Business


class CallStatus(models.TextChoices):
    """Twilio's words (https://www.twilio.com/docs/voice/api/call-resource). The last five are terminal."""

    QUEUED = "queued"
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL_STATUSES = frozenset(
    {CallStatus.COMPLETED, CallStatus.BUSY, CallStatus.NO_ANSWER, CallStatus.FAILED, CallStatus.CANCELED}
)
LIVE_STATUSES = frozenset(CallStatus) - TERMINAL_STATUSES


class EndedReason(models.TextChoices):
    """Who ended the call and why: our own closed list."""

    CALLER_HUNG_UP = "caller_hung_up", "Caller hung up"
    AGENT_ENDED = "agent_ended", "Agent ended the call"
    MAX_DURATION = "max_duration", "Longest allowed call reached"
    MODEL_FAILED = "model_failed", "Speech model failed"
    STREAM_LOST = "stream_lost", "Audio stream was lost"
    NEVER_CONNECTED = "never_connected", "Audio stream never opened"
    SERVER_STOPPED = "server_stopped", "This server was stopped"
    TURNED_AWAY = "turned_away", "Turned away: all lines busy"
    CALLER_SILENT = "caller_silent", "Caller said nothing any more"
    MODEL_REFUSED = "model_refused", "Speech model refused us (key, quota or model name)"
    MODEL_SILENT = "model_silent", "Speech model did not answer"
    TRANSFERRED = "transferred", "Put through to a person"
    CLOSED = "closed", "Outside the opening hours"
    LEFT_MESSAGE = "left_message", "Message left on a machine"
    MACHINE = "machine", "A machine answered"


class EndSource(models.TextChoices):
    """Who said that a call is over, where it was not the call itself or the carrier's callback."""

    CARRIER = "carrier", "Carrier, asked by the reaper"
    GUESS = "guess", "Reaper's guess"
    RECONCILED = "reconciled", "Carrier's list of calls"


class RecordingConsent(models.TextChoices):
    """How a caller knows of being recorded, or what the caller said to it. Only `asked` makes way for another."""

    ASKED = "asked"
    ANNOUNCED = "announced"
    GRANTED = "granted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    UNCLEAR = "unclear"
    VOICEMAIL = "voicemail"


class Direction(models.TextChoices):
    INBOUND = "inbound"
    OUTBOUND = "outbound"


class CallLogQuerySet(models.QuerySet["CallLog"]):
    def visible_to(self, user: Any) -> CallLogQuerySet:
        """Calls of the businesses that a staff user may see."""
        return self.filter(business__in=Business.objects.visible_to(user))

    def live(self) -> CallLogQuerySet:
        return self.filter(status__in=sorted(LIVE_STATUSES))


class CallLog(models.Model):
    """One phone call. `status` only moves forward; `ended_reason` says why it ended."""

    call_sid = models.CharField("CallSid", max_length=64, unique=True)
    account_sid = models.CharField("AccountSid", max_length=64, blank=True)
    stream_sid = models.CharField("StreamSid", max_length=64, blank=True)
    business = models.ForeignKey(Business, on_delete=models.PROTECT, related_name="calls")
    agent_version = models.ForeignKey(
        AgentVersion, on_delete=models.PROTECT, related_name="calls", null=True, blank=True
    )
    # Not always numbers: Twilio also sends "anonymous", "sip:..." and "client:..." (protocols, twilio A1).
    from_number = models.CharField("from", max_length=255, blank=True)
    to_number = models.CharField("to", max_length=255, blank=True)
    direction = models.CharField(max_length=10, choices=Direction.choices, default=Direction.INBOUND)
    status = models.CharField(max_length=12, choices=CallStatus.choices, default=CallStatus.QUEUED)
    ended_reason = models.CharField("how it ended", max_length=20, choices=EndedReason.choices, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    duration_seconds = models.PositiveIntegerField("duration", null=True, blank=True)
    carrier_duration_seconds = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="As the carrier counted it; then duration_seconds is this."
    )
    transcript = models.TextField(blank=True)
    recording_url = models.URLField(max_length=500, blank=True)
    model_session_id = models.CharField(max_length=80, blank=True)
    interruptions = models.PositiveIntegerField(default=0)
    # Written out of `streams` when the last of them has ended.
    expected_turns = models.PositiveIntegerField(null=True, blank=True, help_text="Turns the finished call had.")
    # What each media stream said of itself when it ended (services.finalize_call_log), by its number: a call that lost
    # its stream goes on in another one. A stream that is not in here goes on, or died with its process.
    streams = models.JSONField(default=dict, db_default={}, editable=False)
    last_stream = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    # Added up over `streams` whenever one of these changes, each as far as it was told.
    counters = models.JSONField(default=dict, db_default={}, editable=False)
    usage = models.JSONField("tokens", default=dict, db_default={}, editable=False)
    cost = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        editable=False,
        help_text="Of the speech model, in USD, by settings.SPEECH_PRICES. Empty: not known.",
    )
    answered_by = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        help_text="Of an outbound call: what machine detection says.",
    )
    # Counts more than what a stream says of its end: it was cut off for this, and knows nothing of it.
    taken_away = models.CharField(
        max_length=20, choices=EndedReason.choices, blank=True, default="", db_default="", editable=False
    )
    recording_consent = models.CharField(
        max_length=10,
        blank=True,
        default="",
        db_default="",
        help_text="A RecordingConsent.",
    )
    is_complete = models.BooleanField(default=False, help_text="Ended, and every turn is here.")
    # The web process that carries the call: the latest one that opened a stream for it.
    # db_default: a worker of the release before goes on adding rows until it is restarted.
    owner_boot_id = models.CharField(max_length=32, blank=True, default="", db_default="", editable=False)
    owner_since = models.DateTimeField(null=True, blank=True, editable=False)
    end_source = models.CharField(
        "end known from", max_length=10, choices=EndSource.choices, blank=True, default="", db_default=""
    )
    # While set, how the call ended and its transcript are the reaper's: the call's own end has not been heard of.
    reaped_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = CallLogQuerySet.as_manager()

    class Meta:
        verbose_name = "call"
        ordering = ["-started_at", "-id"]
        indexes = [
            models.Index(fields=["business", "-started_at"], name="call_by_business_and_time"),
            # What the list is filtered by, in its order: without these, what is rare is looked for in all calls.
            models.Index(fields=["business", "status", "-started_at"], name="call_by_business_and_status"),
            models.Index(fields=["business", "ended_reason", "-started_at"], name="call_by_business_and_ending"),
            models.Index(fields=["business", "direction", "-started_at"], name="call_by_business_and_way"),
            models.Index(fields=["status", "-started_at"], name="call_by_status"),
            models.Index(fields=["ended_reason", "-started_at"], name="call_by_ending"),
            models.Index(fields=["direction", "-started_at"], name="call_by_way"),
            models.Index(fields=["-started_at", "-id"], name="call_by_time"),
            # PostgreSQL finds the beginning of a number by this operator class only; others ignore it.
            models.Index(fields=["from_number"], name="call_by_from_number", opclasses=["varchar_pattern_ops"]),
            models.Index(fields=["to_number"], name="call_by_to_number", opclasses=["varchar_pattern_ops"]),
            # What the reaper looks for every few seconds: nearly no call is in these.
            models.Index(
                fields=["created_at"], name="call_not_ended", condition=models.Q(status__in=sorted(LIVE_STATUSES))
            ),
            models.Index(
                fields=["ended_at"],
                name="call_without_ending",
                condition=models.Q(ended_reason="", expected_turns__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"…{self.call_sid[-6:]}"


class ConversationTurn(models.Model):
    """One exchange: what the caller said and what the agent answered. Index 0 is the greeting (no caller text)."""

    call = models.ForeignKey(CallLog, on_delete=models.CASCADE, related_name="turns")
    turn_index = models.PositiveIntegerField()
    revision = models.PositiveIntegerField(default=0, help_text="A higher revision replaces a lower one.")
    user_text = models.TextField("caller said", blank=True)
    bot_reply = models.TextField("agent answered", blank=True, help_text="What the model generated.")
    heard_text = models.TextField("caller heard", blank=True, help_text="The part of the answer that was played.")
    generated_ms = models.PositiveIntegerField(default=0, help_text="Length of the generated answer in milliseconds.")
    heard_ms = models.PositiveIntegerField(default=0, help_text="How much of it the caller heard, in milliseconds.")
    reply_ms = models.PositiveIntegerField(
        null=True, blank=True, help_text="From the end of the caller's speech to the first audio sent, in milliseconds."
    )
    reply_heard_ms = models.PositiveIntegerField(
        null=True, blank=True, help_text="The same to the first audio heard, as far as the carrier told."
    )
    interrupted = models.BooleanField(default=False)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["call", "turn_index"]
        constraints = [models.UniqueConstraint(fields=["call", "turn_index"], name="turn_index_once_per_call")]

    def __str__(self) -> str:
        return f"turn {self.turn_index}"
