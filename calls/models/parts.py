"""What belongs to a call besides its turns: tools used, messages taken, people called, recordings made."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from businesses.models import Business
from calls.models.calls import CallLog


class ToolState(models.TextChoices):
    """How far the use of a tool is (calls.tool_uses says which of two states counts)."""

    STARTED = "started", "Not finished"
    FINISHED = "finished", "Done"
    FAILED = "failed", "Failed"
    TIMED_OUT = "timed_out", "Took too long"
    REFUSED = "refused", "Refused"
    ABANDONED = "abandoned", "Given up at the end of the call"


class LegKind(models.TextChoices):
    """Why somebody else was called for a caller."""

    COLD = "cold", "Put through"
    WARM = "warm", "Put through after a briefing"
    FORWARD = "forward", "Forwarded without an agent"


class LegState(models.TextChoices):
    """How far a leg is (calls.legs says which of two states counts)."""

    ASKED = "asked", "Asked for"
    RINGING = "ringing", "Ringing"
    ANSWERED = "answered", "Answered"
    ACCEPTED = "accepted", "Accepted"
    REFUSED = "refused", "Refused"
    NO_ANSWER = "no-answer", "No answer"
    BUSY = "busy", "Busy"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Given up"
    COMPLETED = "completed", "Over"


class RecordingState(models.TextChoices):
    """How far a recording is (calls.recordings says which of two states counts)."""

    IN_PROGRESS = "in-progress", "Being recorded"
    ABSENT = "absent", "Nothing was recorded"
    WAITING = "waiting", "To be fetched"
    STORED = "stored", "Stored"
    FAILED = "failed", "Could not be fetched"
    DELETED = "deleted", "Deleted"


class MessageKind(models.TextChoices):
    MESSAGE = "message", "Taken by the agent"
    VOICEMAIL = "voicemail", "Spoken after the tone"


class TextState(models.TextChoices):
    """Whether what was spoken after the tone has been written down; empty once it is, and of what was never spoken."""

    WAITING = "waiting", "Not written down yet"
    FAILED = "failed", "Could not be written down"


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
    key = models.CharField(
        max_length=200, editable=False, help_text="The tool_call_id of the tool that took it, or the RecordingSid."
    )
    kind = models.CharField(
        max_length=10, choices=MessageKind.choices, default=MessageKind.MESSAGE, db_default=MessageKind.MESSAGE
    )
    recording = models.ForeignKey("Recording", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    caller_name = models.CharField("from", max_length=200, blank=True)
    callback_number = models.CharField("call back", max_length=100, blank=True)
    text = models.TextField("message", blank=True)
    # db_default: a worker of the release before goes on adding rows until it is restarted.
    text_state = models.CharField(max_length=10, choices=TextState.choices, blank=True, default="", db_default="")
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
        indexes = [
            models.Index(fields=["business", "-taken_at"], name="message_by_business_and_time"),
            models.Index(fields=["id"], name="message_to_write", condition=models.Q(text_state=TextState.WAITING)),
        ]

    def __str__(self) -> str:
        return f"message from {self.caller_name or 'a caller'}"


class CallLeg(models.Model):
    """Somebody else who was called for the caller: a transfer, or forwarding."""

    business = models.ForeignKey(Business, on_delete=models.PROTECT, related_name="+")
    call = models.ForeignKey(CallLog, on_delete=models.CASCADE, related_name="legs")
    key = models.CharField(max_length=200, help_text="Tells it from others of the call: a tool_call_id, or forward.")
    kind = models.CharField(max_length=10, choices=LegKind.choices)
    target_name = models.CharField("to", max_length=60, blank=True)
    number = models.CharField(max_length=16, blank=True)
    leg_sid = models.CharField("CallSid", max_length=64, blank=True)
    state = models.CharField(max_length=10, choices=LegState.choices, default=LegState.ASKED)
    reason = models.CharField(max_length=40, blank=True, help_text="A short code: why it came to nothing.")
    placed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When the carrier was asked for this call: once."
    )
    briefing = models.TextField(blank=True, help_text="What the colleague was told.")
    asked_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    duration_seconds = models.PositiveIntegerField("duration", null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["call", "asked_at", "id"]
        constraints = [models.UniqueConstraint(fields=["call", "key"], name="leg_once_per_call")]
        # Caps of the dial policy are counted over these.
        indexes = [models.Index(fields=["business", "asked_at"], name="leg_by_business_and_time")]

    def __str__(self) -> str:
        return self.target_name or self.get_kind_display()


def recording_path(recording: Recording, filename: str) -> str:
    """Where the storage keeps it. Nothing of the caller is in the name."""
    return f"recordings/{recording.business_id}/{recording.recording_sid}.wav"


class Recording(models.Model):
    """What the carrier recorded of a call: the call itself, or a message after the tone."""

    business = models.ForeignKey(Business, on_delete=models.PROTECT, related_name="+")
    call = models.ForeignKey(CallLog, on_delete=models.CASCADE, related_name="recordings")
    recording_sid = models.CharField("RecordingSid", max_length=64, unique=True)
    state = models.CharField(max_length=12, choices=RecordingState.choices, default=RecordingState.IN_PROGRESS)
    channels = models.PositiveSmallIntegerField(default=2)
    started_at = models.DateTimeField(null=True, blank=True)
    duration_seconds = models.PositiveIntegerField("duration", null=True, blank=True)
    file = models.FileField(upload_to=recording_path, max_length=255, blank=True, editable=False)
    size_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    # db_default: a worker of the release before goes on adding rows until it is restarted.
    peaks = models.JSONField(
        default=list, db_default=[], blank=True, editable=False, help_text="To draw it: calls.waveform.Waveform.peaks."
    )
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=64, blank=True, help_text="Why the last try failed, a short code.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["call", "started_at", "id"]
        indexes = [
            models.Index(
                fields=["next_try_at"], name="recording_to_fetch", condition=models.Q(state=RecordingState.WAITING)
            )
        ]

    def __str__(self) -> str:
        return f"…{self.recording_sid[-6:]}"
