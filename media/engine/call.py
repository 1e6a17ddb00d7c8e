"""One phone call: events and the time go in, commands and the next deadline come out.

The theory of operation. `receive` is the only way in for what happens, `tick` for time that has passed; both
return the commands to perform, in order, at once. `deadline` is when `tick` wants to be called next; None means
that the call is over, has been reported by exactly one FinishCall, and meets every later event with silence.

Here is the life of the call: which half of it is open, when it talks, why it ends. What is said in it is in
`conversation.py`, the states and their moves are in `states.py`.
"""

from collections import Counter
from typing import assert_never

from media.engine import events, states
from media.engine.caller_audio import WaitingAudio
from media.engine.commands import CloseModel, CloseStream, Command, CommitAudio, FinishCall, ForwardAudio
from media.engine.config import CallConfig
from media.engine.conversation import Conversation, RecordEvent
from media.engine.deadlines import Deadline, Deadlines
from media.engine.states import CallState, Move

# What a call's status is when its stream ends without the call: it may go on in another one, or with a person. Its end
# is then told by whoever comes next, or by the carrier.
GOES_ON = "in-progress"
THINKING_SECONDS = 5.0  # a goodbye that has not begun by then will not be spoken
MAX_ERROR_CODES = 20  # codes come from outside: count so many of them by name, the rest together


