"""The vocabulary of the engine's tests: a call whose carrier plays on a clock and whose model says what it is told to.

Time moves only by `advance`: it stops at every deadline of the engine and at every mark the carrier owes.
"""

import base64
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from media.engine import commands, events
from media.engine.call import Call
from media.engine.config import CallConfig, ToolSpec

BYTES_PER_SECOND = 8000
T = TypeVar("T", bound=commands.Command)


def sound(ms: float, fill: int = 0x55) -> bytes:
    """That much mu-law, as the agent's side has it."""
    return bytes([fill]) * int(ms * 8)


def audio(ms: float, fill: int = 0x55) -> str:
    """That much mu-law as base64, as the caller's side has it."""
    return base64.b64encode(sound(ms, fill)).decode()


CONFIG = CallConfig(
    greeting="Hello, this is Robin.",
    tools={"look_up": ToolSpec("look_up", 4.0), "end_call": ToolSpec("end_call", ends_call=True)},
    back_channels=frozenset({"mhm", "yes"}),
    silence_seconds=3600.0,  # nobody is asked whether they are there, unless that is what a test is about
    dead_air_seconds=(3600.0, 3601.0, 3602.0),  # nor is anybody impatient
    tool_filler_seconds=3600.0,
    model_timeout_seconds=7.0,
)


class Speaker:
    """What comes out at the caller's end, and when."""

    def __init__(self) -> None:
        self._pieces: list[tuple[float, bytes]] = []  # when each begins

    def plays(self, begins: float, audio: bytes) -> None:
        self._pieces.append((begins, audio))

    def stops(self, now: float) -> None:
        self._pieces = [(begins, audio[: max(0, int((now - begins) * 8000))]) for begins, audio in self._pieces]

    def frame(self, until: float) -> bytes:
        """The 20 ms up to then, with silence where nothing plays."""
        heard, begin = bytearray(b"\xff" * 160), until - 0.02
        for begins, audio in self._pieces:
            place = round((begins - begin) * BYTES_PER_SECOND)
            if -len(audio) < place < 160:
                part = audio[max(0, -place) : 160 - place]
                heard[max(0, place) : max(0, place) + len(part)] = part
        return bytes(heard)


class Carrier:
    """Plays what it is sent at 8,000 bytes a second, and returns marks as Twilio does."""

    def __init__(self) -> None:
        self.loses_marks = False
        self.played_until = 0.0
        self.sent = b""
        self.speaker = Speaker()
        self.marks: deque[tuple[float, str]] = deque()
        self.cleared = 0

    def perform(self, command: commands.Command, now: float) -> None:
        match command:
            case commands.PlayAudio():
                begins = max(self.played_until, now)
                self.speaker.plays(begins, command.audio)
                self.played_until = begins + len(command.audio) / BYTES_PER_SECOND
                self.sent += command.audio
            case commands.SendMark() if not self.loses_marks:
                self.marks.append((max(self.played_until, now), command.name))
            case commands.ClearPlayback():
                self.cleared += 1
                self.played_until = now
                self.speaker.stops(now)
                self.marks = deque((now, name) for _, name in self.marks)  # all come back at once
            case _:
                pass

    def next_mark(self) -> float | None:
        return self.marks[0][0] if self.marks else None


