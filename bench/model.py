"""A fast fake of the OpenAI Realtime server: always answers at length, and reports a caller who interrupts.

Only what the measurement needs is there (developers.openai.com, guides/realtime-conversations; the strict simulator is
simulators/model). It does not listen: at random moments of the agent's speech it decides that the caller speaks.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bench.line import FRAME_SECONDS, Line, line_number, voice

ANSWER_SECONDS = 20.0  # so long that every answer is interrupted
DELTA_SECONDS = 0.4
TIMES_REAL_TIME = 5.0  # an answer is generated so much faster than it is spoken
FIRST_AUDIO_SECONDS = 0.2

AGENT_SPEAKS_FOR = (0.8, 2.5)  # seconds until the caller interrupts
NOTICED_AFTER = 0.2  # a voice is heard for so long before speech_started
SPEAKS_FOR = (0.4, 2.0)  # from speech_started: "stop" as well as whole sentences
SILENCE_SECONDS = 0.5  # silence_duration_ms of the session
WRITTEN_AFTER = (0.15, 0.5)  # from the commit to the transcript
ENOUGH_LEFT = 0.6  # seconds of the agent's speech at the carrier, so that there is something to clear
WORDS = ("Wait, I have got another question.", "Stop, that is not what I meant.", "No, please tell me the price first.")
SPOKEN = "and this goes on for quite some time "

_write = msgspec.json.Encoder().encode


class _Message(msgspec.Struct):
    """From the product. Fields of other kinds of message are passed over."""

    type: str
    audio: str = ""
    response_id: str = ""
    item_id: str = ""
    content_index: int = 0
    audio_end_ms: int = 0
    item: dict[str, Any] = {}
    session: dict[str, Any] = {}


_read = msgspec.json.Decoder(_Message).decode


class Model:
    """`async with Model(lines, seed) as model:`; listens on `model.port`. It hears only the lines it is given."""

    def __init__(self, lines: Sequence[Line], seed: int) -> None:
        self.port = 0
        self.unknown: set[str] = set()  # kinds of message that this fake does not know
        self._lines = lines
        frames = voice(Random(seed), 50 * round(DELTA_SECONDS / FRAME_SECONDS))
        size = round(DELTA_SECONDS / FRAME_SECONDS)
        pieces = (b"".join(frames[at : at + size]) for at in range(0, len(frames), size))
        self._deltas = [base64.b64encode(piece).decode() for piece in pieces]
        self._server: Server | None = None

    async def __aenter__(self) -> Model:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=None, close_timeout=1
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, socket: ServerConnection) -> None:
        session = _Session(socket, self._lines, self._deltas, self.unknown)
        with contextlib.suppress(ConnectionClosed):
            await session.run()


class _Session:
    def __init__(
        self, socket: ServerConnection, lines: Sequence[Line], deltas: Sequence[str], unknown: set[str]
    ) -> None:
        self._socket, self._lines, self._deltas, self._unknown = socket, lines, deltas, unknown
        self._line: Line | None = None
        self._ids = itertools.count(1)
        self._last_item: str | None = None
        self._active = ""  # the response that is being generated
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        await self._send("session.created", session={"type": "realtime", "id": "sess_bench"})
        try:
            async for raw in self._socket:
                await self._receive(_read(raw))
        finally:
            for task in self._tasks:
                task.cancel()

    async def _receive(self, message: _Message) -> None:
        match message.type:
            case "input_audio_buffer.append":
                if self._line is None:
                    self._hears(self._lines[line_number(message.audio)])
            case "session.update":
                await self._send("session.updated", session=message.session | {"id": "sess_bench"})
            case "response.create":
                await self._create()
            case "response.cancel":
                await self._cancel(message.response_id)
            case "conversation.item.truncate":
                place = {"content_index": message.content_index, "audio_end_ms": message.audio_end_ms}
                await self._send("conversation.item.truncated", item_id=message.item_id, **place)
            case "conversation.item.create":
                await self._add(message.item | {"id": message.item.get("id") or self._new("item")})
            case "conversation.item.delete":
                await self._send("conversation.item.deleted", item_id=message.item_id)
            case other:
                self._unknown.add(other)

    def _hears(self, line: Line) -> None:
        self._line = line
        self._start(self._interrupt(line))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(_until_closed(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, kind: str, **fields: Any) -> None:
        message = {"type": kind, "event_id": self._new("event"), **fields}
        await self._socket.send(_write(message).decode())

    def _new(self, kind: str) -> str:
        return f"{kind}_{next(self._ids)}"

    async def _add(self, item: dict[str, Any]) -> None:
        item = {"object": "realtime.item", "status": "completed", **item}
        await self._send("conversation.item.added", previous_item_id=self._last_item, item=item)
        await self._send("conversation.item.done", previous_item_id=self._last_item, item=item)
        self._last_item = item["id"]

    # --- The agent speaks ------------------------------------------------------------------------------------

    async def _create(self) -> None:
        if self._active:
            code = "conversation_already_has_active_response"
            await self._send("error", error={"type": "invalid_request_error", "code": code, "message": code})
            return
        self._active = self._new("resp")
        await self._send("response.created", response=_response(self._active, "in_progress"))
        self._start(self._answer(self._active))

    async def _cancel(self, response_id: str) -> None:
        if not self._active or response_id not in ("", self._active):
            code = "response_cancel_not_active"
            await self._send("error", error={"type": "invalid_request_error", "code": code, "message": code})
            return
        cancelled, self._active = self._active, ""
        details = {"type": "cancelled", "reason": "client_cancelled"}
        await self._send("response.done", response=_response(cancelled, "cancelled") | {"status_details": details})

    async def _answer(self, response_id: str) -> None:
        item = {"id": self._new("item"), "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        of_item = {"response_id": response_id, "item_id": item["id"], "output_index": 0, "content_index": 0}
        await self._send("response.output_item.added", response_id=response_id, output_index=0, item=item)
        await self._send("conversation.item.added", previous_item_id=self._last_item, item=item)
        self._last_item = str(item["id"])
        await self._send("response.content_part.added", **of_item, part={"type": "audio", "transcript": ""})
        pieces = round(ANSWER_SECONDS / DELTA_SECONDS)
        began = asyncio.get_running_loop().time() + FIRST_AUDIO_SECONDS
        for place in range(pieces):
            await _until(began + place * DELTA_SECONDS / TIMES_REAL_TIME)
            if self._active != response_id:
                return
            await self._send("response.output_audio_transcript.delta", **of_item, delta=SPOKEN)
            await self._send("response.output_audio.delta", **of_item, delta=self._deltas[place % len(self._deltas)])
        await self._send("response.output_audio.done", **of_item)
        await self._send("response.output_audio_transcript.done", **of_item, transcript=SPOKEN * pieces)
        item |= {"status": "completed"}
        await self._send("response.output_item.done", response_id=response_id, output_index=0, item=item)
        await self._send("conversation.item.done", previous_item_id=None, item=item)
        self._active = ""
        await self._send("response.done", response=_response(response_id, "completed"))

    # --- The caller interrupts -------------------------------------------------------------------------------

    async def _interrupt(self, line: Line) -> None:
        while True:
            await asyncio.sleep(FRAME_SECONDS)
            if line.agent_left() < ENOUGH_LEFT:
                continue
            await asyncio.sleep(line.rng.uniform(*AGENT_SPEAKS_FOR))
            line.voiced = True
            await asyncio.sleep(NOTICED_AFTER)
            if line.agent_left() < ENOUGH_LEFT:
                line.voiced = False  # nothing to interrupt any more
                continue
            await self._speech(line)

    async def _speech(self, line: Line) -> None:
        item_id = self._new("item")
        line.speech_started()
        await self._send("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=0)
        await asyncio.sleep(line.rng.uniform(*SPEAKS_FOR))
        line.voiced = False
        await asyncio.sleep(SILENCE_SECONDS)
        line.speech_stops()
        await self._send("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=0)
        await self._send("input_audio_buffer.committed", item_id=item_id, previous_item_id=self._last_item)
        content = [{"type": "input_audio", "transcript": None}]
        await self._add({"id": item_id, "type": "message", "role": "user", "content": content})
        await asyncio.sleep(line.rng.uniform(*WRITTEN_AFTER))
        kind = "conversation.item.input_audio_transcription.completed"
        usage = {"type": "duration", "seconds": 1}
        await self._send(kind, item_id=item_id, content_index=0, transcript=line.rng.choice(WORDS), usage=usage)


def _response(response_id: str, status: str) -> dict[str, Any]:
    usage = None if status == "in_progress" else {"total_tokens": 20, "input_tokens": 10, "output_tokens": 10}
    return {
        "id": response_id,
        "object": "realtime.response",
        "status": status,
        "status_details": None,
        "output": [],
        "usage": usage,
    }


async def _until(when: float) -> None:
    """Sleep until `when`, by the loop's clock."""
    await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))


async def _until_closed(work: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        await work
