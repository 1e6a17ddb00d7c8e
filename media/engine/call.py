"""One phone call: events and the time go in, commands and the next deadline come out.

The theory of operation. `receive` is the only way in for what happens (with `hear`, its short way for the caller's
audio), `tick` for time that has passed; both return the commands to perform, in order, at once. `deadline` is when
`tick` wants to be called next; None means that the call is over, has been reported by exactly one FinishCall, and meets
every later event with silence.

Here is the life of the call: which half of it is open, when it talks, why it ends. What is said in it is in
`conversation.py`, the states and their moves are in `states.py`.
"""

from collections import Counter
from typing import assert_never

from media.engine import events, states
from media.engine.caller_audio import SILENT_FRAME, WaitingAudio
from media.engine.commands import CloseModel, CloseStream, Command, CommitAudio, FinishCall, ForwardAudio, GiveDigits
from media.engine.config import CallConfig
from media.engine.conversation import Conversation, RecordEvent
from media.engine.deadlines import Deadline, Deadlines
from media.engine.idle import Step
from media.engine.link import ModelLink
from media.engine.states import CallState, Move

# What a call's status is when its stream ends without the call: it may go on in another one, or with a person. Its end
# is then told by whoever comes next, or by the carrier.
GOES_ON = "in-progress"
PUT_THROUGH = "transferred"  # calls.models.EndedReason: the carrier is told whom to dial when the stream is closed
THINKING_SECONDS = 5.0  # a goodbye that has not begun by then will not be spoken
FEW_FAILURES = 1  # answers that failed; a model that gave more of them was not silent
MAX_ERROR_CODES = 20  # codes come from outside: count so many of them by name, the rest together


