"""One media stream: Twilio's end of the websocket (twilio.com/docs/voice/media-streams/websocket-messages).

Frames leave on an absolute clock: frame n is due at start + 20 (n + 1) ms, and late ones follow back to back.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from simulators.carrier.audio import BYTES_PER_SECOND, FRAME_MS, mixed
from simulators.carrier.ears import Ears
from simulators.carrier.faults import Faults
from simulators.carrier.ledger import CallLedger, DigitRecord, MarkRecord, StreamLedger
from simulators.carrier.mouth import Mouth

# A send that waits this long means that the server does not read: Twilio drops audio and warns 31930.
SLOW_SERVER_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Environment:
    """What a stream is given beside its socket and ledgers. `tell` takes the lines of the narration."""

    faults: Faults
    rng: Random
    tell: Callable[[str], None]
    close_code: int = 1000


class MediaStream:
    """Run it with `run`; it ends when either side closes. The caller acts through `mouth`, `press` and `tick`."""

    def __init__(
        self, socket: ClientConnection, call: CallLedger, ledger: StreamLedger, environment: Environment
    ) -> None:
        self.ledger = ledger
        self.ended = False
        self.mouth = Mouth(ledger.utterances)
        self._socket, self._call, self._environment = socket, call, environment
        self._faults = environment.faults
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._ears = self._new_ears()
        self._sequence = 0
        self._chunk = 0
        self._sending = asyncio.Lock()
        self._wake = asyncio.Event()
        self._ticked: asyncio.Future[bool] = self._loop.create_future()
        self._sha = hashlib.sha256()
        self._muted = False
        self._tasks: list[asyncio.Task[None]] = []
        self._running: asyncio.Task[None] | None = None
        self.closed_by_us = False
        self.caller_audio = bytearray()

    @property
    def ears(self) -> Ears:
        return self._ears

    def clock_ms(self) -> float:
        return self._ears.clock_ms(self._loop.time())

    async def tick(self) -> bool:
        """Waits for the next frame; False when the stream has ended."""
        if self.ended:
            return False
        return await asyncio.shield(self._ticked)

    @property
    def started_at(self) -> float:
        """The `start` event, in seconds of the loop's clock."""
        return self._start

    async def run(self) -> None:
        """Until the socket closes. Cancelling the one who waits does not end the stream: `hang_up` and `drop` do."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await asyncio.shield(self._running)

    async def _run(self) -> None:
        # connected, start, then everything at once
        await self._send({"event": "connected", "protocol": "Call", "version": "1.0.0"}, counted=False)
        await self._send({"event": "start", "start": self._start_fields()})
        self._start = self._loop.time()
        self._ears = self._new_ears()
        self._tasks = [asyncio.create_task(work()) for work in (self._speak, self._echo, self._trouble)]
        try:
            await self._listen()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._close_books()

    async def hang_up(self, *, stop: bool) -> None:
        """The carrier ends the stream: `stop`, then the close. `run` returns afterwards."""
        self.closed_by_us = True
        for task in self._tasks[:2]:
            task.cancel()
        if stop:
            self.ledger.stop_sent = True
            fields = {"accountSid": self._call.account_sid, "callSid": self._call.call_sid}
            await self._send({"event": "stop", "stop": fields})
        with suppress(ConnectionClosed):
            await self._socket.close(self._environment.close_code)

    def drop(self) -> None:
        """The connection is gone from one moment to the next, without `stop` and without a close frame."""
        self.ledger.closed_by = "lost"
        self._socket.transport.abort()

    async def press(self, digit: str) -> None:
        """Sends one key press."""
        self.ledger.dtmf.append(DigitRecord(digit, self.clock_ms()))
        await self._send({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": digit}})

    def _new_ears(self) -> Ears:
        delay, rng = self._faults.mark_delay_ms, self._environment.rng
        return Ears(self._call, self.ledger, self._start, mark_delay_ms=delay, rng=rng)

    def _start_fields(self) -> dict[str, Any]:
        return {
            "accountSid": self._call.account_sid,
            "streamSid": self.ledger.stream_sid,
            "callSid": self._call.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self.ledger.custom_parameters,
        }

    async def _send(self, message: dict[str, Any], *, counted: bool = True) -> bool:
        """False if the message did not leave: the socket is closed, and `_listen` sees that too and ends the stream."""
        if self._muted:
            return False
        async with self._sending:
            if counted:
                self._sequence += 1
                message |= {"sequenceNumber": str(self._sequence), "streamSid": self.ledger.stream_sid}
            before = self._loop.time()
            try:
                await self._socket.send(json.dumps(message, separators=(",", ":")))
            except ConnectionClosed:
                return False
        if self._loop.time() - before > SLOW_SERVER_SECONDS:
            self._call.complain(31930, "the server reads too slowly")
        return True

    async def _speak(self) -> None:
        faults = self._faults
        stall = (faults.stall_at_ms, faults.stall_at_ms + faults.stall_for_ms)
        while True:
            due_ms = (self.mouth.frames + 1) * FRAME_MS
            leave_ms = stall[1] if stall[0] <= due_ms < stall[1] else self._leaves(due_ms)
            delay = self._start + leave_ms / 1000 - self._loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
            if self._loop.time() - self._start > (due_ms + FRAME_MS) / 1000:
                self.ledger.frames_late += 1
            await self._send_frame(due_ms)
            now = self._loop.time()
            self._ears.advance(now)
            self._ears.narrate(now, self._environment.tell)
            if self._ears.echoes:
                self._wake.set()
            self._tick(alive=True)

    def _leaves(self, due_ms: int) -> float:
        """When a frame leaves, on the stream's clock: late ones follow in their order, whatever came before."""
        faults = self._faults
        if faults.burst_every_ms and (into := due_ms % faults.burst_every_ms) < faults.burst_ms:
            return due_ms - into + faults.burst_ms
        return due_ms + self._environment.rng.uniform(0, faults.frame_jitter_ms)

    def _with_echo(self, audio: bytes, due_ms: int) -> bytes:
        """What the microphone takes in: the voice, and the loudspeaker a moment before."""
        faults = self._faults
        if not faults.echo_db:
            return audio
        end = self._start + (due_ms - faults.echo_delay_ms) / 1000
        echo = self._ears.playback.heard_between(end - FRAME_MS / 1000, end)
        return mixed(audio, echo, 10 ** (-faults.echo_db / 20))

    async def _send_frame(self, due_ms: int) -> None:
        audio = self._with_echo(self.mouth.frame(), due_ms)
        jitter = self._faults.timestamp_jitter_ms
        timestamp = max(0, due_ms + self._environment.rng.randint(-jitter, jitter))
        self._chunk += 1
        media = {
            "track": "inbound",
            "chunk": str(self._chunk),
            "timestamp": str(timestamp),
            "payload": base64.b64encode(audio).decode(),
        }
        if await self._send({"event": "media", "media": media}):
            self._count(audio)

    def _count(self, audio: bytes) -> None:
        ledger = self.ledger
        self._sha.update(audio)
        self.caller_audio += audio
        ledger.frames_sent += 1
        ledger.caller_audio_bytes += len(audio)
        ledger.recent_sha256[ledger.caller_audio_bytes] = self._sha.hexdigest()
        ledger.recent_sha256.pop(ledger.caller_audio_bytes - BYTES_PER_SECOND, None)

    def _tick(self, *, alive: bool) -> None:
        ticked, self._ticked = self._ticked, self._loop.create_future()
        if not ticked.done():
            ticked.set_result(alive)

    async def _listen(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                if self._faults.slow_reader_ms:
                    await asyncio.sleep(self._faults.slow_reader_ms / 1000)
                message = await self._socket.recv()
                if self.ledger.stop_sent:
                    self.ledger.ignored_after_stop += 1
                else:
                    self._ears.receive(message, self._loop.time(), self._environment.tell)
                    self._wake.set()

    async def _echo(self) -> None:
        while True:
            now = self._loop.time()
            self._ears.advance(now)
            while self._ears.echoes and self._ears.echoes[0][0] <= now:
                await self._send_mark(self._ears.echoes.popleft()[1])
            deadlines = [self._ears.playback.deadline(), self._ears.echoes[0][0] if self._ears.echoes else None]
            waits = [deadline - now for deadline in deadlines if deadline is not None]
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, min(waits)) if waits else None)

    async def _send_mark(self, mark: MarkRecord) -> None:
        mark.echoed_ms = self.clock_ms()
        await self._send({"event": "mark", "mark": {"name": mark.name}})

    async def _trouble(self) -> None:
        faults = self._faults
        if at := faults.drop_at_ms or faults.half_open_at_ms:
            await asyncio.sleep(self._start + at / 1000 - self._loop.time())
            if not faults.drop_at_ms:
                self._environment.tell("the connection goes half-open")
                self._muted = True
                self._socket.transport.pause_reading()
                await asyncio.sleep(faults.half_open_for_ms / 1000)
            self._environment.tell("the connection is dropped")
            self.drop()

    def _close_books(self) -> None:
        now = self._loop.time()
        ledger, protocol = self.ledger, self._socket.protocol
        self.mouth.stop()
        self._ears.finish(now)
        ledger.length_ms = self._ears.clock_ms(now)
        ledger.caller_audio_sha256 = self._sha.hexdigest()
        ledger.close_code, ledger.close_reason = protocol.close_code, protocol.close_reason or ""
        if not ledger.closed_by:
            ledger.closed_by = "carrier" if self.closed_by_us else "server"
        self.ended = True
        self._tick(alive=False)
