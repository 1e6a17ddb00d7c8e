"""One live call: its engine, its tasks, its outboxes and its one timer. The only code that performs commands.

`feed(event)` is synchronous: the engine answers with commands, and each is performed at once by putting it where a
writer task takes it from. The call runs as a task of its own, not inside the consumer's coroutine: the server kills
that one 10 s after the socket closed, and late transcripts may still be on their way.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, assert_never

import structlog
from django.conf import settings

from businesses.sentences import sentence
from businesses.snapshots import AgentSnapshot
from calls import live_calls, model_health, streams
from calls.history import PastTurn
from media import live, tools, turns
from media.engine.back_channels import back_channels
from media.engine.call import Call
from media.engine.commands import (
    CancelResponse,
    ClearPlayback,
    CloseModel,
    CloseStream,
    Command,
    CommitAudio,
    DropItem,
    FinishCall,
    ForwardAudio,
    GiveDigits,
    ModelCommand,
    OpenModel,
    PlayAudio,
    RecallConversation,
    ReplaceItem,
    Respond,
    RunTool,
    SaveTurn,
    Say,
    SendMark,
    SendNote,
    SendToolResult,
    SendUserText,
    SwitchModel,
    TruncateItem,
)
from media.engine.config import CallConfig, Clip, PastItem
from media.engine.events import (
    CallCompleted,
    CallerAudio,
    CarrierClosed,
    Event,
    ModelClosed,
    ModelError,
    ModelReady,
    StreamStarted,
    StreamStopped,
    ToolFinished,
)
from media.outboxes import CarrierOutbox, ModelOutbox
from media.realtime.base import ModelSession, ModelUnavailable, SpeechModel
from media.record import Caller, CallRecord
from media.secure_line import SecureLine
from media.wire import twilio as wire

log = structlog.get_logger(__name__)

LAST_WORDS_SECONDS = 3.0  # how long the writers get to send what is left (closing frames) once a call is over
BROKEN = "stream_lost"  # how a call ended that we broke ourselves (calls.models.EndedReason): so it is for the caller
NORMAL_CLOSE = 1000
NEVER_STARTED_CLOSE = 4008  # see media.consumers


class CarrierSocket(Protocol):
    """The carrier's end, as the consumer gives it. Every call is harmless on a socket that is gone. Texts are UTF-8."""

    def send_now(self, texts: Sequence[bytes]) -> bool:
        """Send them, with no task in between; False, and nothing is sent, if that cannot be. Then `send_text` is the
        way."""

    async def send_text(self, text: bytes) -> None: ...

    async def close_with(self, code: int) -> None: ...


def call_config(
    agent: AgentSnapshot,
    model: SpeechModel,
    *,
    stream_number: int = 0,
    past: Sequence[PastTurn] = (),
    came_back: bool = False,
    digits_lost: bool = False,
) -> CallConfig:
    """`past`: what was said in the call before this stream; then the agent does not greet, but resumes, or says that
    nobody could be reached (`came_back`). `digits_lost`: it was lost while secret digits were typed."""
    clips = {key: Clip(clip.text, clip.audio) for key, clip in agent.clips.items()}
    if not agent.can_forward and "apology_goodbye" in clips:
        clips["apology"] = clips["apology_goodbye"]
    resumed = "unreached" if came_back else "resumed" if past else ""
    if resumed:
        clips.pop("greeting", None)
        if resumed in clips:
            clips["greeting"] = clips[resumed]
    return CallConfig(
        greeting=sentence(resumed, agent.language) if resumed else agent.greeting,
        clips=clips,
        sentences={key: sentence(key, agent.language) for key in ("still_there", "silence_goodbye", "wrap_up")},
        back_channels=back_channels(agent.language),
        caller_speaks_first=agent.caller_speaks_first and not resumed,
        protected_greeting_seconds=0.0 if resumed else agent.protected_greeting_ms / 1000,
        silence_seconds=float(agent.silence_seconds),
        dead_air_seconds=settings.DEAD_AIR_SECONDS,
        ahead_seconds=settings.AUDIO_AHEAD_SECONDS,
        first_turn_index=streams.first_index(stream_number),
        past=past_items(past),
        digits_lost=digits_lost,
        tools=tools.specs(agent),
        traits=model.traits(agent),
        max_call_seconds=float(agent.max_call_seconds),
    )


