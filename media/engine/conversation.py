"""What is said on both sides, while the call lasts: playback, answers, tools, keys and the transcript, put together.

`call.py` decides whether there is a conversation at all; here is what happens in it. Whether the caller interrupts is
in `floor.py`. Every method returns commands.
"""

from collections import Counter
from collections.abc import Sequence
from typing import assert_never

from media.engine import events
from media.engine.commands import (
    ClearPlayback,
    Command,
    RecallConversation,
    SaveTurn,
    SendNote,
    SendToolResult,
    SendUserText,
    Turn,
)
from media.engine.config import CallConfig, Clip, PastItem
from media.engine.deadlines import Deadline, Deadlines
from media.engine.floor import Floor
from media.engine.idle import Step, dead_air_ladder, silence_ladder, tool_ladder
from media.engine.keypad import Keypad
from media.engine.playback import BYTES_PER_SECOND, Playback
from media.engine.responses import Responses
from media.engine.secure_input import SecureInput
from media.engine.tone import HOLD_TONE
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


DIGITS_LOST = (
    "[The connection was lost while the caller typed secret digits. None of them arrived, and what the caller types "
    "now does not count. Say so, and ask for them anew with the tool if they are still needed.]"
)


class Conversation:
    def __init__(self, config: CallConfig, deadlines: Deadlines, counters: Counter[str]) -> None:
        self.playback = Playback(config.goodbye_slack_seconds, config.ahead_seconds)
        self.responses = Responses(answers_itself=config.traits.answers_itself)
        self.usage = events.Usage()
        self.unheard: list[str] = []  # frames of the caller that the next session is to hear again
        self._config = config
        self._deadlines = deadlines
        self._counters = counters
        self._tools = ToolCalls()
        self._transcript = Transcript(
            config.transcript_grace_seconds, config.first_turn_index, config.traits.silence_seconds
        )
        self.floor = Floor(config, deadlines, counters, self.playback, self.responses, self._transcript)
        self._past = frozenset(item.item_id for item in config.past)
        self._keypad = Keypad()
        self.secure = SecureInput(config.first_turn_index, lost=config.digits_lost)
        if config.digits_lost:
            self._tools.notes.append(DIGITS_LOST)
        self._waits_for_caller = config.caller_speaks_first and not config.past
        self._silence = silence_ladder(
            config.silence_seconds, greet_after=config.caller_first_seconds if self._waits_for_caller else None
        )
        self._dead_air = dead_air_ladder(*config.dead_air_seconds)
        self._tool_wait = tool_ladder(config.tool_filler_seconds, config.tool_tone_seconds)
        self._tone_plays = False
        self._model_up = False
        self._greeted = False
        self._own = 0  # pieces of our own audio so far
        self._unsent: list[Command] = []  # for the model, while there is none

    @property
    def quiet(self) -> bool:
        """Has the agent said all it has to say, and has the caller heard it?"""
        return not (self.playback.busy or self.responses.busy or self._tools.pending or self.floor.in_doubt)

    def nobody_speaks(self, now: float) -> bool:
        """Is this a moment at which nothing is said half, no answer is on its way, no key waits for the next?"""
        return self.quiet and not self.responses.expected(now) and Deadline.KEYPAD not in self._deadlines

    @property
    def text_owed(self) -> bool:
        return self._transcript.owed

    @property
    def caller_is_speaking(self) -> bool:
        return self._transcript.caller_is_speaking

    # --- The model comes and goes ---------------------------------------------------------------------------

    def greet_early(self, now: float) -> list[Command]:
        """The stream is open, the model perhaps not: a greeting of our own need not wait for it."""
        return self._greet(now) if "greeting" in self._config.clips and not self._waits_for_caller else []

    def model_up(self, now: float) -> list[Command]:
        """A session takes over: it is told what was said before, and the agent greets if it has not."""
        self._model_up = True
        past = (*self._config.past, *self._transcript.past(self.playback.items))
        commands: list[Command] = [RecallConversation(past)] if past else []
        commands += [SendNote(note) for note in self._tools.notes]
        commands += self._unsent
        self._unsent = []
        if not self._waits_for_caller:
            commands += self._greet(now)
        return commands + self.responses.ask(now, sentences_only=True)

    def model_down(self, now: float) -> list[Command]:
        """The session is gone: what it has said is still played, what it owed is asked of the next."""
        if not self._model_up:
            return []
        self._model_up = False
        self.unheard = self.floor.take_unheard(now)
        half_said = self.playback.has_open_ends
        self._transcript.model_changed(now)
        self._tools.model_changed()
        commands = self.floor.model_changed(now)
        commands += self.playback.finish_all(now)
        self.responses.model_changed()
        if self.unheard:
            self.responses.drop_wish()  # it is asked for when the next session has heard the caller to the end
        elif self._greeted and (half_said or self._transcript.answer_owed):
            self.responses.want()
        return commands

    # --- What the model says --------------------------------------------------------------------------------

    def receive(self, event: events.ConversationEvent, now: float) -> list[Command]:
        match event:
            case events.ModelAudio():
                return self._audio(event, now)
            case events.CallerSpeechStarted():
                return self.floor.speech_started(event.item_id, now)
            case events.CallerSpeechStopped():
                self._transcript.speech_stopped(event.item_id, now)
                return self.floor.speech_stopped(event.item_id, now)
            case events.CallerTranscribed():
                self.record(event, now)
                if not event.text.strip():
                    return self.floor.nothing_was_said(event.item_id, now)
                self.floor.has_words(event.item_id, event.text)
                return []
            case events.CallerTranscriptFailed():
                self.record(event, now)
                self.floor.has_words(event.item_id, "")
                return []
            case events.ToolCalled():
                return self._tool_called(event, now)
            case events.ResponseStarted():
                return self.floor.response_started(event.response_id)
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
                self.usage += event.usage
                self._transcript.caller_said(event.item_id, event.text, now)
            case events.CallerTranscriptFailed():
                self._counters["transcripts_failed"] += 1
                self._transcript.caller_unclear(event.item_id, now)
            case events.CallerSpeechStopped():
                self._transcript.speech_stopped(event.item_id, now)
            case events.ResponseFinished():
                self._count_response(event)
            case _:
                assert_never(event)

    def _audio(self, event: events.ModelAudio, now: float) -> list[Command]:
        if self.responses.is_cut(event.response_id):
            self._counters["late_audio_deltas"] += 1
            self.playback.refuse(event.response_id, event.item_id, event.audio, now)
            return []
        self.responses.note_audio(event.response_id)
        self._transcript.agent_item(event.item_id, now)
        commands = self.playback.receive(event.response_id, event.item_id, event.audio, now)
        if self.playback.is_cut(event.item_id):
            self._counters["late_audio_deltas"] += 1
        self._dead_air.restart()
        self._deadlines.drop(Deadline.DEAD_AIR)
        self._deadlines.set(Deadline.PLAYBACK, self.playback.deadline())
        return [*commands]

    def _response_finished(self, event: events.ResponseFinished, now: float) -> list[Command]:
        self._count_response(event)
        self.responses.finished(event.response_id, event.status, now)
        if event.status == "completed":
            self.floor.answered()
        commands: list[Command] = [*self.playback.finish_response(event.response_id, now)]
        self._want_answers_to_tools()
        return commands

    def _count_response(self, event: events.ResponseFinished) -> None:
        self.usage += event.usage
        if event.status in ("failed", "incomplete"):
            self._counters[f"responses_{event.status}"] += 1

    # --- What we say ourselves ------------------------------------------------------------------------------

    def say(self, key: str, now: float) -> list[Command]:
        """Say a sentence of our own: as a clip, else by the model, once there is one. Nothing if there is neither."""
        clip = self._config.clips.get(key)
        if clip is not None:
            return self.play(clip, now)
        text = self._config.sentences.get(key, "")
        if text and not self.responses.busy:
            self.responses.want_said(text)
        return []

    def play(self, clip: Clip, now: float, protected_seconds: float = 0.0) -> list[Command]:
        """Play audio of our own, and tell the model what was said, if anything was."""
        self._own += 1
        item_id = f"own_{self._config.first_turn_index}_{self._own}"
        protected = int(protected_seconds * BYTES_PER_SECOND)
        commands: list[Command] = [
            *self.playback.receive("", item_id, clip.audio, now, protected),
            *self.playback.finish(item_id, now),
        ]
        if clip.text:
            self._transcript.own_words(item_id, clip.text, now)
            if self._model_up:
                commands.append(RecallConversation((PastItem(item_id, "assistant", clip.text),)))
        self._deadlines.set(Deadline.PLAYBACK, self.playback.deadline())
        return commands

    def _greet(self, now: float) -> list[Command]:
        clip = self._config.clips.get("greeting")
        if self._greeted or (clip is None and not self._model_up):
            return []
        self._greeted = True
        if clip is not None:
            return self.play(clip, now, self._config.protected_greeting_seconds)
        if self._config.greeting:
            self.responses.want_said(self._config.greeting)
        return []

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
        elif spec.collects_digits and self._tools.is_new(event.tool_call_id):
            self.secure.begin(event.tool_call_id)
            self._keypad.take()  # the beginning of them, perhaps, by a caller who could not wait
        commands: list[Command] = [*self._tools.called(event, spec, self.secure.secrets, now)]
        self._want_answers_to_tools()
        return commands

    def puts_through(self, event: events.ToolFinished) -> bool:
        """Does this answer mean that the caller is to be put through? Not if the caller spoke up meanwhile."""
        waiting = self._tools.waiting(event.tool_call_id)
        spec = self._config.tools.get(waiting[0]) if waiting is not None else None
        if waiting is None or spec is None or not spec.puts_through or not event.succeeded:
            return False
        return not self.responses.is_cut(waiting[1])

    def tool_finished(self, event: events.ToolFinished, *, puts_through: bool = False) -> list[Command]:
        given: list[Command] = [*self.secure.answered(event.tool_call_id)]
        commands: list[Command] = [*self._tools.finished(event.tool_call_id, event.output, ends_call=puts_through)]
        self._want_answers_to_tools()
        return given + self._to_model(commands)

    def digits_wanted(self, event: events.DigitsWanted, now: float) -> list[Command]:
        in_vain = self.secure.ask(event.tool_call_id, now)
        if not in_vain:
            self.responses.want_said(event.ask)
        return [*in_vain]

    def _want_answers_to_tools(self) -> None:
        """A response that said its goodbye and then asked to end the call needs no further answer."""
        for response_id, only_ends_call in self._tools.answered(self.responses.active):
            if not (only_ends_call and self.responses.spoke(response_id)):
                self.responses.want()

    def mark_reached(self, event: events.MarkReached, now: float) -> bool:
        """A mark came back. False: the agent goes on with what it is saying, and nothing follows from it."""
        unfinished = self.playback.unfinished
        if not self.playback.mark_reached(event.name, now):
            self._counters["stale_marks"] += 1
        self._deadlines.set(Deadline.PLAYBACK, self.playback.deadline())
        goes_on = self.playback.model_speaks and self.playback.unfinished == unfinished
        return not goes_on or self._somebody_waits_for_playback

    def key_pressed(self, event: events.DtmfPressed, now: float) -> list[Command]:
        self._caller_is_there()
        if self.secure.takes(now):
            return self._secret_key(event.digit, now)
        return self._keys_done() if self._keypad.press(event.digit, now) else []

    def _keys_done(self) -> list[Command]:
        self.responses.want()
        return self._to_model([SendUserText(self._keypad.take())])

    def _secret_key(self, digit: str, now: float) -> list[Command]:
        if not self.secure.asks:
            self.secure.ignore(digit, now)
            return []
        self.responses.drop_sentence()
        self.secure.press(digit, now)
        commands = self.floor.key_pressed(now)
        if self._model_up:
            return commands
        return [command for command in commands if isinstance(command, ClearPlayback)]

    def _to_model(self, commands: list[Command]) -> list[Command]:
        """While there is no model, what it has to know waits for the next session."""
        if self._model_up:
            return commands
        self._unsent += [command for command in commands if isinstance(command, SendUserText)]  # tools have their notes
        return [command for command in commands if not isinstance(command, SendUserText | SendNote | SendToolResult)]

    def silence_agent(self, now: float) -> list[Command]:
        """Whatever the agent was saying is not said to its end."""
        clear: list[Command] = [ClearPlayback()] if self.playback.on_the_line else []
        self.playback.cut(now)
        return clear

    # --- Time -----------------------------------------------------------------------------------------------

    def expired(self, name: Deadline, now: float) -> list[Command]:
        """Act on a deadline that concerns only what is said."""
        match name:
            case Deadline.PLAYBACK:
                return self.playback_due(now)
            case Deadline.TRANSCRIPT:
                self._counters["transcripts_missing"] += self._transcript.tick(now)
                return []
            case Deadline.TOOL:
                return self.tools_overdue(now)
            case Deadline.TOOL_WAIT:
                return self.tool_wait_due(now)
            case Deadline.KEYPAD:
                return self._keys_done()
            case Deadline.DIGITS:
                return [*self.secure.expired(now)]
            case Deadline.ECHO:
                return self.floor.look_again(now)
            case _:  # ANSWER, DOUBT: what is due is done by whatever follows up
                return []

    def last_words_until(self, now: float) -> float | None:
        """How long a call that is ending waits for what is left on the line; None: for nothing more."""
        until = self.floor.doubt_until() if self.floor.in_doubt else self.playback.all_played_by()
        return until if until is not None and until > now else None

    @property
    def _somebody_waits_for_playback(self) -> bool:
        return self.floor.waits_for_playback or self.secure.active

    def only_goes_on_speaking(self, now: float) -> bool:
        """Is all that is due the next piece of what the agent is saying?"""
        goes_on = self.playback.model_speaks and not self.playback.overdue(now)
        return goes_on and not self._somebody_waits_for_playback

    def playback_due(self, now: float) -> list[Command]:
        if self.playback.overdue(now):
            self._counters["overdue_marks"] += 1
        commands: list[Command] = [*self.playback.tick(now)]
        self._deadlines.set(Deadline.PLAYBACK, self.playback.deadline())
        return commands

    def tools_overdue(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for tool_call_id in self._tools.expired(now):
            self._counters["tool_timeouts"] += 1
            commands += self.tool_finished(events.ToolFinished(tool_call_id, TIMED_OUT))
        return commands

    def silence_due(self, now: float) -> tuple[list[Command], bool]:
        """Nobody has said anything for long enough: what is done about it, and whether the call is to end with it."""
        step = self._silence.take()
        self._silence.wait(False, now)  # each step has its own
        if step is Step.GREET:
            self._silence = silence_ladder(self._config.silence_seconds, greet_after=None)
            self._waits_for_caller = False
            return self._greet(now), False
        self._counters["reprompts"] += step is Step.ASK
        return self.say("still_there" if step is Step.ASK else "silence_goodbye", now), step is Step.GOODBYE

    def tool_wait_due(self, now: float) -> list[Command]:
        if self._tool_wait.take() is Step.TONE:
            self._tone_plays = True
            return self.play(HOLD_TONE, now)
        return self._fill(now)

    def dead_air_due(self, now: float) -> tuple[list[Command], Step]:
        """The agent owes an answer for long enough: what is done here, and what the call has to do about the model."""
        step = self._dead_air.take()
        self._counters["dead_air"] += step is Step.FILL
        return (self._fill(now) if step is Step.FILL else []), step

    def _fill(self, now: float) -> list[Command]:
        clip = self._config.clips.get("filler", HOLD_TONE)
        self._counters["fillers"] += 1
        return self.play(clip, now)

    # --- After every event ----------------------------------------------------------------------------------

    def follow_up(self, now: float) -> list[Command]:
        """What became due by the last event: an answer that can be asked for, turns that are settled, new deadlines."""
        commands = self.floor.settle(now)
        if self.floor.caller_spoke:
            self._caller_is_there()
        if self._model_up and not self.floor.in_doubt:
            commands += self.responses.ask(now, sentences_only=self.secure.active)
        commands += self._go_on_with_the_tone(now)
        commands += [SaveTurn(turn) for turn in self._transcript.to_save(self.playback.items, quiet=self.quiet)]
        self._wait_for_people(now)
        self._deadlines.set(Deadline.PLAYBACK, self.playback.deadline())
        self._deadlines.set(Deadline.TRANSCRIPT, self._transcript.deadline())
        self._deadlines.set(Deadline.TOOL, self._tools.deadline())
        self._deadlines.set(Deadline.KEYPAD, self._keypad.deadline())
        self._deadlines.set(Deadline.DIGITS, self.secure.deadline())
        self._deadlines.set(Deadline.ANSWER, self.responses.deadline(now) if self._model_up else None)
        self.floor.set_deadlines()
        return commands

    def _caller_is_there(self) -> None:
        """One who was to speak first, and has, is not greeted any more."""
        if self._waits_for_caller:
            self._waits_for_caller, self._greeted = False, True
            self._silence = silence_ladder(self._config.silence_seconds, greet_after=None)
        self._silence.restart()

    def _go_on_with_the_tone(self, now: float) -> list[Command]:
        if not self._tools.running or self.secure.asks:
            self._tone_plays = False
        if not self._tone_plays or self.playback.busy or self.responses.caller_speaks:
            return []
        return self.play(HOLD_TONE, now)

    def _wait_for_people(self, now: float) -> None:
        """Who is waited for, and since when."""
        interrupted = self.floor.in_doubt or self.responses.caller_speaks
        speaks = self.playback.model_speaks or interrupted
        self._silence.wait(self.nobody_speaks(now), now)
        self._deadlines.set(Deadline.SILENCE, self._silence.deadline())
        if self.secure.asks:  # it is the caller who is waited for
            self._tool_wait.restart()
            if speaks or self.playback.busy:
                self.secure.agent_speaks(now)
        elif self._tools.running:
            self._tool_wait.wait(not speaks, now)
        else:
            self._tool_wait.restart()
        self._deadlines.set(Deadline.TOOL_WAIT, self._tool_wait.deadline())
        owes = self.responses.sentence_owed if self.secure.active else self.responses.busy and not self._tools.running
        if owes and not speaks:
            self._dead_air.wait(True, now)
        elif self._model_up:  # else the caller still waits, for another session
            self._dead_air.restart()
        self._deadlines.set(Deadline.DEAD_AIR, self._dead_air.deadline())

    def stop(self, now: float) -> list[Command]:
        """The stream is gone: nothing more will be heard."""
        self.playback.cut(now)
        self._counters["underruns"] += self.playback.underruns
        self._counters["underrun_ms"] += round(self.playback.underrun_seconds * 1000)
        return [*self.secure.call_over()]

    def turns(self) -> Sequence[Turn]:
        return self._transcript.all_turns(self.playback.items)
