"""Who answers: agents, their versions, their tools over HTTP and their sentences as sound."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.utils import timezone

from businesses import encryption, jobs
from businesses.clip_memory import ClipMemory
from businesses.encryption import Undecryptable
from businesses.models.business import Business
from businesses.snapshots import AgentSnapshot, SpokenClip
from businesses.snapshots import HttpTool as HttpToolSnapshot
from businesses.validation import (
    LANGUAGE_TAG,
    TOOL_NAME,
    refuse_built_in_name,
    refuse_secrets_in_address,
    refuse_unfilled_placeholders,
    refuse_unknown_tools,
    validate_parameters,
    validate_tool_url,
    validate_tools,
    validate_turn_detection,
    without_former_switches,
)

logger = logging.getLogger(__name__)


def default_turn_detection() -> dict[str, Any]:
    """Server VAD with every value spelled out: the documented defaults disagree (protocols, openai-realtime B2)."""
    return {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
    }


def default_tools() -> list[str]:
    return ["end_call"]


def no_parameters() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "required": []}


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
        return self.versions.create(number=self.next_version_number(), **like.content())


class HttpMethod(models.TextChoices):
    GET = "GET", "GET: arguments in the address"
    POST = "POST", "POST: arguments as a JSON body"


class HttpToolQuerySet(models.QuerySet["HttpTool"]):
    def active(self) -> HttpToolQuerySet:
        return self.filter(is_active=True)


class HttpTool(models.Model):
    """Something that agents of a business can look up or do over HTTP, in a call. Published versions keep a copy of
    their own, made when they were published."""

    business = models.ForeignKey(Business, on_delete=models.CASCADE, related_name="http_tools")
    name = models.CharField(
        max_length=41,
        validators=[TOOL_NAME, refuse_built_in_name],
        help_text="By which the model calls it: small letters, digits and _, like find_order.",
    )
    description = models.TextField(
        max_length=1024,
        help_text="Tells the model what it does and when to use it, like: Look up the state of an order by its number.",
    )
    parameters = models.JSONField(
        default=no_parameters,
        validators=[validate_parameters],
        help_text="What the model has to give: a JSON schema of an object with plain values, like "
        '{"type": "object", "properties": {"number": {"type": "string", "description": "Of the order"}}, '
        '"required": ["number"]}.',
    )
    url = models.CharField(
        "address",
        max_length=500,
        validators=[validate_tool_url],
        help_text="https only. {name} stands for a parameter, like https://api.example.com/orders/{number}.",
    )
    method = models.CharField(max_length=4, choices=HttpMethod.choices, default=HttpMethod.POST)
    encrypted_secret = models.TextField(blank=True, editable=False)  # businesses.encryption
    timeout_seconds = models.PositiveSmallIntegerField(
        "timeout",
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(30)],
        help_text="In seconds, 1 to 30. The caller waits meanwhile.",
    )
    is_active = models.BooleanField(
        "active",
        default=True,
        help_text="Switched off, no agent can be published with it. Versions that are published keep their copy of it.",
    )

    objects = HttpToolQuerySet.as_manager()

    class Meta:
        ordering = ["business", "name"]
        verbose_name = "HTTP tool"
        constraints = [models.UniqueConstraint(fields=["business", "name"], name="http_tool_name_once_per_business")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if isinstance(self.parameters, dict) and self.url:
            try:
                refuse_unfilled_placeholders(self.url, self.parameters)
                refuse_secrets_in_address(self.method, self.url, self.parameters)
            except ValidationError as error:
                raise ValidationError({"url": error}) from None

    def set_secret(self, secret: str) -> None:
        """Encrypt and keep it, in this object; the caller saves. Empty: none."""
        self.encrypted_secret = encryption.encrypt(secret)

    def secret(self) -> str:
        """Raise Undecryptable."""
        return encryption.decrypt(self.encrypted_secret)

    def frozen(self) -> dict[str, Any]:
        """What a published version keeps of it, as JSON. The secret stays encrypted; "id" is for the log."""
        return {
            "id": self.pk,
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "url": self.url,
            "method": self.method,
            "encrypted_secret": self.encrypted_secret,
            "timeout_seconds": self.timeout_seconds,
        }


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
        "caller_speaks_first",
        "protected_greeting_seconds",
        "silence_seconds",
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
        help_text="How the model notices that the caller speaks: type server_vad (silence) or semantic_vad (meaning). "
        "When the agent answers, and which interruption is one, is decided by the call itself.",
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
        help_text="What the agent may do in a call, besides talking. HTTP tools are taken over as they are when the "
        "version is published: publish again to use a changed tool.",
    )
    # db_default: a web process of the release before goes on adding rows until it is restarted.
    caller_speaks_first = models.BooleanField(
        "caller speaks first",
        default=False,
        db_default=False,
        help_text="Wait for the caller's first words; greet only when none come.",
    )
    protected_greeting_seconds = models.PositiveSmallIntegerField(
        "protected greeting",
        default=0,
        db_default=0,
        validators=[MaxValueValidator(30)],
        help_text="In seconds, 0 to 30, from the beginning of the greeting: what a caller who speaks up does not stop, "
        "like a legal notice. 0: a caller may stop it at once.",
    )
    silence_seconds = models.PositiveSmallIntegerField(
        "silence",
        default=8,
        db_default=8,
        validators=[MinValueValidator(3), MaxValueValidator(60)],
        help_text="In seconds, 3 to 60: how long nobody speaks until the agent asks whether the caller is still there.",
    )
    # HttpTool.frozen of each tool it names. Null: published by the release before, which knew none.
    frozen_http_tools = models.JSONField(null=True, blank=True, editable=False)
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

    def clean(self) -> None:
        if not self.agent_id or not isinstance(self.tools, list):
            return
        active = HttpTool.objects.active().filter(business=self.agent.business_id)
        try:
            refuse_unknown_tools(self.tools, list(active.values_list("name", flat=True)))
        except ValidationError as error:
            raise ValidationError({"tools": error}) from None

    def content(self) -> dict[str, Any]:
        """What it says, for a new draft. What is no setting any more is left out."""
        content = {name: getattr(self, name) for name in self.CONTENT}
        return content | {"turn_detection": without_former_switches(self.turn_detection)}

    def publish(self) -> None:
        """Freeze this draft with the HTTP tools it names; from now on new calls of the agent use it.

        Its sentences are rendered in the background, once this is committed; calls do not wait for them.
        """
        self.published_at = timezone.now()
        self.frozen_http_tools = self._http_tools_now()
        self.save()
        transaction.on_commit(partial(jobs.ask_to_render, self.pk))

    def _http_tools_now(self) -> list[dict[str, Any]]:
        tools = HttpTool.objects.active().filter(business=self.agent.business_id, name__in=self.tools)
        return [tool.frozen() for tool in tools]

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
            turn_detection=without_former_switches(self.turn_detection),
            max_call_seconds=self.max_call_seconds,
            tools=tuple(self.tools),
            http_tools=self._http_tools(),
            clips=Clip.objects.spoken_by(self.pk),
            caller_speaks_first=self.caller_speaks_first,
            protected_greeting_ms=self.protected_greeting_seconds * 1000,
            silence_seconds=self.silence_seconds,
            can_forward=bool(self.agent.business.forwarding_number),
        )

    def _http_tools(self) -> tuple[HttpToolSnapshot, ...]:
        """Those it was published with. One whose secret cannot be decrypted is left out: it could only fail."""
        tools = []
        for frozen in self.frozen_http_tools or []:
            content = {name: value for name, value in frozen.items() if name not in ("id", "encrypted_secret")}
            try:
                tools.append(HttpToolSnapshot(**content, secret=encryption.decrypt(frozen["encrypted_secret"])))
            except Undecryptable:
                ids = {"agent_version_id": self.pk, "http_tool_id": frozen["id"]}
                logger.error("HTTP tool left out: none of the keys decrypts its secret", extra=ids)
        return tuple(tools)


class ClipQuerySet(models.QuerySet["Clip"]):
    def without_audio(self) -> ClipQuerySet:
        """For all but who plays it: the audio is most of the row."""
        return self.defer("audio")

    def rendered(self) -> ClipQuerySet:
        return self.filter(rendered_at__isnull=False)

    def spoken_by(self, version_id: int) -> dict[str, SpokenClip]:
        """What the version can say by now, by key. Its audio is only read if something was rendered since this process
        last read it."""
        rendered = self.filter(agent_version=version_id).rendered()
        state = rendered.aggregate(number=models.Count("pk"), newest=models.Max("rendered_at"))
        if not state["number"]:
            return {}
        kept = _clip_memory.recall(version_id, (state["number"], state["newest"]))
        if kept is None:
            kept = {clip.key: SpokenClip(clip.text, bytes(clip.audio)) for clip in rendered}
            _clip_memory.keep(version_id, (state["number"], state["newest"]), kept)
        return kept


_clip_memory = ClipMemory()


class Clip(models.Model):
    """A sentence of a published version, rendered in the agent's own voice (businesses.clips says when and by whom)."""

    agent_version = models.ForeignKey(AgentVersion, on_delete=models.CASCADE, related_name="clips")
    key = models.CharField(max_length=24)  # businesses.sentences
    text = models.TextField()  # what is said in `audio`
    audio = models.BinaryField(default=b"", editable=False)  # mu-law, 8 kHz, without a header; empty until rendered
    rendered_at = models.DateTimeField(null=True)
    # To be rendered, for the first time or again; what is there is used meanwhile.
    is_due = models.BooleanField(default=True)
    tries = models.PositiveSmallIntegerField(default=0)  # since it is due
    tried_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=64, blank=True)  # why the last try failed, a short code

    objects = ClipQuerySet.as_manager()

    class Meta:
        ordering = ["agent_version", "key"]
        constraints = [models.UniqueConstraint(fields=["agent_version", "key"], name="clip_key_once_per_version")]

    def __str__(self) -> str:
        return self.key
