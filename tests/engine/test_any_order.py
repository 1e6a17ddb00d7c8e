"""Every event in every order, with time passing in between: what must hold whatever happens.

The machine keeps its own books, in the simplest way, and compares them with what the engine says.
"""

import dataclasses
import typing
from typing import Any

from django.test import SimpleTestCase
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from media.engine import commands, events
from media.engine.call import Call
from media.engine.config import CallConfig, ModelTraits, PastItem, ToolSpec
from media.engine.states import CallState
from tests.engine.driver import audio, size
from tests.engine.test_every_event import EVENT_CLASSES

OUTPUT_SLACK = 2.0
FIRST_TURN = 10_000
PAST = (PastItem("a3", "assistant", "Good morning."),)  # whose echo comes among the others
IDS: dict[str, list[Any]] = {
    "item_id": ["a1", "a2", "a3", "u1", "u2", "f1"],
    "previous_item_id": [None, "a1", "a2", "a3", "u1", "u2", "f1"],
    "response_id": ["r1", "r2", "r3"],
    "tool_call_id": ["c1", "c2", "c3"],
    "name": ["look_up", "end_call", "nothing"],
    "role": ["user", "assistant", "system", ""],
    "status": ["completed", "cancelled", "failed"],
    "digit": ["1", "#"],
    "text": ["", "Good morning.", "One two three"],
}
SPECIAL = {
    "payload": st.sampled_from([audio(ms) for ms in (0.125, 20, 100, 180, 400, 1000)]),
    "usage": st.builds(events.Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    "fatal": st.integers(0, 30).map(lambda number: number == 0),
}
# The ends of a call are rarer than what happens in one, or no run would get far.
ENDS = (
    events.StreamStopped,
    events.CarrierClosed,
    events.CallCompleted,
    events.ModelClosed,
    events.ShutdownRequested,
    events.HandOverRequested,
)


def instances(event: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(event)
    by_type = {
        str: st.sampled_from(["x", "y"]),
        bool: st.booleans(),
        float: st.floats(0.0, 10.0),
        float | None: st.none(),
    }
    fields = {}
    for field in dataclasses.fields(event):
        if field.name in SPECIAL:
            fields[field.name] = SPECIAL[field.name]
        elif field.name in IDS:
            fields[field.name] = st.sampled_from(IDS[field.name])
        else:
            fields[field.name] = by_type[hints[field.name]]
    return st.builds(event, **fields)


HAPPENINGS = st.one_of([instances(event) for event in EVENT_CLASSES if event not in (*ENDS, events.CallerAudio)])


class CarriersBook:
    """What the carrier holds: whose audio, which marks are out; by the same clock, in the plainest way."""

    def __init__(self) -> None:
        self.line: list[tuple[str, int | str]] = []  # (item, bytes) and ("", mark) in the order sent
        self.ends_at = 0.0

    def sent(self, item_id: str, payload: str, now: float) -> None:
        self.ends_at = max(self.ends_at, now) + size(payload) / 8000
        self.line.append((item_id, size(payload)))

    def came_back(self, mark: str, now: float) -> None:
        if ("", mark) in self.line:
            del self.line[: self.line.index(("", mark)) + 1]
            self.ends_at = now + sum(part for _, part in self.line if isinstance(part, int)) / 8000

    def given_up(self, now: float) -> None:
        if now >= self.ends_at + OUTPUT_SLACK:
            self.line.clear()

    def cleared(self) -> set[str]:
        items = {item for item, _ in self.line if item}
        self.line.clear()
        return items

    @property
    def marks(self) -> list[str]:
        return [str(part) for item, part in self.line if not item]


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.call: Call
        self.traits = ModelTraits()
        tools = {"look_up": ToolSpec("look_up", 3.0), "end_call": ToolSpec("end_call", ends_call=True)}
        self.call = Call(
            CallConfig(
                "Hello.",
                tools,
                goodbye_slack_seconds=OUTPUT_SLACK,
                max_call_seconds=120.0,
                first_turn_index=FIRST_TURN,
                past=PAST,
            ),
            self.now,
        )
        self.book = CarriersBook()
        self.stream_started = self.model_ready = self.ended = False
        self.frames_in: list[str] = []
        self.frames_out: list[str] = []
        self.received: dict[str, int] = {}
        self.dead_items: set[str] = set()
        self.dead_responses: set[str] = set()
        self.active: str | None = None
        self.hand_over_by: float | None = None
        self.greeted = self.recalled = 0
        self.ran: list[str] = []
        self.answered: list[str] = []
        self.revisions: dict[int, int] = {}
        self.finish: commands.FinishCall | None = None

    # --- What happens ---------------------------------------------------------------------------------------

    def feed(self, event: events.Event) -> None:
        live = self.stream_started and self.model_ready and not self.ended
        if isinstance(event, events.StreamStarted):
            self.stream_started = True
        elif isinstance(event, events.ModelReady):
            self.model_ready = True
        elif isinstance(event, events.CallerSpeechStarted) and live and self.active is not None:
            self.dead_responses.add(self.active)
        elif isinstance(event, events.ModelAudio) and live:
            self.received[event.item_id] = self.received.get(event.item_id, 0) + size(event.payload)
        elif isinstance(event, events.ResponseStarted) and live:
            self.active = event.response_id
        elif isinstance(event, events.ResponseFinished) and event.response_id == self.active:
            self.active = None
        elif isinstance(event, events.CallerAudio) and self.finish is None:
            self.frames_in.append(event.payload)
        elif isinstance(event, events.MarkReached):
            self.book.came_back(event.name, self.now)
        elif isinstance(event, events.HandOverRequested):
            self.hand_over_by = self.now + event.within_seconds
        self.check(self.call.receive(event, self.now), event)

    @rule(event=HAPPENINGS)
    def anything(self, event: events.Event) -> None:
        self.feed(event)

    @precondition(lambda self: not (self.stream_started and self.model_ready))
    @rule()
    def both_sides_open(self) -> None:
        self.feed(events.StreamStarted("MZ1"))
        self.feed(events.ModelReady("s1"))

    @rule(frames=st.integers(1, 30))
    def the_caller_is_heard(self, frames: int) -> None:
        for _ in range(frames):
            number = len(self.frames_in)
            self.feed(events.CallerAudio(audio(20, number % 251)[:-4] + f"{number % 10000:04d}"))

    @rule(response=st.sampled_from(["r1", "r2", "r3"]), item=st.sampled_from(["a1", "a2", "a3"]), ms=st.integers(1, 20))
    def the_agent_speaks(self, response: str, item: str, ms: int) -> None:
        self.feed(events.ResponseStarted(response))
        self.feed(events.ItemAdded(item, "assistant", None))
        self.feed(events.ModelAudio(response, item, audio(ms * 100)))

    @rule(item=st.sampled_from(["u1", "u2"]), stops=st.booleans(), said=st.sampled_from([None, "", "Good morning."]))
    def the_caller_speaks(self, item: str, stops: bool, said: str | None) -> None:
        self.feed(events.CallerSpeechStarted(item))
        if stops:
            self.feed(events.CallerSpeechStopped(item))
            self.feed(events.ItemAdded(item, "user", None))
        if said is not None:
            self.feed(events.CallerTranscribed(item, said))

    @rule(
        response=st.sampled_from(["r1", "r2", "r3"]),
        tool_call_id=st.sampled_from(["c1", "c2", "c3"]),
        name=st.sampled_from(["look_up", "look_up", "end_call", "nothing"]),
        answered=st.booleans(),
    )
    def a_tool_is_called(self, response: str, tool_call_id: str, name: str, answered: bool) -> None:
        self.feed(events.ToolCalled(response, "f1", tool_call_id, name, "{}"))
        if answered:
            self.feed(events.ToolFinished(tool_call_id, "{}"))

    @rule(response=st.sampled_from(["r1", "r2", "r3"]))
    def a_response_ends(self, response: str) -> None:
        self.feed(events.ResponseFinished(response, "completed"))

    @precondition(lambda self: bool(self.book.marks))
    @rule(number=st.integers(0, 50))
    def marks_come_back(self, number: int) -> None:
        for mark in self.book.marks[: number + 1]:
            self.feed(events.MarkReached(mark))

    @rule(seconds=st.floats(0.01, 4.0))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.call.deadline()) is not None and deadline <= end:
            self.reach(deadline)
        self.now = end

    @rule()
    def a_deadline_is_reached(self) -> None:
        if (deadline := self.call.deadline()) is not None:
            self.reach(deadline)

    @rule(event=st.one_of([instances(event) for event in ENDS]), really=st.integers(0, 9))
    def the_call_may_end(self, event: events.Event, really: int) -> None:
        if really == 0 or self.call.state is CallState.SETTLING:
            self.feed(event)

    def reach(self, deadline: float) -> None:
        self.now = max(self.now, deadline)
        self.book.given_up(self.now)
        self.check(self.call.tick(self.now), None)
        following = self.call.deadline()
        assert following is None or following > self.now, "a deadline was missed"

    # --- What must hold -------------------------------------------------------------------------------------

    def check(self, done: list[commands.Command], event: events.Event | None) -> None:
        if self.finish is not None:
            assert done == [], "something is wanted after the end"
        for place, command in enumerate(done):
            assert self.finish is None, "something comes after FinishCall"
            self.check_one(command, place, event)

    def check_one(self, command: commands.Command, place: int, event: events.Event | None) -> None:
        match command:
            case commands.PlayAudio():
                assert isinstance(event, events.ModelAudio)
                assert self.stream_started and self.model_ready and not self.ended
                assert event.item_id not in self.dead_items, "played after it was cleared"
                assert event.response_id not in self.dead_responses, "played after its response was cut"
                self.book.sent(event.item_id, command.payload, self.now)
            case commands.SendMark():
                self.book.line.append(("", command.name))
            case commands.ClearPlayback():
                assert place == 0, "clear comes first"
                self.dead_items |= self.book.cleared()
            case commands.TruncateItem():
                assert type(command.audio_end_ms) is int
                assert 0 <= command.audio_end_ms <= self.received[command.item_id] // 8
                self.dead_items.add(command.item_id)
            case commands.ForwardAudio():
                assert self.stream_started and self.model_ready and not self.ended
                self.frames_out.append(command.payload)
            case commands.RecallConversation():
                self.recalled += 1
                assert self.recalled == 1 and self.greeted == 0 and self.model_ready
            case commands.Greet():
                self.greeted += 1
                assert self.greeted == self.recalled == 1 and self.stream_started and self.model_ready
            case commands.Respond():
                assert self.active is None, "asked while an answer is running"
            case commands.RunTool():
                assert command.tool_call_id not in self.ran
                self.ran.append(command.tool_call_id)
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

    def check_finish(self, finish: commands.FinishCall) -> None:
        self.finish = finish
        if (finish.status, finish.ended_reason) == ("in-progress", "server_stopped"):
            assert self.hand_over_by is not None
        if finish.ended_reason in ("stream_lost", "never_connected", "model_failed"):
            assert finish.status == "in-progress", "nobody knows yet that this call is over"
        indexes = [turn.index for turn in finish.turns]
        assert indexes == sorted(set(indexes))
        assert all(index >= FIRST_TURN for index in indexes), "a turn of an earlier stream"
        assert set(self.revisions) <= set(indexes), "a saved turn is missing at the end"
        for turn in finish.turns:
            assert turn.revision in (self.revisions.get(turn.index, 0), self.revisions.get(turn.index, -1) + 1)
            assert 0 <= turn.heard_ms <= turn.generated_ms
            assert turn.bot_reply.startswith(turn.heard_text[:3])
            assert turn.started <= turn.ended <= self.now
        dropped = finish.counters.get("dropped_frames", 0) + finish.counters.get("frames_after_end", 0)
        assert len(self.frames_out) + dropped == len(self.frames_in), "a frame got lost uncounted"

    @invariant()
    def frames_keep_their_order(self) -> None:
        following = iter(self.frames_in)
        assert all(any(frame == other for other in following) for frame in self.frames_out)

    @invariant()
    def a_call_to_be_handed_over_does_not_outlast_its_time(self) -> None:
        by = self.hand_over_by
        assert by is None or self.ended or self.now <= by or self.call.state in (CallState.SETTLING, CallState.OVER)

    @invariant()
    def a_deadline_means_that_the_call_is_not_over(self) -> None:
        assert (self.call.deadline() is None) == (self.finish is not None)

    def teardown(self) -> None:
        for _ in range(1000):
            if (deadline := self.call.deadline()) is None:
                break
            self.reach(deadline)
        assert self.finish is not None, "the call never ends"


class WhateverHappens(SimpleTestCase):
    def test_what_must_hold_holds(self) -> None:
        run_state_machine_as_test(
            AnyOrder,
            settings=settings(
                max_examples=250,
                stateful_step_count=40,
                deadline=None,  # the machine may be busy
                database=None,
                derandomize=True,  # the same examples everywhere
                suppress_health_check=list(HealthCheck),
            ),
        )