def past_items(turns: Sequence[PastTurn]) -> tuple[PastItem, ...]:
    """Each turn as up to two items, in the order of the conversation."""
    spoken = [
        (turn.turn_index, role, text)
        for turn in turns
        for role, text in (("user", turn.user_text), ("assistant", turn.heard_text))
    ]
    return tuple(PastItem(f"past_{index}_{role[0]}", role, text) for index, role, text in spoken if text)


class CallBridge:
    """Holds one call together. Make it on the event loop, `begin()` it, then `feed` it until `finished`."""

    def __init__(
        self,
        *,
        agent: AgentSnapshot,
        config: CallConfig,
        model: SpeechModel,
        carrier: CarrierSocket,
        record: CallRecord,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._agent = agent
        self._model = model
        self._carrier = carrier
        self._record = record
        self._call = Call(config, self._loop.time())
        self._log = log.bind(call_sid=record.call_sid)
        self._current: ModelSession | None = None  # carries the conversation
        self._fresh: ModelSession | None = None  # is to take over
        self._sessions: dict[ModelSession, asyncio.Task[None]] = {}
        self._session_tasks: set[asyncio.Task[None]] = set()
        self._has_model = asyncio.Event()
        self._model_outbox = ModelOutbox()
        self._carrier_outbox = CarrierOutbox()
        self._stream_sid = ""  # empty until an authorised `start` came
        self._caller: Caller | None = None  # known from then on, too
        self._stream_lost = False
        self._is_over = False  # beside the event, since every frame asks for it
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._tool_tasks: set[asyncio.Task[None]] = set()
        self._secure_line = SecureLine(record.call_sid, self.feed)
        self._digits_lost = config.digits_lost
        self._task: asyncio.Task[None] | None = None

    @property
    def call_sid(self) -> str:
        return self._record.call_sid

    def begin(self) -> None:
        """Start the call's own task: it opens the model's session at once."""
        live.calls.add(self)
        self._task = asyncio.create_task(self._run(), name=f"call {self.call_sid}")
        self._set_timer()

    async def finished(self) -> None:
        """Wait until the call is over and everything it had to send is sent."""
        if self._task is not None:
            await asyncio.wait({self._task})

    # --- What comes in -------------------------------------------------------------------------------------

    def start(self, caller: Caller, stream_sid: str) -> None:
        """The carrier's `start`, authorised: from now on the call is recorded and may speak."""
        self._stream_sid = stream_sid
        self._caller = caller
        self._record.start(caller, stream_sid, self._loop.time())
        if self._digits_lost:
            self._secure_line.taken_over()
        self.feed(StreamStarted(stream_sid))

    def hear(self, payload: str) -> None:
        """`feed` of CallerAudio, for 50 times a second: all there is to do is to pass it on, and no deadline moves."""
        if self._is_over:
            return
        try:
            forwarded = self._call.hear(payload, self._loop.time())
            if forwarded is not None:
                session = self._current
                if session is None or not self._model_outbox.idle or not session.forward_now(forwarded):
                    self._model_outbox.put(ForwardAudio(forwarded))
        except Exception:  # noqa: BLE001 - as in _ask_engine
            self._broken(about="CallerAudio")
            self._set_timer()

    def feed(self, event: Event) -> None:
        """Tell the engine what happened and perform everything it answers."""
        if self._is_over:
            return
        now = self._loop.time()
        match event:
            case CallerAudio():
                self.hear(event.payload)
                return
            case ModelReady():
                self._record.model_session_id = event.session_id
                if event.expires_at is not None:
                    event = replace(event, expires_at=now + event.expires_at - time.time())
            case StreamStopped() | CarrierClosed() | CallCompleted():
                self._record.stream_ended(now)
            case _:
                pass
        self._ask_engine(functools.partial(self._call.receive, event, now), now, about=type(event).__name__)

    def discard(self) -> None:
        """End at once and write nothing: the stream that opened this call had no right to."""
        self._record.finished = True
        self._end()

    # --- The engine and its timer --------------------------------------------------------------------------

    def _ask_engine(self, ask: Callable[[], list[Command]], now: float, *, about: str) -> None:
        """Perform every command of the engine's answer, in order, then set the timer anew."""
        try:
            self._perform_all(ask(), now)
        except Exception:  # noqa: BLE001 - the edge of a call: a mistake of ours, and the record is finished all the same
            self._broken(about=about)
        self._set_timer()

    def _broken(self, *, about: str) -> None:
        self._log.exception("call_broken", about=about)
        self._abandon()

    def _set_timer(self) -> None:
        """Arm the timer for the engine's deadline, or end with the engine. An armed timer that is too early stays: it
        re-arms itself.

        Many events move some deadline; a cancelled handle for each would only fill the loop's heap.
        """
        deadline = None if self._is_over else self._call.deadline()
        if deadline is None:
            self._end()
        if self._timer is not None:
            if deadline is not None and self._timer_at <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            # Kept here: for a time that has nearly come uvloop gives a handle that knows no time.
            self._timer, self._timer_at = self._loop.call_at(deadline, self._tick), deadline

    def _tick(self) -> None:
        self._timer = None
        deadline = self._call.deadline()
        now = self._loop.time()
        # The loop may run a timer early by its clock's resolution; that counts as on time.
        if deadline is not None and deadline <= now + 0.001:
            now = max(now, deadline)
            self._ask_engine(functools.partial(self._call.tick, now), now, about="tick")
        else:
            self._set_timer()

    # --- Commands ------------------------------------------------------------------------------------------

    def _perform_all(self, commands: Sequence[Command], now: float) -> None:
        """In order; audio and marks that follow each other go out together."""
        texts: list[PlayAudio | SendMark] = []
        for command in commands:
            if isinstance(command, PlayAudio | SendMark):
                texts.append(command)
                continue
            if texts:
                self._to_carrier(texts)
                texts = []
            self._perform(command, now)
        if texts:
            self._to_carrier(texts)

    def _perform(self, command: Command, now: float) -> None:
        match command:
            case ForwardAudio() | Say() | RecallConversation() | Respond() | CancelResponse() | TruncateItem():
                self._to_model(command)
            case SendToolResult() | SendUserText() | SendNote() | ReplaceItem() | DropItem():
                self._to_model(command)
            case CommitAudio() | CloseModel():
                self._to_model(command)
            case OpenModel():
                if command.replace:
                    self._let_go_of_the_model()
                self._open_session()
            case SwitchModel():
                self._let_go_of_the_model()
                self._current, self._fresh = self._fresh, None
                self._has_model.set()
            case PlayAudio() | SendMark() | ClearPlayback():
                self._to_carrier([command])
            case CloseStream():
                self._record.stream_ended(now)
                # Before the socket closes: the carrier asks at once what comes next, and that depends on it.
                live_calls.note_ended(self.call_sid, self._call.ended_reason, self._record.stream_number)
                self._carrier_outbox.put(command)
            case RunTool():
                self._start_tool(command)
            case GiveDigits():
                self._secure_line.give(command)
            case SaveTurn():
                self._record.save_turn(command.turn)
            case FinishCall():
                self._finish(command, now)
            case _:
                assert_never(command)

    def _to_model(self, command: ModelCommand) -> None:
        """Usually nothing waits, and what there is to send goes out here: no task in between, a fifth of the cost."""
        session = self._current
        if session is None or not self._model_outbox.idle or not session.perform_now(command):
            self._model_outbox.put(command)

    def _to_carrier(self, commands: Sequence[PlayAudio | SendMark | ClearPlayback]) -> None:
        outbox = self._carrier_outbox
        if outbox.idle and self._carrier.send_now([wire.encode(command, self._stream_sid) for command in commands]):
            return
        for command in commands:
            if not outbox.put(command) and not self._stream_lost:
                self._give_up_stream()

    def _finish(self, end: FinishCall, now: float) -> None:
        live_calls.note_ended(self.call_sid, end.ended_reason, self._record.stream_number)
        self._record.finish(end, now)
        self._log.info(
            "call_finished",
            status=end.status,
            ended_reason=end.ended_reason,
            turns=len(end.turns),
            input_tokens=end.usage.input_tokens,
            output_tokens=end.usage.output_tokens,
            dropped_caller_audio_ms=self._model_outbox.dropped_ms,
            **end.counters,
        )

    def _give_up_stream(self) -> None:
        self._stream_lost = True
        self._log.error("carrier_reads_too_slowly")
        self._carrier_outbox.put(CloseStream())
        self._loop.call_soon(self.feed, CarrierClosed())  # not at once: the engine's answer is still being performed

    def _abandon(self) -> None:
        live_calls.note_ended(self.call_sid, BROKEN, self._record.stream_number)
        self._record.finish_abruptly(BROKEN, self._loop.time())
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._carrier_outbox.put(CloseStream())
            self._model_outbox.put(CloseModel())
            self._has_model.set()
            self._secure_line.close()
            self._over.set()

    # --- Tasks ---------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Supervise the call's tasks until it is over; whatever happens, the record is finished."""
        carrier = asyncio.create_task(self._guard(self._write_to_carrier, CarrierClosed()))
        model = asyncio.create_task(self._guard(self._write_to_model, ModelClosed("internal_error")))
        self._open_session()
        try:
            await self._over.wait()
            # A tool that is at work gets this time, too: what it has done is to be in the record.
            await asyncio.wait({carrier, model, *self._tool_tasks}, timeout=LAST_WORDS_SECONDS)
        finally:
            if not self._over.is_set():  # cancelled: the event loop is going away
                self._abandon()
            self._set_timer()
            await _cancel({carrier, model, *self._tool_tasks, *self._session_tasks})
            live.calls.remove(self)

    async def _guard(self, work: Callable[[], Awaitable[None]], lost: Event) -> None:
        """Run a task of the call; should it die, say so in the log and tell the engine what was lost with it."""
        try:
            await work()
        except Exception:  # noqa: BLE001 - the edge of a task
            self._log.exception("call_task_died", lost=type(lost).__name__)
            self.feed(lost)

    async def _write_to_carrier(self) -> None:
        while True:
            command = await self._carrier_outbox.get()
            if isinstance(command, CloseStream):
                await self._carrier.close_with(NORMAL_CLOSE if self._stream_sid else NEVER_STARTED_CLOSE)
                return
            await self._carrier.send_text(wire.encode(command, self._stream_sid))

    # --- The model's sessions ------------------------------------------------------------------------------

    def _open_session(self) -> None:
        task = asyncio.create_task(self._carry_session(), name=f"model session of {self.call_sid}")
        self._session_tasks.add(task)
        task.add_done_callback(self._session_tasks.discard)

    def _let_go_of_the_model(self) -> None:
        """The present session is of no more use: nobody listens to it any more. What waits to be sent was meant for
        it, but for the caller's audio, which the next one is to hear."""
        if self._current is not None:
            self._sessions[self._current].cancel()
            self._current = None
            self._has_model.clear()
        self._model_outbox.keep_audio_only()

    async def _carry_session(self) -> None:
        """Open a session, pass on what it says while it is of interest, and close it."""
        await turns.mine()
        try:
            session = await self._model.open(self._agent)
        except ModelUnavailable as refusal:
            self._log.error("model_unavailable", code=refusal.code, permanent=refusal.permanent)
            model_health.note_failure(self._agent.model, self._loop.time(), permanent=refusal.permanent)
            self.feed(ModelClosed(refusal.code, permanent=refusal.permanent, fresh=True))
            return
        except Exception:  # noqa: BLE001 - the edge of a task
            self._log.exception("call_task_died", lost="ModelClosed")
            self.feed(ModelClosed("internal_error", fresh=True))
            return
        task = asyncio.current_task()
        assert task is not None
        self._sessions[session] = task
        self._fresh = session
        try:
            async for events in session.events(functools.partial(self._hear_model, session)):
                self._hear_model(session, events)
        except Exception:  # noqa: BLE001 - the edge of a task
            self._log.exception("call_task_died", lost="ModelClosed")
            self._model_says(session, ModelClosed("internal_error"))
        finally:
            del self._sessions[session]
            await session.close()

    def _hear_model(self, session: ModelSession, events: Sequence[Event]) -> None:
        for event in events:
            self._model_says(session, event)

    def _model_says(self, session: ModelSession, event: Event) -> None:
        if session is self._current:
            if isinstance(event, ModelClosed) and event.code not in ("", "closed_1000"):
                self._log.warning("model_lost", code=event.code)
            self.feed(event)
        elif session is self._fresh:  # until it takes over only two things are of interest: it can, or it will never
            if isinstance(event, ModelReady):
                model_health.note_success(self._agent.model)
                self.feed(event)
            elif isinstance(event, ModelClosed) or (isinstance(event, ModelError) and event.fatal):
                self._fresh = None
                model_health.note_failure(self._agent.model, self._loop.time(), permanent=event.permanent)
                self._log.error("model_unavailable", code=event.code, permanent=event.permanent)
                self.feed(ModelClosed(event.code, permanent=event.permanent, fresh=True))

    async def _write_to_model(self) -> None:
        while True:
            await self._has_model.wait()
            if self._present_session() is None:
                return  # the call is over, and has no model that could be told
            command = await self._model_outbox.get()
            session = self._present_session()
            if isinstance(command, CloseModel):
                if session is not None:
                    await session.close()
                return
            if session is None:  # let go of while this waited: what is sent next is the next one's
                self._model_outbox.put_back(command)
                continue
            try:
                await session.perform(command)
            except ModelUnavailable as gone:
                if session is self._current:
                    self.feed(ModelClosed(gone.code))

    def _present_session(self) -> ModelSession | None:
        return self._current

    # --- Tools ---------------------------------------------------------------------------------------------

    def _start_tool(self, command: RunTool) -> None:
        task = asyncio.create_task(self._run_tool(command))
        self._tool_tasks.add(task)
        task.add_done_callback(self._tool_tasks.discard)

    async def _run_tool(self, command: RunTool) -> None:
        """Run a tool; tell the record and the engine what came out. Whether anybody still listens makes no difference:
        what was asked for is done, and recorded. One that is cancelled with the call stays unfinished in the record."""
        started = self._loop.time()
        self._record.tool_started(command.tool_call_id, command.name, command.arguments, started)
        context = tools.ToolContext(
            call_sid=self.call_sid,
            business_id=self._agent.business_id,
            tool_call_id=command.tool_call_id,
            from_number=self._caller.from_number if self._caller is not None else "",
            to_number=self._caller.to_number if self._caller is not None else "",
            agent=self._agent,
            record=self._record,
            now=started,
            is_outbound=self._caller is not None and self._caller.direction == "outbound",
            line=self._secure_line,
            secrets=command.secrets,
        )
        output, state = await tools.answer(command.name, command.arguments, context, command.timeout_seconds)
        self._record.tool_finished(command.tool_call_id, output, state, self._loop.time())
        self.feed(ToolFinished(command.tool_call_id, output, succeeded=state == "finished"))


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
