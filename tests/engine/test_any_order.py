"""Every event in every order, with time passing in between: what must hold whatever happens.

The machine keeps its own books, in the simplest way, and compares them with what the engine says. The model's sessions
are kept as the bridge keeps them: one carries the conversation, one may be opening, or ready and waiting.

ANY_ORDER_EXAMPLES=10000 makes it look longer than the suite has time for.
"""

import dataclasses
import os
import typing
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from django.test import SimpleTestCase
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from media.engine import commands, events
from media.engine.call import Call
from media.engine.caller_audio import SILENT_FRAME
from media.engine.config import CallConfig, Clip, ModelTraits, PastItem, ToolSpec
from media.engine.playback import MARK_BYTES
from media.engine.states import CallState
from simulators.speech import load
from tests.engine.driver import Speaker, audio, sound
from tests.engine.test_every_event import EVENT_CLASSES

EXAMPLES = int(os.environ.get("ANY_ORDER_EXAMPLES", "500"))
OUTPUT_SLACK = 2.0
AHEAD_SECONDS = 0.7  # less than most pieces; no sum of binary fractions
PROTECTED_SECONDS = 0.3
FIRST_TURN = 10_000
COLLECT_SECONDS = 9.0
PAST = (PastItem("a3", "assistant", "Good morning."),)  # whose echo comes among the others
CLIPS = {
    name: Clip(text, load("looking").audio[:size])
    for name, text, size in (
        ("greeting", "Good day.", 8000),
        ("filler", "One moment.", 4001),
        ("apology", "We are sorry.", 6000),
        ("still_there", "Are you there?", 5000),
        ("silence_goodbye", "Goodbye then.", 3000),
        ("wrap_up", "We have to stop.", 2000),
    )
}
SENTENCES = {"still_there": "Are you there?", "silence_goodbye": "Goodbye then.", "wrap_up": "We have to stop."}
IDS: dict[str, list[Any]] = {
    "item_id": ["a1", "a2", "a3", "u1", "u2", "f1"],
    "previous_item_id": [None, "a1", "a2", "a3", "u1", "u2", "f1"],
    "response_id": ["r1", "r2", "r3"],
    "tool_call_id": ["c1", "c2", "c3"],
    "name": ["look_up", "end_call", "collect", "transfer_call", "nothing"],
    "role": ["user", "assistant", "system", ""],
    "status": ["completed", "cancelled", "failed", "incomplete"],
    "digit": ["1", "#"],
    "text": ["", "Good morning.", "Mhm", "One two three"],
}
SPECIAL = {
    "payload": st.sampled_from([audio(ms) for ms in (0.125, 20, 100)] + ["x"]),
    "audio": st.sampled_from([0.125, 20, 100, 180, 400, 1000, 3000]).map(sound),
    "usage": st.builds(events.Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    "permanent": st.integers(0, 19).map(lambda number: number == 0),
    "expires_at": st.none(),
}
# The ends of a call are rarer than what happens in one, or no run would get far.
ENDS = (
    events.StreamStopped,
    events.CarrierClosed,
    events.CallCompleted,
    events.ShutdownRequested,
)
# What the model says in each item: so that it is known again, and can come back as an echo.
SPEECH = {
    item: load(name).audio
    for item, name in zip(IDS["item_id"], ("parking", "hours", "saturday", "price", "goodbye", "unclear"), strict=True)
}
# These have rules of their own.
APART = (events.ModelReady, events.ModelClosed, events.ModelError, events.HandOverRequested)


def instances(event: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(event)
    by_type = {
        str: st.sampled_from(["x", "y"]),
        bool: st.booleans(),
        float: st.floats(0.0, 10.0),
    }
    fields = {}
    for each in dataclasses.fields(event):
        if each.name in SPECIAL:
            fields[each.name] = SPECIAL[each.name]
        elif each.name in IDS:
            fields[each.name] = st.sampled_from(IDS[each.name])
        else:
            fields[each.name] = by_type[hints[each.name]]
    return st.builds(event, **fields)


LEFT_OUT = (*ENDS, *APART, events.CallerAudio)
HAPPENINGS = st.one_of([instances(event) for event in EVENT_CLASSES if event not in LEFT_OUT])
OF_THE_MODEL = typing.get_args(events.ConversationEvent)
# Commands that go to whatever session carries the conversation.
TO_THE_MODEL = tuple(kind for kind in typing.get_args(commands.ModelCommand) if kind is not commands.CloseModel)


@dataclass
class Line:
    """What the carrier holds: how many bytes, which marks are out; by the same clock, in the plainest way."""

    sent: int = 0
    marks: list[tuple[str, int]] = field(default_factory=list)  # (name, bytes sent before it)
    ends_at: float = 0.0
    speaker: Speaker = field(default_factory=Speaker)

    def plays(self, audio: bytes, now: float) -> None:
        begins = max(self.ends_at, now)
        self.speaker.plays(begins, audio)
        self.ends_at = begins + len(audio) / 8000
        self.sent += len(audio)

    def came_back(self, mark: str, now: float) -> None:
        for place, (name, position) in enumerate(self.marks):
            if name == mark:
                del self.marks[: place + 1]
                self.ends_at = min(self.ends_at, now + (self.sent - position) / 8000)  # late ones prove nothing
                return

    def given_up(self, now: float) -> None:
        if now >= self.ends_at + OUTPUT_SLACK:
            self.marks.clear()

    def cleared(self, now: float) -> None:
        self.marks.clear()
        self.ends_at = now
        self.speaker.stops(now)


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.call: Call
        self.line = Line()
        self.stream_started = self.ended = False
        # the model's sessions, as the bridge has them
        self.current = self.fresh = False
        self.opening = True
        self.between_sessions = False  # one was given up, and none has taken over
        self.took_over = 0
        self.recalled = False  # by the present one
        self.frames_in: list[str] = []
        self.frames_out: list[str] = []
        self.heard_before = 0  # by the sessions before the present one
        self.received = dict.fromkeys(SPEECH, 0)  # bytes of each item
        self.cut: set[str] = set()
        self.active: str | None = None
        self.cancelled: set[str] = set()
        self.hand_over_by: float | None = None
        self.greeted = 0
        self.refused = 0  # answers and sentences that did not come, as the model said
        self.ran: list[str] = []
        self.collects = ""  # the tool call for which the caller types digits that nobody may know
        self.collects_until = 0.0
        self.asked_for_digits = 0  # how often its tool waits for them
        self.answered: list[str] = []
        self.dropped: set[str] = set()
        self.doubted = False
        self.revisions: dict[int, int] = {}
        self.finish: commands.FinishCall | None = None

    @initialize(
        clips=st.sampled_from([(), ("greeting",), ("filler", "apology"), tuple(CLIPS)]),
        caller_first=st.booleans(),
        answers_itself=st.booleans(),
        silence_seconds=st.sampled_from([0.0, 0.5]),
        past=st.booleans(),
        longest=st.sampled_from([16.0, 40.0, 120.0]),
        halves_open=st.integers(0, 3),
    )
    def a_call_begins(
        self,
        clips: tuple[str, ...],
        caller_first: bool,
        answers_itself: bool,
        silence_seconds: float,
        past: bool,
        longest: float,
        halves_open: int,
    ) -> None:
        tools = {
            "look_up": ToolSpec("look_up", 7.0),
            "collect": ToolSpec("collect", COLLECT_SECONDS, collects_digits=True),
            "end_call": ToolSpec("end_call", ends_call=True),
            "transfer_call": ToolSpec("transfer_call", 3.0, puts_through=True),
        }
        self.past = PAST if past else ()
        self.call = Call(
            CallConfig(
                "Hello.",
                tools,
                ModelTraits(answers_itself=answers_itself, silence_seconds=silence_seconds),
                clips={name: CLIPS[name] for name in clips},
                sentences=SENTENCES,
                back_channels=frozenset({"mhm"}),
                caller_speaks_first=caller_first,
                protected_greeting_seconds=PROTECTED_SECONDS,
                silence_seconds=5.0,
                ahead_seconds=AHEAD_SECONDS,
                goodbye_slack_seconds=OUTPUT_SLACK,
                tool_tone_seconds=2.0,
                max_call_seconds=longest,
                first_turn_index=FIRST_TURN,
                past=self.past,
            ),
            self.now,
        )
        if halves_open:  # or few runs would come to talking
            self.both_sides_open()

    # --- What happens ---------------------------------------------------------------------------------------

    def feed(self, event: events.Event) -> None:
        if isinstance(event, OF_THE_MODEL) and not self.current:
            return  # nobody listens to a session that was given up
        live = self.stream_started and not self.ended
        if isinstance(event, events.StreamStarted):
            self.stream_started = True
        elif isinstance(event, events.ModelAudio):
            said, begin = SPEECH[event.item_id] * 9, self.received[event.item_id] % len(SPEECH[event.item_id])
            event = dataclasses.replace(event, audio=said[begin : begin + len(event.audio)])
            self.received[event.item_id] += len(event.audio) if live else 0
        elif isinstance(event, events.ResponseStarted) and live:
            self.active = event.response_id
        elif isinstance(event, events.ResponseFinished):
            self.refused += event.status == "failed"
            self.active = None if event.response_id == self.active else self.active
        elif isinstance(event, events.CallerAudio) and self.finish is None:
            collects = self.collects and self.now < self.collects_until
            self.frames_in.append(SILENT_FRAME if collects and live else event.payload)
        elif isinstance(event, events.ToolFinished) and event.tool_call_id == self.collects and live:
            self.collects = ""
        elif isinstance(event, events.DigitsWanted) and self.finish is None:
            self.asked_for_digits += 1
        elif isinstance(event, events.MarkReached):
            self.line.came_back(event.name, self.now)
        elif isinstance(event, events.HandOverRequested):
            self.hand_over_by = self.now + event.within_seconds
        self.check(self.call.receive(event, self.now))

    @rule(event=HAPPENINGS)
    def anything(self, event: events.Event) -> None:
        self.feed(event)

    def both_sides_open(self) -> None:
        self.feed(events.StreamStarted("MZ1"))
        if self.opening:
            self.session_ready(None)

    @precondition(lambda self: self.opening)
    @rule(lives=st.sampled_from([None, 0.0, 8.0, 3600.0]))
    def a_session_is_ready(self, lives: float | None) -> None:
        self.session_ready(lives)

    def session_ready(self, lives: float | None) -> None:
        self.opening, self.fresh = False, True
        self.feed(events.ModelReady("s1", None if lives is None else self.now + lives))

    @precondition(lambda self: self.opening or self.fresh)
    @rule(permanent=SPECIAL["permanent"])
    def a_session_does_not_come(self, permanent: bool) -> None:
        self.opening = self.fresh = False
        self.feed(events.ModelClosed("timeout", permanent, fresh=True))

    @precondition(lambda self: self.current)
    @rule(permanent=SPECIAL["permanent"], really=st.integers(0, 2), says_so=st.booleans())
    def the_session_is_lost(self, permanent: bool, really: int, says_so: bool) -> None:
        if really == 0 and says_so:
            self.feed(events.ModelError("session_expired", fatal=True, permanent=permanent))
        elif really == 0:
            self.feed(events.ModelClosed("1011", permanent))

    @precondition(lambda self: self.current)
    @rule(benign=st.booleans(), answering_already=st.booleans())
    def the_model_refuses(self, benign: bool, answering_already: bool) -> None:
        self.refused += not benign
        self.feed(events.ModelError("x", fatal=False, benign=benign, answering_already=answering_already))

    @rule(frames=st.integers(1, 30))
    def the_caller_is_heard(self, frames: int) -> None:
        for _ in range(frames):
            number = len(self.frames_in)
            self.feed(events.CallerAudio(audio(20, number % 251)[:-4] + f"{number % 10000:04d}"))

    @precondition(lambda self: self.line.ends_at > self.now)
    @rule(item=st.sampled_from(["u1", "u2"]), frames=st.integers(5, 60), said=st.sampled_from([None, "", "Good."]))
    def the_agent_is_heard_by_itself(self, item: str, frames: int, said: str | None) -> None:
        for number in range(frames):
            if number == 15:
                self.feed(events.CallerSpeechStarted(item))
            self.pass_time(0.02)
            for mark, position in list(self.line.marks):
                if self.now >= self.line.ends_at - (self.line.sent - position) / 8000:
                    self.feed(events.MarkReached(mark))
            self.feed(events.CallerAudio(b64encode(self.line.speaker.frame(self.now - 0.1)).decode()))
        self.feed(events.CallerSpeechStopped(item))
        if said is not None:
            self.feed(events.CallerTranscribed(item, said))

    @rule(
        response=st.sampled_from(["r1", "r2", "r3"]),
        item=st.sampled_from(["a1", "a2", "a3"]),
        tenths=st.integers(1, 40),
        whole=st.booleans(),
    )
    def the_agent_speaks(self, response: str, item: str, tenths: int, whole: bool) -> None:
        self.feed(events.ResponseStarted(response))
        self.feed(events.ItemAdded(item, "assistant", None))
        self.feed(events.AgentTextDelta(response, item, "Good morning to you."))
        self.feed(events.ModelAudio(response, item, bytes(tenths * 801)))
        if whole:
            self.feed(events.AgentAudioDone(response, item))
            self.feed(events.ResponseFinished(response, "completed"))

    @rule(
        item=st.sampled_from(["u1", "u2"]),
        stops=st.booleans(),
        said=st.sampled_from([None, "", "Mhm.", "Good morning."]),
        seconds=st.sampled_from([0.0, 0.25, 1.5]),
    )
    def the_caller_speaks(self, item: str, stops: bool, said: str | None, seconds: float) -> None:
        self.feed(events.CallerSpeechStarted(item))
        self.pass_time(seconds)
        if stops:
            self.feed(events.CallerSpeechStopped(item))
            self.feed(events.ItemAdded(item, "user", None))
        if said is not None:
            self.feed(events.CallerTranscribed(item, said))

    @rule(
        said=st.sampled_from(["", "Mhm.", "Good morning."]),
        first=st.booleans(),
        pause=st.sampled_from([0.0, 0.2]),
        stops=st.booleans(),
    )
    def the_caller_makes_two_sounds(self, said: str, first: bool, pause: float, stops: bool) -> None:
        self.feed(events.CallerSpeechStarted("u1"))
        self.pass_time(0.2)
        self.feed(events.CallerSpeechStopped("u1"))
        self.pass_time(pause)
        self.feed(events.CallerSpeechStarted("u2"))
        if stops:
            self.feed(events.CallerSpeechStopped("u2"))
        self.feed(events.CallerTranscribed("u1" if first else "u2", said))

    @rule(
        response=st.sampled_from(["r1", "r2", "r3"]),
        tool_call_id=st.sampled_from(["c1", "c2", "c3"]),
        name=st.sampled_from(["look_up", "look_up", "end_call", "collect", "transfer_call", "nothing"]),
        answered=st.booleans(),
    )
    def a_tool_is_called(self, response: str, tool_call_id: str, name: str, answered: bool) -> None:
        self.feed(events.ToolCalled(response, "f1", tool_call_id, name, "{}"))
        if answered:
            self.feed(events.ToolFinished(tool_call_id, "{}"))

    @precondition(lambda self: bool(self.collects))
    @rule(keys=st.sampled_from(["", "1", "12*3", "12#", "4" * 40]), seconds=st.sampled_from([0.0, 7.0]))
    def digits_are_typed_in_secret(self, keys: str, seconds: float) -> None:
        self.feed(events.DigitsWanted(self.collects, "Please type."))
        for key in keys:
            self.feed(events.DtmfPressed(key))
            self.feed(events.CallerAudio(audio(20, 1)))
        self.pass_time(seconds)

    @rule(response=st.sampled_from(["r1", "r2", "r3"]))
    def a_response_ends(self, response: str) -> None:
        self.feed(events.ResponseFinished(response, "completed"))

    @precondition(lambda self: bool(self.line.marks))
    @rule(number=st.integers(0, 50))
    def marks_come_back(self, number: int) -> None:
        for mark, _ in self.line.marks[: number + 1]:
            self.feed(events.MarkReached(mark))

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 1.3, 2.6, 4.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule()
    def a_deadline_is_reached(self) -> None:
        if (deadline := self.call.deadline()) is not None:
            self.reach(deadline)

    @rule(event=st.one_of([instances(event) for event in ENDS]), really=st.integers(0, 4))
    def the_call_may_end(self, event: events.Event, really: int) -> None:
        if really == 0 or self.call.state is CallState.SETTLING:
            self.feed(event)

    @rule(within=st.floats(0.0, 10.0), really=st.integers(0, 4))
    def the_call_is_to_be_handed_over(self, within: float, really: int) -> None:
        if really == 0:
            self.feed(events.HandOverRequested(within))

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.call.deadline()) is not None and deadline <= end:
            self.reach(deadline)
        self.now = end

    def reach(self, deadline: float) -> None:
        self.now = max(self.now, deadline)
        self.line.given_up(self.now)
        self.check(self.call.tick(self.now))
        following = self.call.deadline()
        assert following is None or following > self.now, "a deadline was missed"

    # --- What must hold -------------------------------------------------------------------------------------

    @property
    def in_doubt(self) -> bool:
        return self.call._conversation.floor.in_doubt

    def check(self, done: list[commands.Command]) -> None:
        if self.finish is not None:
            assert done == [], "something is wanted after the end"
        for command in done:
            assert self.finish is None, "something comes after FinishCall"
            if isinstance(command, TO_THE_MODEL):
                assert self.current and not self.between_sessions, f"{command} for a session that is gone"
            self.check_one(command)
        assert not (self.doubted and self.in_doubt and any(isinstance(each, commands.PlayAudio) for each in done))
        assert not (self.in_doubt and self.line.marks), "something is on the line while it is not known who speaks"
        self.doubted = self.in_doubt

    def check_one(self, command: commands.Command) -> None:
        match command:
            case commands.PlayAudio():
                assert command.audio
                assert self.stream_started and not self.ended
                ahead = self.line.ends_at - self.now
                assert ahead <= AHEAD_SECONDS + 1e-6, f"sent {ahead} s ahead"
                assert len(command.audio) <= MARK_BYTES
                self.line.plays(command.audio, self.now)
                self.plays_what_it_may(command.audio)
            case commands.SendMark():
                self.line.marks.append((command.name, self.line.sent))
            case commands.ClearPlayback():
                self.line.cleared(self.now)
            case commands.TruncateItem():
                assert type(command.audio_end_ms) is int
                assert 0 <= command.audio_end_ms <= self.received[command.item_id] // 8
                assert command.item_id not in self.cut, "cut twice"
                self.cut.add(command.item_id)
            case commands.CancelResponse():
                assert command.response_id == self.active
                self.cancelled.add(command.response_id)
            case commands.ForwardAudio():
                assert self.stream_started and not self.ended
                self.frames_out.append(command.payload)
            case commands.OpenModel():
                assert not self.opening and not self.fresh, "two sessions at a time are enough"
                self.opening = True
                if command.replace:
                    self.current, self.between_sessions, self.active = False, True, None
            case commands.SwitchModel():
                assert self.fresh, "there is none to switch to"
                self.took_over += 1
                self.heard_before = len(self.frames_out)
                self.fresh, self.current, self.between_sessions, self.recalled = False, True, False, False
                self.active = None
            case commands.RecallConversation():
                assert self.recalled or set(self.past) <= set(command.items)
                self.recalled = True
            case commands.Say():
                self.greeted += command.text == "Hello."
                assert self.stream_started and self.active is None
                assert self.recalled or not self.past
            case commands.Respond():
                assert self.active is None, "asked while an answer is running"
                assert self.stream_started and not self.ended
            case commands.RunTool():
                assert command.tool_call_id not in self.ran
                self.ran.append(command.tool_call_id)
                if command.name == "collect" and not (self.collects and self.now < self.collects_until):
                    self.collects, self.collects_until = command.tool_call_id, self.now + COLLECT_SECONDS
            case commands.GiveDigits():
                self.asked_for_digits -= 1
                assert bool(command.handle) == bool(command.count)
                assert command.count <= 32
            case commands.SendToolResult():
                assert command.tool_call_id not in self.answered
                self.answered.append(command.tool_call_id)
            case commands.SaveTurn():
                index, revision = command.turn.index, command.turn.revision
                assert revision == self.revisions.get(index, -1) + 1
                self.revisions[index] = revision
            case commands.CloseStream() | commands.CommitAudio():
                self.ended = True
            case commands.FinishCall():
                self.ended = True
                self.check_finish(command)
            case _:
                pass

    def plays_what_it_may(self, audio: bytes) -> None:
        if len(audio) >= 160 and len(set(audio)) > 1:  # else it could be anybody's
            assert not any(audio in SPEECH[item] for item in self.cut), "played after it was cut"

    def check_finish(self, finish: commands.FinishCall) -> None:
        self.finish = finish
        if (finish.status, finish.ended_reason) == ("in-progress", "server_stopped"):
            assert self.hand_over_by is not None
        if finish.ended_reason in ("stream_lost", "never_connected", "model_failed", "model_refused", "model_silent"):
            assert finish.status == "in-progress", "nobody knows yet that this call is over"
        indexes = [turn.index for turn in finish.turns]
        assert indexes == sorted(set(indexes))
        assert all(index >= FIRST_TURN for index in indexes), "a turn of an earlier stream"
        assert set(self.revisions) <= set(indexes), "a saved turn is missing at the end"
        for turn in finish.turns:
            assert turn.revision in (self.revisions.get(turn.index, 0), self.revisions.get(turn.index, -1) + 1)
            assert 0 <= turn.heard_ms <= turn.generated_ms
            said = turn.bot_reply.split()
            assert all(any(word.startswith(part) for word in said) for part in turn.heard_text.split())
            assert turn.started <= turn.ended <= self.now
            assert turn.reply_ms is None or turn.reply_ms >= 0
            assert turn.reply_heard_ms is None or turn.reply_ms is not None
        dropped = finish.counters.get("dropped_frames", 0) + finish.counters.get("frames_after_end", 0)
        again = finish.counters.get("frames_again", 0)
        assert self.asked_for_digits == 0, "a tool waits for digits for ever"
        assert len(self.frames_out) + dropped == len(self.frames_in) + again, "a frame got lost uncounted"
        assert self.greeted <= self.took_over + self.refused, "greeted again and again"

    @invariant()
    def frames_keep_their_order(self) -> None:
        """Each session hears a part of what came in, in order; the next may hear once more what the last one lost."""
        following = iter(self.frames_in)
        assert all(any(frame == other for other in following) for frame in self.frames_out[self.heard_before :])

    @invariant()
    def a_call_to_be_handed_over_does_not_outlast_its_time(self) -> None:
        by = self.hand_over_by
        assert by is None or self.ended or self.now <= by or self.call.state in (CallState.SETTLING, CallState.OVER)

    @invariant()
    def a_deadline_means_that_the_call_is_not_over(self) -> None:
        if hasattr(self, "call"):
            assert (self.call.deadline() is None) == (self.finish is not None)

    def teardown(self) -> None:
        if not hasattr(self, "call"):
            return
        for _ in range(5000):
            if (deadline := self.call.deadline()) is None:
                break
            self.reach(deadline)
        assert self.finish is not None, "the call never ends"


class WhateverHappens(SimpleTestCase):
    def test_what_must_hold_holds(self) -> None:
        run_state_machine_as_test(
            AnyOrder,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=60,
                deadline=None,  # the machine may be busy
                database=None,
                derandomize=True,  # the same examples everywhere
                suppress_health_check=list(HealthCheck),
            ),
        )
