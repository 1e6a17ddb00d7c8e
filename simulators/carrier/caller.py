"""The scripted person on the telephone: listens, speaks, interrupts, presses keys, hangs up."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, assert_never

from simulators.carrier.audio import Tone, key_tone
from simulators.carrier.playback import Span
from simulators.carrier.script import (
    DropLine,
    HangUp,
    Hear,
    HearAnew,
    Interrupt,
    Listen,
    Press,
    Say,
    Script,
    Step,
    Wait,
    WaitForEnd,
)
from simulators.carrier.settings import Clip
from simulators.carrier.stream import MediaStream

# A pause in the agent's words up to this long still counts as speaking.
BREATH_SECONDS = 0.4
# A caller whose line falls silent in mid-sentence waits this long for somebody to speak, and then says it again.
PATIENCE_SECONDS = 30.0


class ScriptFailed(Exception):
    """The call did not go as the script expects."""


class Line:
    """The stream the caller is on at the moment, if any: a call may have several, one after the other."""

    def __init__(self) -> None:
        self.stream: MediaStream | None = None
        self._up = asyncio.Event()

    def connect(self, stream: MediaStream) -> None:
        self.stream = stream
        self._up.set()

    def disconnect(self) -> None:
        self.stream = None
        self._up.clear()

    async def tick(self) -> MediaStream:
        """The next 20 ms on a live stream; waits as long as there is none."""
        while True:
            stream = self.stream
            if stream is None:
                await self._up.wait()
            elif await stream.tick():
                return stream
            elif self.stream is stream:
                self.disconnect()


class Person:
    """One caller following one script."""

    def __init__(self, script: Script, line: Line, clips: Callable[[str], Clip], tell: Callable[[str], None]) -> None:
        self._script, self._line, self._clips, self._tell = script, line, clips, tell
        self._loop = asyncio.get_running_loop()
        self._since = 0.0  # only what the agent says after this moment counts
        self.step: Step | None = None
        self.step_number = 0

    async def follow(self) -> Literal["caller", "line", ""]:
        """All steps; returns how the caller went, or nothing if the script does not say. Raises ScriptFailed."""
        for number, step in enumerate(self._script.steps, 1):
            self.step_number, self.step = number, step
            match step:
                case HangUp():
                    return "caller"
                case DropLine():
                    return "line"
                case _:
                    await self._take(step)
        self.step = None
        return ""

    def where(self) -> str:
        """The step the caller is at, for a message."""
        return f"step {self.step_number} of {self._script.name}, {type(self.step).__name__}"

    def surprised_by_end(self) -> bool:
        """Whether an end of the call by the other side, now, is not what the script expects."""
        return self.step is not None and not isinstance(self.step, WaitForEnd | HangUp | DropLine)

    async def _take(self, step: Step) -> None:
        match step:
            case Listen():
                await self._within(step.timeout_ms, self._agent_done(step.silent_ms / 1000))
            case Hear():
                await self._within(step.timeout_ms, self._agent_speaking(step.after_ms / 1000))
            case HearAnew():
                self._since = self._loop.time()
                await self._within(step.timeout_ms, self._agent_speaking(0))
            case Say():
                await self._say(step.clip, only_ms=step.only_ms)
            case Interrupt():
                await self._within(step.timeout_ms, self._agent_speaking(step.after_ms / 1000))
                await self._say(step.clip, interrupting=True)
            case Wait():
                await asyncio.sleep(step.ms / 1000)
            case Press():
                await self._press(step)
            case WaitForEnd():
                await asyncio.sleep(step.timeout_ms / 1000)
            case HangUp() | DropLine():
                raise AssertionError("taken by follow")
            case _:
                assert_never(step)

    async def _within(self, timeout_ms: int, waiting: Coroutine[Any, Any, None]) -> None:
        try:
            await asyncio.wait_for(waiting, timeout_ms / 1000)
        except TimeoutError:
            raise ScriptFailed(f"{self.where()}: not within {timeout_ms / 1000:g} s") from None

    async def _agent_done(self, silent: float) -> None:
        while True:
            stream = await self._line.tick()
            sounds = self._heard(stream)
            if sounds and self._loop.time() - sounds[-1].end >= silent:
                return

    async def _agent_speaking(self, length: float) -> None:
        while True:
            stream = await self._line.tick()
            sounds, now = self._heard(stream), self._loop.time()
            if not sounds:
                continue
            if now - sounds[-1].end < BREATH_SECONDS:
                if sounds[-1].end - sounds[0].start >= length:
                    return
            elif now - sounds[-1].end > 4 * BREATH_SECONDS:
                raise ScriptFailed(f"{self.where()}: the agent stopped before {length:g} s")

    def _heard(self, stream: MediaStream) -> list[Span]:
        sounds = stream.ears.playback.sounds
        first = len(sounds)
        while first and sounds[first - 1].end > self._since:
            first -= 1
        return sounds[first:]

    async def _say(self, name: str, *, only_ms: int = 0, interrupting: bool = False) -> None:
        clip = self._clips(name)
        while True:
            stream = await self._line.tick()
            stream.mouth.say(clip, only_ms=only_ms, interrupting=interrupting)
            self._tell(f'caller {"interrupts" if interrupting else "says"}: "{clip.text}"')
            while stream.mouth.speaking and await stream.tick():
                pass
            self._since = self._loop.time()
            if not stream.ended:
                return
            self._tell("the line falls silent while the caller speaks")
            await self._within(round(PATIENCE_SECONDS * 1000), self._agent_done(BREATH_SECONDS))

    async def _press(self, step: Press) -> None:
        for digit in step.digits:
            stream = await self._line.tick()
            self._tell(f"caller presses {digit}")
            if step.heard:
                stream.mouth.say(Tone(f"key {digit}", "", key_tone(digit, min(100, step.gap_ms - 40))))
            await stream.press(digit)
            await asyncio.sleep(step.gap_ms / 1000)
