"""The output side of a session: when a response starts, what it answers, what cuts it off."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from simulators.model import config
from simulators.model.audio import envelope
from simulators.model.core import Core, Timer
from simulators.model.dialogue import Dialogue, Line, Plan, Situation
from simulators.model.hearing import Spoken
from simulators.model.oracle import refuse
from simulators.model.responses import Response, Studio

LATE_DELTA_SECONDS = 0.03
SENTENCES_REMEMBERED = 5  # of its own, which may come back as an echo


@dataclass(slots=True)
class Unanswered:
    """What a response will answer: (item, caller clip; None: not understood), and names of functions whose output
    came."""

    heard: list[tuple[str, str | None]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def hear(self, item_id: str, clips: Iterable[str | None]) -> None:
        self.heard += [(item_id, clip) for clip in clips]

    def answer(self, text: str, dialogue: Dialogue) -> None:
        """The client says what was answered before: a question stays open if this is not its answer, as far as it goes
        (a filler is none)."""
        self.heard = [(item, clip) for item, clip in self.heard if not dialogue.answers(clip, text)]

    def forget(self, item_id: str) -> None:
        """The client has deleted that item."""
        self.heard = [(item, clip) for item, clip in self.heard if item != item_id]


@dataclass(slots=True, eq=False)
class Run:
    """A response being generated."""

    response: Response
    steps: Generator[float]
    answers: Unanswered
    started_ms: int
    timer: Timer | None = None


class Speaker:
    """At most one response in the conversation at a time; those with `conversation: none` run beside it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._runs: list[Run] = []
        self._count = 0
        self._queued = False  # the caller finished while the model spoke on (interrupt_response false)
        self.unanswered = Unanswered()
        self.clock_ms = 0  # input received; the listener keeps it
        self.idle_from_ms: int | None = None  # on that clock: since when nobody speaks
        self.sent_bytes = 0
        self.sent_digest = sha256()
        self.spoken: deque[Spoken] = deque(maxlen=SENTENCES_REMEMBERED)

    @property
    def active(self) -> Run | None:
        return next((run for run in self._runs if run.response.in_conversation), None)

    def answer_caller(self) -> None:
        """The caller's turn is over."""
        if self.active is not None:
            self._queued = True
        else:
            self._start({})

    def create(self, options: dict[str, Any]) -> None:
        """response.create. Raises Refused."""
        if self.active is not None and options.get("conversation") != "none":
            message = (
                f"Conversation already has an active response in progress: {self.active.response.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise refuse("conversation_already_has_active_response", message, race=True)
        config.check_response(options, self._core.config, spoken=self.sent_bytes > 0)
        self._start(options)

    def cancel(self, response_id: str | None) -> None:
        """response.cancel. Raises Refused."""
        found = [run for run in self._runs if run.response.id == response_id] if response_id else [self.active]
        if not found or found[0] is None:
            raise refuse("response_cancel_not_active", "Cancellation failed: no active response found", race=True)
        self._cut(found[0], "client_cancelled")

    def caller_speaks(self, interrupt: bool) -> None:
        """Speech began in the input."""
        self.idle_from_ms = None
        if interrupt and self.active is not None:
            self._cut(self.active, "turn_detected")

    def close(self) -> None:
        for run in self._runs:
            run.steps.close()
            run.response.abandon()

    def _start(self, options: dict[str, Any]) -> None:
        self._count += 1
        silent = self._core.faults.find("silent", self._count)
        self._core.silent = self._core.silent or silent is not None
        if self._core.faults.has("mute", self._count):
            return
        aside = options.get("conversation") == "none"
        answers = Unanswered() if aside else self.unanswered
        plan = self._plan(options, answers)
        if not aside:
            self.unanswered = Unanswered()
        response = Response(self._studio(), plan, self._core.config, options, self._count)
        run = Run(response, response.steps(), answers, self.clock_ms)
        self.idle_from_ms = None
        self._runs.append(run)
        self._drive(run)

    def _studio(self) -> Studio:
        core = self._core
        return Studio(
            emit=core.emit, note=core.note, sound=self._count_sound, keep=core.keep_audio, speak=self.remember,
            mishap=core.mishap, new_id=core.new_id,
            chance=core.chance, conversation=core.conversation, conversation_id=core.conversation_id,
            meter=core.meter, settings=core.settings, faults=core.faults,
        )  # fmt: skip

    def remember(self, line: Line) -> None:
        """The agent's voice says this: should it come back, it is known."""
        self.spoken.append(Spoken(line.text, envelope(line.audio)))

    def _count_sound(self, chunk: bytes) -> None:
        self.sent_bytes += len(chunk)
        self.sent_digest.update(chunk)

    def _plan(self, options: dict[str, Any], answers: Unanswered) -> Plan:
        session = self._core.config
        tools = options["tools"] if options.get("tools") is not None else session["tools"]
        choice = options.get("tool_choice") or session["tool_choice"]
        heard = [name for _, name in answers.heard]
        if options.get("input") is not None:
            heard = [name for item in options["input"] for name in self.understand(item)]
        return self._core.settings.dialogue.plan(
            Situation(
                tools=[] if choice == "none" else tools or [],
                instructions=options.get("instructions") or "",
                session_instructions=session["instructions"] or "",
                heard=heard,
                outputs=answers.outputs,
                first=not any(entry.item.get("role") in ("user", "assistant") for entry in self._core.conversation),
            )
        )

    def understand(self, item: dict[str, Any]) -> list[str | None]:
        """The caller clips whose words a written user message is, or what the dialogue knows in it; None for other
        words."""
        if item.get("type") != "message" or item.get("role") != "user":
            return []
        dialogue = self._core.settings.dialogue
        known = {clip.text: clip.name for clip in dialogue.clips.values()}
        texts = [part["text"] for part in item["content"] if part.get("text")]
        return [known.get(text) or dialogue.written_in(text) for text in texts]

    def _drive(self, run: Run) -> None:
        """Let a response go on to its next wait."""
        try:
            wait = next(run.steps)
        except StopIteration:
            self._ended(run)
            return
        run.timer = self._core.later(wait, lambda: self._drive(run))

    def _ended(self, run: Run) -> None:
        self._runs.remove(run)
        if not run.response.in_conversation:
            return
        if run.response.fruitless:
            # Nothing was answered (the caller went on speaking, or it failed): the next response answers it.
            self.unanswered.heard[:0] = run.answers.heard
            self.unanswered.outputs[:0] = run.answers.outputs
        self.idle_from_ms = max(self.clock_ms, run.started_ms + run.response.spoken_ms)
        if self._queued:
            self._queued = False
            self._start({})

    def _cut(self, run: Run, reason: str) -> None:
        if run.timer is not None:
            run.timer.cancel()
        run.steps.close()
        if reason == "turn_detected":
            self._queued = False  # what the caller says now is answered together with it
        run.response.cancel(reason)
        for number in range(self._core.settings.late_deltas):
            self._core.later(LATE_DELTA_SECONDS * (number + 1), run.response.late_delta)
        self._ended(run)
