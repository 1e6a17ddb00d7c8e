"""How long the agent goes on talking over a caller, as far as it is up to the product: speech_started -> clear."""

from __future__ import annotations

import asyncio
import base64
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bench.carrier import Call
from bench.figures import percentile
from bench.line import Line, voice
from bench.model import Model
from bench.system import System, Web

BETWEEN_CALLS_SECONDS = 0.1  # they are placed one after another
WARM_UP_SECONDS = 4.0  # until every agent speaks, and what is done once has been done
VOICE_FRAMES = 500
LATENESS_SECONDS = 0.005  # how often the generator looks how late it is itself


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to. Times in milliseconds unless their name says seconds."""

    calls: int
    seconds: float
    delays: Sequence[float]  # speech_started -> clear, of every interruption
    missed: int  # interruptions without a clear
    unasked: int  # clears without an interruption
    lost: int  # calls that the product ended
    agent_share: float  # of the callers' frames that were sent while the agent was to be heard
    cpu_seconds: float  # of the web process
    generator_late: float  # of its timers, 99th percentile; epoll alone rounds them up by 1 ms
    unknown: Sequence[str]  # kinds of message to the model that the fake does not know

    @property
    def cpu_ms_per_call_second(self) -> float:
        return self.cpu_seconds * 1000 / (self.calls * self.seconds)

    @property
    def is_sound(self) -> bool:
        return bool(self.delays) and not (self.missed or self.lost)


async def measure(system: System, calls: int, seconds: float, seed: int) -> Run:
    """Place the calls on a fresh web process, and look at them for `seconds`, once all of them are warm."""
    rng = Random(seed)
    lines = [Line(number, Random(rng.getrandbits(64))) for number in range(calls)]
    speech = [base64.b64encode(frame).decode() for frame in voice(rng, VOICE_FRAMES)]
    async with Model(lines, seed) as model:
        with system.web(model.port) as web:
            over = asyncio.Event()
            placed: list[asyncio.Task[None]] = []
            try:
                for line in lines:
                    call = Call(web.account, line, speech, over)
                    await call.connect()
                    placed.append(asyncio.create_task(call.run()))
                    await asyncio.sleep(BETWEEN_CALLS_SECONDS)
                await asyncio.sleep(WARM_UP_SECONDS)
                return await _look(lines, web, seconds, model.unknown)
            finally:
                over.set()
                await asyncio.gather(*placed)


async def _look(lines: Sequence[Line], web: Web, seconds: float, unknown: set[str]) -> Run:
    # A collection in this process would be measured as the product's delay.
    gc.collect()
    gc.disable()
    for line in lines:
        line.forget()
    cpu, began = web.cpu_seconds(), time.monotonic()
    late = await _lateness(seconds)
    cpu, took = web.cpu_seconds() - cpu, time.monotonic() - began
    gc.enable()
    return Run(
        calls=len(lines),
        seconds=took,
        delays=[delay for line in lines for delay in line.delays_ms],
        missed=sum(line.missed for line in lines),
        unasked=sum(line.unasked for line in lines),
        lost=sum(line.lost for line in lines),
        agent_share=sum(line.frames_over_agent for line in lines) / max(1, sum(line.frames for line in lines)),
        cpu_seconds=cpu,
        generator_late=percentile(late, 0.99),
        unknown=sorted(unknown),
    )


async def _lateness(seconds: float) -> list[float]:
    """For `seconds`, by how many milliseconds a timer of this process's loop is late."""
    late, until = [], time.monotonic() + seconds
    while (due := time.monotonic() + LATENESS_SECONDS) < until:
        await asyncio.sleep(LATENESS_SECONDS)
        late.append((time.monotonic() - due) * 1000)
    return late
