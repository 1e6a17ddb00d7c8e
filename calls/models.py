"""What happened on the phone: calls, their turns, the tools used in them and the messages taken. Written only by
calls.services; that a message has been handled is said by a person, in admin."""

from __future__ import annotations

from typing import Any

from django.conf import settings
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


class EndSource(models.TextChoices):
    """Who said that a call is over, where it was not the call itself or the carrier's callback."""

    CARRIER = "carrier", "Carrier, asked by the reaper"
    GUESS = "guess", "Reaper's guess"
    RECONCILED = "reconciled", "Carrier's list of calls"


class ToolState(models.TextChoices):
    """How far the use of a tool is (calls.tool_uses says which of two states counts)."""

    STARTED = "started", "Not finished"
    FINISHED = "finished", "Done"
    FAILED = "failed", "Failed"
    TIMED_OUT = "timed_out", "Took too long"
    REFUSED = "refused", "Refused"
    ABANDONED = "abandoned", "Given up at the end of the call"


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
            models.Index(fields=["business", "status"], name="call_by_business_and_status"),
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


class ToolUse(models.Model):
    """One tool that the agent used in a call: what it was given, and what came of it."""

    business = models.ForeignKey(Business, on_delete=models.PROTECT, related_name="+")
    call = models.ForeignKey(CallLog, on_delete=models.CASCADE, related_name="tool_uses")
    tool_call_id = models.CharField(max_length=200, help_text="The speech model's own.")
    name = models.CharField(max_length=100, blank=True)
    arguments = models.TextField(blank=True, help_text="JSON, as the model wrote it.")
    output = models.TextField(blank=True, help_text="What the model was given back.")
    state = models.CharField(max_length=10, choices=ToolState.choices, default=ToolState.STARTED)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["call", "started_at", "id"]
        constraints = [models.UniqueConstraint(fields=["call", "tool_call_id"], name="tool_use_once_per_call")]

    def __str__(self) -> str:
        return self.name


class CallMessageQuerySet(models.QuerySet["CallMessage"]):
    def waiting(self) -> CallMessageQuerySet:
        """Those that nobody has handled yet."""
        return self.filter(handled_at=None)


class CallMessage(models.Model):
    """What a caller wanted to be passed on to somebody of the business."""

    business = models.ForeignKey(Business, on_delete=models.PROTECT, related_name="messages")
    call = models.ForeignKey(CallLog, on_delete=models.CASCADE, related_name="messages")
    key = models.CharField(max_length=200, editable=False, help_text="The tool_call_id of the tool that took it.")
    caller_name = models.CharField("from", max_length=200, blank=True)
    callback_number = models.CharField("call back", max_length=100, blank=True)
    text = models.TextField("message", blank=True)
    taken_at = models.DateTimeField("taken", null=True, blank=True)
    handled_at = models.DateTimeField("handled", null=True, blank=True)
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CallMessageQuerySet.as_manager()

    class Meta:
        verbose_name = "message"
        ordering = ["-taken_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["call", "key"], name="message_once_per_call")]
        indexes = [models.Index(fields=["business", "-taken_at"], name="message_by_business_and_time")]

    def __str__(self) -> str:
        return f"message from {self.caller_name or 'a caller'}"


class RefusedFact(models.Model):
    """A fact that did not fit its call (another business's id, say): refused, and kept for a person to see."""

    kind = models.CharField(max_length=40)
    call_sid = models.CharField("CallSid", max_length=64)
    claimed_business_id = models.BigIntegerField(null=True)
    reason = models.CharField(max_length=200)
    payload = models.JSONField(default=dict)
    # Facts are delivered any number of times; a refused one is kept once.
    fingerprint = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.kind} …{self.call_sid[-6:]}"


class WebProcess(models.Model):
    """A web process that beats: who holds calls says so every few seconds, and whoever stops is reaped."""

    boot_id = models.CharField(max_length=32, unique=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    live_calls = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["-seen_at"]
        verbose_name_plural = "web processes"

    def __str__(self) -> str:
        return f"{self.host} {self.pid}"


class SuspectCall(models.Model):
    """A call without an end, or without a known ending, that nobody living carries. Gone when the call is settled."""

    call = models.OneToOneField(CallLog, on_delete=models.CASCADE, related_name="suspicion")
    since = models.DateTimeField()
    next_look_at = models.DateTimeField()
    tries = models.PositiveIntegerField(default=0)
    answer = models.CharField(max_length=40, blank=True, help_text="What the carrier's REST API last said.")

    class Meta:
        ordering = ["since"]

    def __str__(self) -> str:
        return str(self.call)


class Lease(models.Model):
    """Work that only one process does at a time, on databases without advisory locks."""

    name = models.CharField(max_length=40, unique=True)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class DeadLetter(models.Model):
    """A task that failed too often: taken out of its queue, kept with what it carried until it is replayed."""

    task_id = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=40)
    call_sid = models.CharField("CallSid", max_length=64)
    # Null: the task named no business that exists, and only superusers see it.
    business = models.ForeignKey(Business, on_delete=models.PROTECT, related_name="dead_letters", null=True, blank=True)
    reason = models.CharField(max_length=200)
    deliveries = models.PositiveIntegerField()
    payload = models.JSONField(default=dict, help_text="Emptied when it has been replayed.")
    created_at = models.DateTimeField(auto_now_add=True)
    replayed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.kind} …{self.call_sid[-6:]}"