class Call:
    """The state machine of one call. Times are seconds of one monotonic clock, and never go back."""

    def __init__(self, config: CallConfig, now: float) -> None:
        self.state = states.INITIAL
        self._forwards = False  # live, with a model that may hear: kept beside because every frame asks for it
        self._config = config
        self._counters: Counter[str] = Counter()
        self._deadlines = Deadlines()
        self._deadlines.set(Deadline.START, now + config.start_timeout_seconds)
        self._link = ModelLink(config, self._deadlines, now)
        self._conversation = Conversation(config, self._deadlines, self._counters)
        self._caller_audio = self._conversation.floor.caller_audio
        self._waiting_audio = WaitingAudio()
        self._last_frame = now
        self._started = False
        self._wraps_up = False  # the longest call is nearly reached, and the agent has not said so
        self._status = ""
        self._gives_up_with = ""  # the reason of a call that was given up before its line was open
        self._goodbye = ("", "")  # status and reason of a call that ends with the last words on the line
        self.ended_reason = ""  # public like `state`: what comes after the stream depends on it, before FinishCall

    def deadline(self) -> float | None:
        """When to call `tick`; None: the call is over."""
        return self._deadlines.earliest()

    def receive(self, event: events.Event, now: float) -> list[Command]:
        """Take one event; return what is to be done about it."""
        if isinstance(event, events.CallerAudio):
            forwarded = self.hear(event.payload, now)
            return [] if forwarded is None else [ForwardAudio(forwarded)]
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

    def hear(self, payload: str, now: float) -> str | None:
        """Take a frame of the caller, base64; return what the model is to hear at once, if anything.

        50 times a second in every call: it makes no objects and moves no deadlines.
        """
        self._last_frame = now
        if self._forwards:
            self._caller_audio.append(payload)
            return payload
        return self._audio_kept_back(payload)

    def tick(self, now: float) -> list[Command]:
        """Act on every deadline that has passed."""
        commands: list[Command] = []
        while (name := self._deadlines.expire(now)) is not None:
            commands += self._expired(name, now)
        return commands

    @property
    def _live(self) -> bool:
        return self.state in states.LIVE

    @property
    def _given_up(self) -> bool:
        return self._link.given_up

    # --- Events, by where they come from --------------------------------------------------------------------

    def _stream_event(self, event: events.StreamEvent, now: float) -> list[Command]:
        match event:
            case events.MarkReached():
                # Most tell of the middle of a sentence, which settles nothing.
                return self._follow_up(now) if self._conversation.mark_reached(event, now) else []
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
                return self._stream_gone(*self._goodbye, now)
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
                return self._model_ready(event, now)
            case events.ModelError():
                self._count_error(event.code)
                if event.fatal:
                    return self._model_lost(fresh=False, permanent=event.permanent, now=now)
                if not event.benign:
                    self._conversation.responses.refused(now, answering_already=event.answering_already)
                return self._follow_up(now)
            case events.ModelClosed():
                return self._model_lost(fresh=event.fresh, permanent=event.permanent, now=now)
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
                return self._tool_finished(event, now)
            case events.DigitsWanted():
                if not self._live:
                    return [GiveDigits(event.tool_call_id)]
                return self._conversation.digits_wanted(event, now) + self._follow_up(now)
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
        if not self._live or not self._link.up:
            return self._unexpected()
        ending = isinstance(event, events.ToolCalled) and self._conversation.asks_to_end(event)
        if isinstance(event, events.ResponseFinished) and event.status == "completed":
            self._link.answered()
        commands = self._conversation.receive(event, now)
        if isinstance(event, events.ModelAudio | events.AgentTextDelta):
            return commands  # many of them, and they settle nothing
        if ending:
            self._begin_goodbye("completed", "agent_ended", now)
        return commands + self._follow_up(now)

    def _tool_finished(self, event: events.ToolFinished, now: float) -> list[Command]:
        puts_through = self._conversation.puts_through(event)
        commands = self._conversation.tool_finished(event, puts_through=puts_through)
        if puts_through:
            self._begin_goodbye(GOES_ON, PUT_THROUGH, now)
        return commands + self._follow_up(now)

    # --- Opening --------------------------------------------------------------------------------------------

    def _stream_started(self, now: float) -> list[Command]:
        if Move.STREAM_STARTED not in states.MOVES[self.state]:
            return self._unexpected()
        self._move(Move.STREAM_STARTED)
        self._started = True
        self._last_frame = now
        longest = self._config.max_call_seconds
        self._deadlines.drop(Deadline.START)
        self._deadlines.set(Deadline.MEDIA, now + self._config.media_timeout_seconds)
        self._deadlines.set(Deadline.MAX_DURATION, now + longest)
        self._deadlines.set(Deadline.WRAP_UP, now + max(longest / 2, longest - self._config.wrap_up_seconds))
        if self._gives_up_with:
            return self._give_up(self._gives_up_with, now)
        commands = self._conversation.greet_early(now)
        if self._live:
            commands += self._model_takes_over(now)
        return commands + self._follow_up(now)

    def _model_ready(self, event: events.ModelReady, now: float) -> list[Command]:
        if self.state is CallState.SETTLING or not self._link.opening or self._gives_up_with:
            return self._unexpected()
        self._link.ready(event.expires_at)
        if Move.MODEL_READY in states.MOVES[self.state]:
            self._move(Move.MODEL_READY)
            switch = self._link.switch(now)
            return switch if not self._live else switch + self._model_takes_over(now) + self._follow_up(now)
        return self._follow_up(now)

    def _model_takes_over(self, now: float) -> list[Command]:
        self._look_whether_it_hears()
        waiting = [ForwardAudio(payload) for payload in self._waiting_audio.release()]
        return [*self._conversation.model_up(now), *waiting]

    def _audio_kept_back(self, payload: str) -> str | None:
        if self._live and self._conversation.secure.active:
            # Not nothing: the model's clock is what it hears, and whatever the caller was saying has to come to an end.
            self._caller_audio.append(SILENT_FRAME)
            if self._link.up:
                return SILENT_FRAME
            self._counters["dropped_frames"] += 1
        elif self.state is CallState.STREAM_OPEN or self._live:
            self._counters["dropped_frames"] += self._waiting_audio.keep(payload)
        elif self.state is CallState.SETTLING:
            self._counters["frames_after_end"] += 1
        elif self.state is not CallState.OVER:
            self._counters["dropped_frames"] += 1
        return None

    # --- Losing the model -----------------------------------------------------------------------------------

    def _model_lost(self, *, fresh: bool, permanent: bool, now: float) -> list[Command]:
        if self.state is CallState.SETTLING:
            return [] if fresh else self._finish(now)
        if self._given_up:
            return []
        was_up = self._link.up
        commands = self._link.lost(fresh=fresh, permanent=permanent, now=now)
        if self._link.refused and not self._link.up:
            return self._give_up("model_refused", now)
        return self._without_model(was_up, commands, now)

    def _replace_model(self, now: float) -> list[Command]:
        return self._without_model(self._link.up, self._link.replace(now), now)

    def _without_model(self, was_up: bool, commands: list[Command], now: float) -> list[Command]:
        lost = was_up and not self._link.up
        if lost and self.state is CallState.MODEL_OPEN:
            self._move(Move.MODEL_LOST)
        elif lost and self._live:
            self._counters["model_lost"] += 1
            self._look_whether_it_hears()
            commands = commands + self._conversation.model_down(now)
            for payload in self._conversation.unheard:
                self._waiting_audio.keep(payload)
                self._counters["frames_again"] += 1
            if self._link.worn_out:
                return self._give_up("model_failed", now)
        return commands + self._follow_up(now)

    def _give_up(self, reason: str, now: float) -> list[Command]:
        """The call goes to a person; with an apology, if there is one to be played without the model. One that the
        agent is about to end anyway ends with what is left of the goodbye."""
        can_apologise = "apology" in self._config.clips
        if self.state is CallState.MODEL_OPEN:
            self._move(Move.MODEL_LOST)
        if self.state is CallState.CONNECTING and can_apologise:
            self._link.give_up()
            self._gives_up_with = reason  # it is said as soon as the line is open
            return []
        says_goodbye = self.state is CallState.SAYING_GOODBYE
        apologises = self.state in (CallState.TALKING, CallState.STREAM_OPEN) and can_apologise
        if not (says_goodbye or apologises):
            return self._end(GOES_ON, reason, now, settle=False)
        self._link.give_up()
        self._look_whether_it_hears()
        commands = self._conversation.model_down(now)
        if says_goodbye:
            return commands + self._follow_up(now)
        commands += self._conversation.silence_agent(now)
        self._begin_goodbye(GOES_ON, reason, now)
        return commands + self._conversation.say("apology", now) + self._follow_up(now)

    def _look_whether_it_hears(self) -> None:
        self._forwards = self._live and self._link.up and not self._conversation.secure.active

    # --- Saying goodbye -------------------------------------------------------------------------------------

    def _begin_goodbye(self, status: str, reason: str, now: float) -> None:
        if Move.AGENT_ENDS in states.MOVES[self.state]:
            self._move(Move.AGENT_ENDS)
            self._goodbye = (status, reason)
            self._deadlines.set(Deadline.GOODBYE, now + THINKING_SECONDS + self._config.goodbye_slack_seconds)
        elif reason == PUT_THROUGH and not self._given_up:  # asked for together with the end: it is meant as the end
            self._goodbye = (status, reason)

    def _cancel_goodbye(self) -> None:
        if self.state is CallState.SAYING_GOODBYE and not self._given_up:
            self._move(Move.CALLER_SPOKE_UP)
            self._goodbye = ("", "")
            self._deadlines.drop(Deadline.GOODBYE)
            self._counters["goodbyes_cancelled"] += 1

    def _goodbye_overdue(self, now: float) -> list[Command]:
        """Audio that is left may still be played, and a sound of the caller judged; nothing else is waited for."""
        later = self._conversation.last_words_until(now)
        if later is not None:
            self._deadlines.set(Deadline.GOODBYE, later)
            return []
        return self._end(*self._goodbye, now)

    def _follow_up(self, now: float) -> list[Command]:
        if not self._live:
            return []
        self._look_whether_it_hears()
        commands: list[Command] = []
        pause = self._conversation.nobody_speaks(now) and not self._conversation.text_owed
        if self._link.may_switch(pause=pause) and not self._given_up:
            commands += self._link.switch(now)
            self._counters["model_renewals"] += 1
            commands += self._model_takes_over(now)
        commands += self._conversation.follow_up(now)
        if self._conversation.floor.take_caller_spoke():
            self._cancel_goodbye()
        if self._conversation.responses.failing and self._link.up:
            return commands + self._replace_model(now)
        if self.state is CallState.SAYING_GOODBYE:
            if self._conversation.quiet or (self._given_up and not self._conversation.playback.busy):
                commands += self._end(*self._goodbye, now)
        elif Deadline.HAND_OVER in self._deadlines and self._conversation.nobody_speaks(now):
            commands += self._hand_over(now)
        elif self._wraps_up and self._conversation.nobody_speaks(now):
            self._wraps_up = False
            commands += self._conversation.say("wrap_up", now) + self._conversation.follow_up(now)
        return commands

    # --- Handing over ---------------------------------------------------------------------------------------

    def _hand_over(self, now: float) -> list[Command]:
        """Our stream ends and the call goes on elsewhere, but for one that the agent is about to end anyway."""
        if self.state is CallState.SAYING_GOODBYE:
            return self._end(*self._goodbye, now)
        return self._end(GOES_ON, "server_stopped", now)

    # --- Time -----------------------------------------------------------------------------------------------

    def _expired(self, name: Deadline, now: float) -> list[Command]:
        match name:
            case Deadline.START:
                return self._end(GOES_ON, "never_connected", now)
            case Deadline.MODEL_READY:
                return self._give_up("model_failed", now)
            case Deadline.MODEL_RETRY:
                return self._link.retry()
            case Deadline.RENEWAL:
                return self._link.renew()
            case Deadline.MAX_DURATION:
                return self._end("completed", "max_duration", now)
            case Deadline.MEDIA:
                return self._media_overdue(now)
            case Deadline.GOODBYE:
                return self._goodbye_overdue(now)
            case Deadline.HAND_OVER:
                return self._hand_over(now)
            case Deadline.SETTLE:
                return self._finish(now)
            case Deadline.PLAYBACK if self._conversation.only_goes_on_speaking(now):
                return self._conversation.playback_due(now)
            case Deadline.DEAD_AIR:
                return self._dead_air(now)
            case Deadline.SILENCE:
                return self._silence(now)
            case Deadline.WRAP_UP:
                self._wraps_up = True
                return self._follow_up(now)
            case _:
                return self._conversation.expired(name, now) + self._follow_up(now)

    def _silence(self, now: float) -> list[Command]:
        commands, ends = self._conversation.silence_due(now)
        if ends:
            self._begin_goodbye("completed", "caller_silent", now)
        return commands + self._follow_up(now)

    def _dead_air(self, now: float) -> list[Command]:
        if self._given_up:
            return []
        commands, step = self._conversation.dead_air_due(now)
        if step is Step.GIVE_UP:
            failed = self._counters["responses_failed"] > FEW_FAILURES
            return self._give_up("model_failed" if failed else "model_silent", now)
        if step is Step.RENEW and self._link.up:
            commands += self._replace_model(now)
        return commands + self._follow_up(now)

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

    def _end(
        self, status: str, reason: str, now: float, *, close_stream: bool = True, settle: bool = True
    ) -> list[Command]:
        """The first reason to end a call is the one that counts; later ones change nothing."""
        if self.state is CallState.SETTLING:
            return []
        self._move(Move.ENDED)
        self._status, self.ended_reason = status, reason
        given = self._conversation.stop(now)
        self._counters["dropped_frames"] += len(self._waiting_audio.release())
        self._deadlines.clear()
        commands: list[Command] = [CloseStream(), *given] if close_stream else given
        if not (settle and self._link.up and self._conversation.text_owed):
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
        return [CloseModel(), finish]

    # --- Small change ---------------------------------------------------------------------------------------

    def _move(self, move: Move) -> None:
        self.state = states.after(self.state, move)
        self._look_whether_it_hears()

    def _unexpected(self) -> list[Command]:
        """Something out of its time; the other side's mistake, and no reason to end a call."""
        self._counters["unexpected_events"] += 1
        return []

    def _count_error(self, code: str) -> None:
        name = f"error_{code[:60]}"
        known = sum(counter.startswith("error_") for counter in self._counters)
        self._counters[name if name in self._counters or known < MAX_ERROR_CODES else "error_other"] += 1