class CallDriver:
    def __init__(self, config: CallConfig = CONFIG, **changes: Any) -> None:
        self.now = 1000.0
        self.config = replace(config, **changes)
        self.call = Call(self.config, self.now)
        self.carrier = Carrier()
        self.log: list[tuple[float, commands.Command]] = []
        self.steps = 0
        self.ticks = 0
        self._ids = 0
        self._last_item: str | None = None
        self.response_id = ""
        self.item_id = ""

    # --- Machinery ------------------------------------------------------------------------------------------

    def send(self, *happened: events.Event) -> list[commands.Command]:
        """Tell the engine; return everything it wants done about it."""
        done: list[commands.Command] = []
        for event in happened:
            done += self._perform(self.call.receive(event, self.now))
        return done

    def advance(self, seconds: float) -> list[commands.Command]:
        """Let time pass, stopping at every deadline and every mark."""
        end = self.now + seconds
        done: list[commands.Command] = []
        while True:
            deadline, mark = self.call.deadline(), self.carrier.next_mark()
            due = [when for when in (deadline, mark) if when is not None and when <= end]
            if not due:
                break
            self.now = max(self.now, min(due))
            if mark is not None and mark <= self.now:
                done += self.send(events.MarkReached(self.carrier.marks.popleft()[1]))
            else:
                done += self.tick()
        self.now = end
        return done

    def tick(self) -> list[commands.Command]:
        self.ticks += 1
        return self._perform(self.call.tick(self.now))

    def _perform(self, wanted: list[commands.Command]) -> list[commands.Command]:
        self.steps += 1
        for command in wanted:
            self.log.append((self.now, command))
            self.carrier.perform(command, self.now)
        return wanted

    def new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}{self._ids}"

    def all(self, kind: type[T]) -> list[T]:
        return [command for _, command in self.log if isinstance(command, kind)]

    def when(self, matches: Callable[[commands.Command], bool]) -> float:
        return next(time for time, command in self.log if matches(command))

    @property
    def finish(self) -> commands.FinishCall:
        """The end of the call; there must be exactly one."""
        (finish,) = self.all(commands.FinishCall)
        return finish

    @property
    def over(self) -> bool:
        return self.call.deadline() is None

    @property
    def saved(self) -> list[tuple[int, int, str, str]]:
        """Every turn saved so far: index, revision, caller's words, agent's words."""
        turns = [save.turn for save in self.all(commands.SaveTurn)]
        return [(turn.index, turn.revision, turn.user_text, turn.bot_reply) for turn in turns]

    # --- What happens in a call -----------------------------------------------------------------------------

    def stream_starts(self) -> list[commands.Command]:
        return self.send(events.StreamStarted("MZ1"))

    def model_is_ready(self, lives: float | None = None) -> list[commands.Command]:
        """A session can take over: the first, or one that the engine has asked for. `lives`: seconds, if it says so."""
        return self.send(events.ModelReady("sess_1", None if lives is None else self.now + lives))

    def model_is_lost(self, *, permanent: bool = False) -> list[commands.Command]:
        """The session that carries the conversation closes."""
        return self.send(events.ModelClosed("closed_1011", permanent=permanent))

    def fresh_model_fails(self, *, permanent: bool = False) -> list[commands.Command]:
        """The session that was to take over does not come."""
        return self.send(events.ModelClosed("timeout", permanent=permanent, fresh=True))

    def connect(self) -> "CallDriver":
        self.stream_starts()
        self.model_is_ready()
        return self

    def caller_frame(self, number: int = 0) -> list[commands.Command]:
        return self.send(events.CallerAudio(audio(20, number % 256)))

    def item_added(self, item_id: str, role: str, text: str = "") -> list[commands.Command]:
        previous, self._last_item = self._last_item, item_id
        return self.send(events.ItemAdded(item_id, role, previous, text))

    def agent_begins(self, text: str = "", ms: int = 0) -> list[commands.Command]:
        """A response with one spoken item; audio comes at once, in deltas of 400 ms."""
        self.response_id, self.item_id = self.new_id("r"), self.new_id("a")
        done = self.send(events.ResponseStarted(self.response_id))
        done += self.item_added(self.item_id, "assistant")
        return done + self.agent_adds(text, ms)

    def agent_adds(self, text: str, ms: int) -> list[commands.Command]:
        done = []
        if text:
            done += self.send(events.AgentTextDelta(self.response_id, self.item_id, text))
        while ms > 0:
            done += self.send(events.ModelAudio(self.response_id, self.item_id, sound(min(ms, 400))))
            ms -= 400
        return done

    def agent_item_ends(self, text: str) -> list[commands.Command]:
        return self.send(
            events.AgentAudioDone(self.response_id, self.item_id),
            events.AgentTextDone(self.response_id, self.item_id, text),
        )

    def response_ends(self, status: str = "completed") -> list[commands.Command]:
        return self.send(events.ResponseFinished(self.response_id, status, "", events.Usage(10, 5, 2)))

    def agent_says(self, text: str, ms: int) -> list[commands.Command]:
        """A whole answer, faster than it is spoken."""
        done = self.agent_begins(text, ms)
        done += self.agent_item_ends(text)
        return done + self.response_ends()

    def caller_starts(self) -> list[commands.Command]:
        self.caller_item = self.new_id("u")
        return self.send(events.CallerSpeechStarted(self.caller_item))

    def caller_stops(self) -> list[commands.Command]:
        done = self.send(events.CallerSpeechStopped(self.caller_item))
        return done + self.item_added(self.caller_item, "user")

    def caller_says(self, text: str | None, seconds: float = 1.0) -> list[commands.Command]:
        """An utterance; its text comes with it, or (None) later, by `transcribed`."""
        done = self.caller_starts()
        done += self.advance(seconds)
        done += self.caller_stops()
        return done if text is None else done + self.transcribed(text)

    def back_channel(self, text: str = "Mhm.", seconds: float = 0.3) -> list[commands.Command]:
        """A short sound; what it was is known 200 ms after its end."""
        done = self.caller_says(None, seconds)
        return done + self.advance(0.2) + self.transcribed(text)

    def transcribed(self, text: str, item_id: str | None = None) -> list[commands.Command]:
        return self.send(events.CallerTranscribed(item_id or self.caller_item, text))

    def agent_calls(self, name: str, tool_call_id: str = "", arguments: str = "{}") -> list[commands.Command]:
        """A call of a tool, as an item of the running response."""
        item_id = self.new_id("f")
        done = self.item_added(item_id, "")
        call_id = tool_call_id or self.new_id("call")
        return done + self.send(events.ToolCalled(self.response_id, item_id, call_id, name, arguments))

    def end(self) -> commands.FinishCall:
        """Hang up, and wait for all that may still be owed."""
        self.hang_up()
        self.advance(10)
        return self.finish

    def hang_up(self) -> list[commands.Command]:
        return self.send(events.StreamStopped())


def talking(**changes: Any) -> CallDriver:
    """A call in which the greeting has been spoken and heard."""
    driver = CallDriver(**changes).connect()
    driver.agent_says("Hello, this is Robin.", 1500)
    driver.advance(3)
    return driver