class Call:
    """The state machine of one call. Times are seconds of one monotonic clock, and never go back."""

    def __init__(self, config: CallConfig, now: float) -> None:
        self.state = states.INITIAL
        self._live = False  # kept beside the state because every frame asks for it
        self._config = config
        self._counters: Counter[str] = Counter()
        self._deadlines = Deadlines()
        self._deadlines.set(Deadline.START, now + config.start_timeout_seconds)
        self._deadlines.set(Deadline.MODEL_READY, now + config.model_ready_timeout_seconds)
        self._conversation = Conversation(config, self._deadlines, self._counters)
        self._waiting_audio = WaitingAudio()
        self._last_frame = now
        self._started = False
        self._model_gone = False
        self._status = ""
        self.ended_reason = ""  # public like `state`: what comes after the stream depends on it, before FinishCall

    def deadline(self) -> float | None:
        """When to call `tick`; None: the call is over."""
        return self._deadlines.earliest()

    def receive(self, event: events.Event, now: float) -> list[Command]:
        """Take one event; return what is to be done about it."""
        if isinstance(event, events.CallerAudio):  # 50 times a second in every call: first, and cheap
            self._last_frame = now
            if self._live:
                return [ForwardAudio(event.payload)]
            return self._audio_too_early_or_late(event)
        if self.state is CallState.OVER:
            return []
        if isinstance(event, events.ConversationEvent):
            return self._conversation_event(event, now)
        if isinstance(event, events.StreamEvent):
            return self._stream_event(event, now)
        if isinstance(event, events.SessionEvent):
            return self._session_event(event, now)
        if isinstance(event, events.OwnEvent):
            return self._own_event(event, now)
        assert_never(event)

    def tick(self, now: float) -> list[Command]:
        """Act on every deadline that has passed."""
        commands: list[Command] = []
        while (name := self._deadlines.expire(now)) is not None:
            commands += self._expired(name, now)
        return commands

    # --- Events, by where they come from --------------------------------------------------------------------

    def _stream_event(self, event: events.StreamEvent, now: float) -> list[Command]:
        match event:
            case events.MarkReached():
                self._conversation.mark_reached(event, now)
                return self._follow_up(now)
            case events.StreamStarted():
                return self._stream_started(now)
            case events.DtmfPressed():
                if not self._live:
                    return self._unexpected()
                self._cancel_goodbye()
                return self._conversation.key_pressed(event, now) + self._follow_up(now)
            case events.StreamStopped():
                return self._stream_gone("completed", "caller_hung_up", now)
            case events.CarrierClosed() if self.state is CallState.SAYING_GOODBYE:
                return self._stream_gone("completed", "agent_ended", now)
            case events.CarrierClosed():
                return self._stream_gone(GOES_ON, "stream_lost", now)
            case events.CallCompleted():
                return self._end("completed", "caller_hung_up", now)
            case events.UnknownCarrierEvent():
                self._counters["unknown_carrier_events"] += 1
                return []
            case _:
                assert_never(event)

    def _session_event(self, event: events.SessionEvent, now: float) -> list[Command]:
        match event:
            case events.ModelReady():
                return self._model_ready(now)
            case events.ModelError():
                self._count_error(event.code)
                if event.fatal:
                    return self._model_failed(now)
                if not event.benign:
                    self._conversation.responses.refused(answering_already=event.answering_already)
                return self._follow_up(now)
            case events.ModelClosed():
                self._model_gone = True
                return self._model_failed(now)
            case events.UnknownModelEvent():
                self._counters["unknown_model_events"] += 1
                return []
            case _:
                assert_never(event)

    def _own_event(self, event: events.OwnEvent, now: float) -> list[Command]:
        match event:
            case events.ToolFinished():
                if not self._live:
                    return []  # the call ended while the tool was running
                return self._conversation.tool_finished(event) + self._follow_up(now)
            case events.ShutdownRequested():
                return self._end("completed" if self._started else "failed", "server_stopped", now)
            case events.HandOverRequested():
                if not self._live:
                    return self._hand_over(now)
                self._deadlines.set(Deadline.HAND_OVER, now + event.within_seconds)
                return self._follow_up(now)
            case _:
                assert_never(event)

    def _conversation_event(self, event: events.ConversationEvent, now: float) -> list[Command]:
        if self.state is CallState.SETTLING:
            if isinstance(event, RecordEvent):
                self._conversation.record(event, now)
            return self._finish_if_settled(now)
        if not self._live:
            return self._unexpected()
        if isinstance(event, events.CallerSpeechStarted):
            self._cancel_goodbye()
        ending = isinstance(event, events.ToolCalled) and self._conversation.asks_to_end(event)
        commands = self._conversation.receive(event, now)
        if isinstance(event, events.ModelAudio | events.AgentTextDelta):
            return commands  # many of them, and they settle nothing
        if ending:
            self._begin_goodbye(now)
        return commands + self._follow_up(now)

    # --- Opening --------------------------------------------------------------------------------------------

    def _stream_started(self, now: float) -> list[Command]:
        if Move.STREAM_STARTED not in states.MOVES[self.state]:
            return self._unexpected()
        self._move(Move.STREAM_STARTED)
        self._started = True
        self._last_frame = now
        self._deadlines.drop(Deadline.START)
        self._deadlines.set(Deadline.MEDIA, now + self._config.media_timeout_seconds)
        self._deadlines.set(Deadline.MAX_DURATION, now + self._config.max_call_seconds)
        return self._begin_if_open()

    def _model_ready(self, now: float) -> list[Command]:
        if Move.MODEL_READY not in states.MOVES[self.state]:
            return self._unexpected()
        self._move(Move.MODEL_READY)
        self._deadlines.drop(Deadline.MODEL_READY)
        return self._begin_if_open()

    def _begin_if_open(self) -> list[Command]:
        if self.state is not CallState.TALKING:
            return []
        waiting = [ForwardAudio(payload) for payload in self._waiting_audio.release()]
        return [*self._conversation.begin(), *waiting]

    def _audio_too_early_or_late(self, event: events.CallerAudio) -> list[Command]:
        if self.state is CallState.STREAM_OPEN:
            self._counters["dropped_frames"] += self._waiting_audio.keep(event.payload)
        elif self.state is CallState.SETTLING:
            self._counters["frames_after_end"] += 1
        elif self.state is not CallState.OVER:
            self._counters["dropped_frames"] += 1
        return []

    # --- Saying goodbye -------------------------------------------------------------------------------------

    def _begin_goodbye(self, now: float) -> None:
        if self.state is CallState.TALKING:
            self._move(Move.AGENT_ENDS)
            self._deadlines.set(Deadline.GOODBYE, now + THINKING_SECONDS + self._config.goodbye_slack_seconds)

    def _cancel_goodbye(self) -> None:
        if self.state is CallState.SAYING_GOODBYE:
            self._move(Move.CALLER_SPOKE_UP)
            self._deadlines.drop(Deadline.GOODBYE)
            self._counters["goodbyes_cancelled"] += 1

    def _goodbye_overdue(self, now: float) -> list[Command]:
        """Audio that is left may still be played; nothing else is waited for any longer."""
        audio_left = self._conversation.playback.deadline()
        if audio_left is not None and audio_left > now:
            self._deadlines.set(Deadline.GOODBYE, audio_left)
            return []
        return self._end("completed", "agent_ended", now)

    def _follow_up(self, now: float) -> list[Command]:
        if not self._live:
            return []
        commands = self._conversation.follow_up(now)
        if self.state is CallState.SAYING_GOODBYE:
            if self._conversation.quiet:
                commands += self._end("completed", "agent_ended", now)
        elif Deadline.HAND_OVER in self._deadlines and self._nobody_speaks(now):
            commands += self._hand_over(now)
        return commands

    # --- Handing over ---------------------------------------------------------------------------------------

    def _nobody_speaks(self, now: float) -> bool:
        """Is this a moment at which nothing is lost: nothing said half, no answer on its way, no key waiting?"""
        answer_expected = self._conversation.responses.expected(now)
        return self._conversation.quiet and not answer_expected and Deadline.KEYPAD not in self._deadlines

    def _hand_over(self, now: float) -> list[Command]:
        """Our stream ends and the call goes on elsewhere, but for one that the agent is about to end anyway."""
        if self.state is CallState.SAYING_GOODBYE:
            return self._end("completed", "agent_ended", now)
        return self._end(GOES_ON, "server_stopped", now)

    # --- Time -----------------------------------------------------------------------------------------------

    def _expired(self, name: Deadline, now: float) -> list[Command]:
        conversation = self._conversation
        match name:
            case Deadline.START:
                return self._end(GOES_ON, "never_connected", now)
            case Deadline.MODEL_READY:
                return self._model_failed(now)
            case Deadline.MAX_DURATION:
                return self._end("completed", "max_duration", now)
            case Deadline.MEDIA:
                return self._media_overdue(now)
            case Deadline.PLAYBACK:
                return conversation.playback_overdue(now) + self._follow_up(now)
            case Deadline.TRANSCRIPT:
                conversation.transcripts_overdue(now)
                return self._follow_up(now)
            case Deadline.TOOL:
                return conversation.tools_overdue(now) + self._follow_up(now)
            case Deadline.KEYPAD:
                return conversation.keys_overdue() + self._follow_up(now)
            case Deadline.ANSWER:
                return self._follow_up(now)
            case Deadline.GOODBYE:
                return self._goodbye_overdue(now)
            case Deadline.HAND_OVER:
                return self._hand_over(now)
            case Deadline.SETTLE:
                return self._finish(now)
            case _:
                assert_never(name)

    def _media_overdue(self, now: float) -> list[Command]:
        due = self._last_frame + self._config.media_timeout_seconds
        if due > now:  # frames do not move the deadline, they are too many; it is looked up when it passes
            self._deadlines.set(Deadline.MEDIA, due)
            return []
        return self._end(GOES_ON, "stream_lost", now)

    # --- Ending ---------------------------------------------------------------------------------------------

    def _stream_gone(self, status: str, reason: str, now: float) -> list[Command]:
        if not self._started:
            return self._end(GOES_ON, "never_connected", now, close_stream=False)
        return self._end(status, reason, now, close_stream=False)

    def _model_failed(self, now: float) -> list[Command]:
        if self.state is CallState.SETTLING:
            return self._finish(now)
        return self._end(GOES_ON, "model_failed", now, settle=False)

    def _end(
        self, status: str, reason: str, now: float, *, close_stream: bool = True, settle: bool = True
    ) -> list[Command]:
        """The first reason to end a call is the one that counts; later ones change nothing."""
        if self.state is CallState.SETTLING:
            return []
        self._move(Move.ENDED)
        self._status, self.ended_reason = status, reason
        self._conversation.stop(now)
        self._counters["dropped_frames"] += len(self._waiting_audio.release())
        self._deadlines.clear()
        commands: list[Command] = [CloseStream()] if close_stream else []
        if not (settle and self._conversation.text_owed):
            return commands + self._finish(now)
        if self._conversation.caller_is_speaking:
            commands.append(CommitAudio())  # hung up in mid-sentence: no silence will follow to end it
        self._deadlines.set(Deadline.SETTLE, now + self._config.settle_seconds)
        return commands

    def _finish_if_settled(self, now: float) -> list[Command]:
        return [] if self._conversation.text_owed else self._finish(now)

    def _finish(self, now: float) -> list[Command]:
        self._move(Move.SETTLED)
        self._deadlines.clear()
        counters = {name: count for name, count in self._counters.items() if count}
        finish = FinishCall(
            status=self._status,
            ended_reason=self.ended_reason,
            turns=tuple(self._conversation.turns()),
            counters=counters,
            usage=self._conversation.usage,
        )
        return [finish] if self._model_gone else [CloseModel(), finish]

    # --- Small change ---------------------------------------------------------------------------------------

    def _move(self, move: Move) -> None:
        self.state = states.after(self.state, move)
        self._live = self.state in states.LIVE

    def _unexpected(self) -> list[Command]:
        """Something out of its time; the other side's mistake, and no reason to end a call."""
        self._counters["unexpected_events"] += 1
        return []

    def _count_error(self, code: str) -> None:
        name = f"error_{code[:60]}"
        known = sum(counter.startswith("error_") for counter in self._counters)
        self._counters[name if name in self._counters or known < MAX_ERROR_CODES else "error_other"] += 1
