"""A plain websocket client for the tests of the simulated model. It checks every server event by the SDK's types."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from simulators.model import ModelServer, ModelSettings
from simulators.speech import load

Event = dict[str, Any]
FAST = ModelSettings(seed=7, time_scale=0.02)
DEADLINE = 5.0
TOOL = {"type": "function", "name": "end_call", "parameters": {"type": "object", "properties": {}}}
PCMU = {"type": "audio/pcmu"}
SILENCE_20MS = b"\xff" * 160
# The SDK's session type does not declare what session.created is documented to carry; deltas may carry padding.
KNOWN_EXTRAS = {"session.object", "session.id", "session.expires_at", "obfuscation"}
_KINDS: dict[str, TypeAdapter[Any]] = {
    get_args(kind.model_fields["type"].annotation)[0]: TypeAdapter(kind)
    for kind in get_args(get_args(RealtimeServerEvent)[0])
}


def extras(value: object, path: str = "") -> set[str]:
    found: set[str] = set()
    if isinstance(value, BaseModel):
        found |= {f"{path}{key}" for key in value.model_extra or ()}
        for key in type(value).model_fields:
            found |= extras(getattr(value, key), f"{path}{key}.")
    elif isinstance(value, list):
        for entry in value:
            found |= extras(entry, path)
    return found


def session(**changes: Any) -> Event:
    """A correct session object; changes: instructions, tools, turn_detection, transcription, modalities, input."""
    detection = {
        "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 400,
        "create_response": True, "interrupt_response": True,
    }  # fmt: skip
    if changes.get("turn_detection", True) is not None:
        detection |= changes.get("turn_detection") or {}
    return {
        "type": "realtime",
        "output_modalities": changes.get("modalities", ["audio"]),
        "instructions": changes.get("instructions", "You are Robin."),
        "tools": changes.get("tools", [TOOL]),
        "audio": {
            "input": {
                "format": changes.get("input", PCMU),
                "transcription": changes.get("transcription", {"model": "gpt-transcribe"}),
                "turn_detection": detection if changes.get("turn_detection", True) is not None else None,
            },
            "output": {"format": changes.get("output", PCMU), "voice": "marin"},
        },
    }


class Client:
    def __init__(self, socket: ClientConnection, server: ModelServer, *, strict: bool = True) -> None:
        self.socket, self.server, self.strict = socket, server, strict
        self.events: list[Event] = []
        self.frames: list[str | bytes] = []
        self._news = asyncio.Event()
        self._closed = False
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                self.frames.append(frame)
                if self.strict:
                    self._take(json.loads(frame))
                elif isinstance(frame, str) and frame.startswith('{"event_id"'):
                    self.events.append(json.loads(frame))
                self._news.set()
        except ConnectionClosed:
            pass
        finally:
            self._closed = True
            self._news.set()

    def _take(self, event: Event) -> None:
        model = _KINDS[event["type"]].validate_python(event, strict=True)
        unknown = extras(model) - KNOWN_EXTRAS
        assert not unknown, f"{event['type']} has fields no type knows: {unknown}"
        self.events.append(event)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str, count: int = 1) -> Event:
        """The Nth event of that type, waiting for it."""
        await self.wait(lambda: len(self.of(kind)) >= count, f"{kind} x{count}")
        return self.of(kind)[count - 1]

    async def wait(self, condition: Callable[[], bool], what: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                if self._reader.done() and not self._reader.cancelled() and self._reader.exception():
                    raise AssertionError("the reader failed") from self._reader.exception()
                if self._closed:
                    raise AssertionError(f"closed ({self.socket.close_code}) before {what}; got {self.types}")
                self._news.clear()
                await self._news.wait()

    async def close_code(self) -> int | None:
        async with asyncio.timeout(DEADLINE):
            await self._reader
        return self.socket.close_code

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def types(self) -> list[str]:
        """Event types in order, without repetitions in a row."""
        kinds = [event["type"] for event in self.events]
        return [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]

    async def configure(self, **changes: Any) -> Event:
        before = len(self.of("session.updated"))
        await self.send("session.update", session=session(**changes))
        return await self.until("session.updated", before + 1)

    async def hear(self, audio: bytes, step: int = 320) -> None:
        for start in range(0, len(audio), step):
            await self.send("input_audio_buffer.append", audio=b64encode(audio[start : start + step]).decode())

    async def say(self, *clips: str, silence_ms: int = 600) -> None:
        """The caller says these clips, then is silent."""
        for clip in clips:
            await self.hear(load(clip).audio)
        await self.hear(b"\xff" * (silence_ms * 8))

    async def error(self) -> Event:
        """The error of the first error event."""
        event = await self.until("error")
        body: Event = event["error"]
        return body

    def sound(self, item_id: str) -> bytes:
        deltas = [e for e in self.of("response.output_audio.delta") if e["item_id"] == item_id]
        return b"".join(b64decode(event["delta"]) for event in deltas)


@asynccontextmanager
async def dial(
    server: ModelServer, *, strict: bool = True, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Client]:
    wanted = {"Authorization": "Bearer key", **(headers or {})}
    async with connect(f"{server.url}?model=gpt-realtime-2.1", additional_headers=wanted, compression=None) as socket:
        client = Client(socket, server, strict=strict)
        try:
            yield client
        finally:
            await socket.close()
            await asyncio.wait([client._reader])
        if strict:
            client._reader.result()


@asynccontextmanager
async def talking(settings: ModelSettings = FAST, *, strict: bool = True, **changes: Any) -> AsyncIterator[Client]:
    """A configured session with a server of its own."""
    async with ModelServer(settings) as server, dial(server, strict=strict) as client:
        await client.configure(**changes)
        yield client


def slower(**changes: Any) -> ModelSettings:
    """Slow enough that a response can be met in the middle."""
    return replace(FAST, **{"time_scale": 0.2, "pace": 4.0, **changes})
