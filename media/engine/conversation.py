"""What is said on both sides, while the call lasts: playback, answers, tools, keys and the transcript, put together.

`call.py` decides whether there is a conversation at all; here is what happens in it. Every method returns commands.
"""

from collections import Counter
from collections.abc import Sequence
from typing import assert_never

from media.engine import events
from media.engine.commands import (
    CancelResponse,
    ClearPlayback,
    Command,
    Greet,
    RecallConversation,
    Respond,
    SaveTurn,
    SendUserText,
    TruncateItem,
    Turn,
)
from media.engine.config import CallConfig
from media.engine.deadlines import Deadline, Deadlines
from media.engine.keypad import Keypad
from media.engine.playback import Playback
from media.engine.responses import Responses
from media.engine.toolcalls import TIMED_OUT, ToolCalls
from media.engine.transcript import Transcript

# What still counts after the stream is gone: words, their places and what they cost; no more audio, no more tools.
RecordEvent = (
    events.CallerSpeechStopped
    | events.ItemAdded
    | events.CallerTranscribed
    | events.CallerTranscriptFailed
    | events.AgentTextDelta
    | events.AgentTextDone
    | events.ResponseFinished
)


class Conversation:
    def __init__(self, config: CallConfig, deadlines: Deadlines, counters: Counter[str]) -> None:
        self.playback = Playback(config.goodbye_slack_seconds)
        self.responses = Responses()
        self.usage = events.Usage()
        self._config = config
        self._deadlines = deadlines
        self._counters = counters
        self._tools = ToolCalls()
        self._transcript = Transcript(config.transcript_grace_seconds, config.first_turn_index)
        self._past = frozenset(item.item_id for item in config.past)
        self._keypad = Keypad()

    @property
    def quiet(self) -> bool:
        """Has the agent said all it has to say, and has the caller heard it?"""
        return not (self.playback.busy or self.responses.busy or self._tools.pending)

    @property
    def text_owed(self) -> bool:
        return self._transcript.owed

    @property
    def caller_is_speaking(self) -> bool:
        return self._transcript.caller_is_speaking

    def begin(self) -> list[Command]:
        """Both sides are there: the agent speaks first, if it has a greeting, and knows what was said before."""
        commands: list[Command] = [RecallConversation(self._config.past)] if self._config.past else []
        if self._config.greeting:
            self.responses.greeting_asked()
            commands.append(Greet(self._config.greeting))
        return commands

    # --- What the model says --------------------------------------------------------------------------------

    def receive(self, event: events.ConversationEvent, now: float) -> list[Command]:
        match event:
            case events.ModelAudio():
                return self._audio(event, now)
            case events.CallerSpeechStarted():
                return self._caller_speaks_up(event, now)
            case events.ToolCalled():
                return self._tool_called(event, now)
            case events.ResponseStarted():
                self.responses.started(event.response_id)
                return []
            case events.AgentAudioDone():
                return [*self.playback.finish(event.item_id, now)]
            case events.ResponseFinished():
                return self._response_finished(event, now)
            case _:
                self.record(event, now)
                return []

    def record(self, event: RecordEvent, now: float) -> None:
        """Only note what was said; this also goes on after the stream is gone."""
        match event:
            case events.AgentTextDelta():
                self._transcript.agent_text(event.item_id, event.text, now)
            case events.AgentTextDone():
                self._transcript.agent_text_done(event.item_id, event.text, now)
            case events.ItemAdded() if event.item_id in self._past:
                pass  # the model's echo: the turns of an earlier stream are in the record already
            case events.ItemAdded():
                self._transcript.item_added(event.item_id, event.role, event.previous_item_id, event.text, now)
            case events.CallerTranscribed():
                self._transcript.caller_said(event.item_id, event.text, now)
            case events.CallerTranscriptFailed():
                self._counters["transcripts_failed"] += 1
                self._transcript.caller_unclear(event.item_id, now)
            case events.CallerSpeechStopped():
                self._transcript.speech_stopped(event.item_id, now)
                self.responses.caller_stopped(now)
            case events.ResponseFinished():
                self._count_response(event)
            case _:
                assert_never(event)

    def _audio(self, event: events.ModelAudio, now: float) -> list[Command]:
        if self.responses.is_cut(event.response_id):
            self._counters["late_audio_deltas"] += 1
            self.playback.refuse(event.response_id, event.item_id, event.payload, now)
            return []
        self.responses.note_audio(event.response_id)
        self._transcript.agent_item(event.item_id, now)
        commands = self.playback.receive(event.response_id, event.item_id, event.payload, now)
        if not commands:
            self._counters["late_audio_deltas"] += 1
        self._deadlines.set(Deadline.PLAYBACK, self.playback.deadline())
        return [*commands]

    def _caller_speaks_up(self, event: events.CallerSpeechStarted, now: float) -> list[Command]:
        """Stop the agent: 1. what was heard, 2. clear, 3. tell the model how much was heard, 4. cancel the rest."""
        self._transcript.speech_started(event.item_id, now)
        self.responses.caller_started()
        active, was_busy = self.responses.active, self.playback.busy
        if active is None and not was_busy:
            return []
        lost = self.playback.cut(now)
        commands: list[Command] = []
        if was_busy:
            self._counters["interruptions"] += 1
            commands.append(ClearPlayback())
        for item in lost:
            self.responses.cut(item.response_id)
            if self._config.traits.needs_truncate and item.received:
                commands.append(TruncateItem(item.item_id, min(item.heard_ms, item.received_ms)))
        if active is not None:
            self.responses.cut(active)
            if not self._config.traits.cancels_itself:
                commands.append(CancelResponse(active))
        return commands

    def _response_finished(self, event: events.ResponseFinished, now: float) -> list[Command]:
        self._count_response(event)
        self.responses.finished(event.response_id)
        commands: list[Command] = [*self.playback.finish_response(event.response_id, now)]
        self._want_answers_to_tools()
        return commands

    def _count_response(self, event: events.ResponseFinished) -> None:
        self.usage += event.usage
        if event.status in ("failed", "incomplete"):
            self._counters[f"responses_{event.status}"] += 1

    # --- Tools, keys, marks ---------------------------------------------------------------------------------

    def asks_to_end(self, event: events.ToolCalled) -> bool:
        """Is this a call, not seen before, of a tool that ends the call? Not if the caller spoke up meanwhile."""
        spec = self._config.tools.get(event.name)
        if spec is None or not spec.ends_call or self.responses.is_cut(event.response_id):
            return False
        return self._tools.is_new(event.tool_call_id)

    def _tool_called(self, event: events.ToolCalled, now: float) -> list[Command]:
        spec = self._config.tools.get(event.name)
        if spec is None:
            self._counters["unknown_tools"] += 1
        commands: list[Command] = [*self._tools.called(event, spec, now)]
        self._want_answers_to_tools()
        return commands

    def tool_finished(self, event: events.ToolFinished) -> list[Command]:
        commands: list[Command] = [*self._tools.finished(event.tool_call_id, event.output)]
        self._want_answers_to_tools()
        return commands

    def _want_answers_to_tools(self) -> None:
        """A response that said its goodbye and then asked to end the call needs no further answer."""
        for response_id, only_ends_call in self._tools.answered(self.responses.active):
            if not (only_ends_call and self.responses.spoke(response_id)):
                self.responses.want()

    def mark_reached(self, event: events.MarkReached, now: float) -> None:
        if not self.playback.mark_reached(event.name, now):
            self._counters["stale_marks"] += 1

    def key_pressed(self, event: events.DtmfPressed, now: float) -> list[Command]:
        return self._keys_done() if self._keypad.press(event.digit, now) else []

    def _keys_done(self) -> list[Command]:
        self.responses.want()
        return [SendUserText(self._keypad.take())]

    # --- Time -----------------------------------------------------------------------------------------------

    def playback_overdue(self, now: float) -> list[Command]:
        self._counters["overdue_marks"] += 1
        return [*self.playback.tick(now)]

    def transcripts_overdue(self, now: float) -> None:
        self._counters["transcripts_missing"] += self._transcript.tick(now)

    def tools_overdue(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for tool_call_id in self._tools.expired(now):
            self._counters["tool_timeouts"] += 1
            commands += self.tool_finished(events.ToolFinished(tool_call_id, TIMED_OUT))
        return commands

    def keys_overdue(self) -> list[Command]:
        return self._keys_done()

    # --- After every event ----------------------------------------------------------------------------------

    def follow_up(self, now: float) -> list[Command]:
        """What became due by the last event: an answer that can be asked for, turns that are settled, new deadlines."""
        commands: list[Command] = [Respond()] if self.responses.may_ask(now) else []
        commands += [SaveTurn(turn) for turn in self._transcript.to_save(self.playback.items, quiet=self.quiet)]
        self._deadlines.set(Deadline.PLAYBACK, self.playback.deadline())
        self._deadlines.set(Deadline.TRANSCRIPT, self._transcript.deadline())
        self._deadlines.set(Deadline.TOOL, self._tools.deadline())
        self._deadlines.set(Deadline.KEYPAD, self._keypad.deadline())
        self._deadlines.set(Deadline.ANSWER, self.responses.deadline(now))
        return commands

    def stop(self, now: float) -> None:
        """The stream is gone: nothing more will be heard."""
        self.playback.cut(now)

    def turns(self) -> Sequence[Turn]:
        return self._transcript.all_turns(self.playback.items)
