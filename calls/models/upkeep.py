"""What keeps the record complete: refused facts, dead letters, processes that beat, calls that nobody carries."""

from __future__ import annotations

from django.db import models

from businesses.models import Business
from calls.models.calls import CallLog


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
    loop_late_ms = models.PositiveIntegerField(
        "event loop late", null=True, blank=True, help_text="In milliseconds, at the last beat."
    )
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
