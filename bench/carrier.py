"""Fake Twilio media streams: signed webhook, signed websocket, 20 ms frames on an absolute clock, marks, clears.

Only what the measurement needs is there (twilio.com/docs/usage/security, /voice/media-streams/websocket-messages; the
strict simulator is simulators/carrier).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import html
import http.client
import re
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bench.line import BYTES_PER_SECOND, FRAME_SECONDS, Line, quiet_frame

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.10"}  # as the proxy in front would say

_STREAM = re.compile(r'<Stream url="([^"]+)"')
_TOKEN = re.compile(r'<Parameter name="token" value="([^"]+)"')


class Refused(Exception):
    """The product did not connect the call. The text is what it answered."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where the product listens, and what its carrier signs with."""

    port: int
    public_url: str  # https://...
    sid: str
    auth_token: str
    number: str  # that is dialled

    def signature(self, url: str, params: Mapping[str, str]) -> str:
        text = url + "".join(name + params[name] for name in sorted(params))
        return base64.b64encode(hmac.digest(self.auth_token.encode(), text.encode(), hashlib.sha1)).decode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the product's TwiML says of the stream to open."""

    url: str
    token: str


def ask(account: Account, call_sid: str, caller: str) -> Answer:
    """Post the webhook of an incoming call, signed as the carrier does. Raise Refused."""
    url, path = f"{account.public_url}/twilio/voice/", "/twilio/voice/"
    form = {
        "CallSid": call_sid,
        "AccountSid": account.sid,
        "From": caller,
        "To": account.number,
        "CallStatus": "ringing",
        "Direction": "inbound",
        "ApiVersion": "2010-04-01",
    }
    headers = FORWARDED | {
        "Host": urlsplit(url).netloc,
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Twilio-Signature": account.signature(url, form),
    }
    connection = http.client.HTTPConnection("127.0.0.1", account.port, timeout=15)
    with contextlib.closing(connection):
        connection.request("POST", path, urlencode(form), headers)
        answer = connection.getresponse()
        body = answer.read().decode()
    if answer.status != 200:
        raise Refused(f"{answer.status} {body[:200]}")
    stream, token = _STREAM.search(body), _TOKEN.search(body)
    if stream is None or token is None:
        raise Refused(body)
    return Answer(html.unescape(stream[1]), html.unescape(token[1]))


class _Media(msgspec.Struct):
    payload: str


class _Mark(msgspec.Struct):
    name: str


class _Message(msgspec.Struct):
    """From the product."""

    event: str
    media: _Media | None = None
    mark: _Mark | None = None


_read = msgspec.json.Decoder(_Message).decode
_write = msgspec.json.Encoder().encode


class Call:
    """`await call.connect()`, then `run()` until `over` is set. `voice`: base64 frames for a caller who speaks."""

    def __init__(self, account: Account, line: Line, voice: Sequence[str], over: asyncio.Event) -> None:
        self._account, self._line, self._voice, self._over = account, line, voice, over
        self._call_sid, self._stream_sid = "CA" + secrets.token_hex(16), "MZ" + secrets.token_hex(16)
        self._rng = Random(line.number)
        self._quiet = quiet_frame(line.number)
        self._marks: deque[tuple[float, str]] = deque()  # when its audio will have been played; its name
        self._sequence = 0

    async def connect(self) -> None:
        asked = await asyncio.to_thread(ask, self._account, self._call_sid, f"+1555020{self._line.number:04d}")
        self._token, url = asked.token, asked.url
        parts = urlsplit(url)
        self._socket: ClientConnection = await connect(
            f"ws://{parts.netloc}{parts.path}",
            host="127.0.0.1",
            port=self._account.port,
            additional_headers=FORWARDED | {"X-Twilio-Signature": self._account.signature(url, {})},
            compression=None,
            proxy=None,
            max_size=None,
            ping_interval=None,
            close_timeout=2,
        )

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen())
        try:
            await self._speak()
        except ConnectionClosed:
            self._line.lost = True
        finally:
            await self._socket.close()
            await listening

    async def _speak(self) -> None:
        await self._socket.send('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        start = {
            "accountSid": self._account.sid,
            "streamSid": self._stream_sid,
            "callSid": self._call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": self._token},
        }
        await self._send("start", start)
        began, frame = time.monotonic(), 0
        while not self._over.is_set():
            frame += 1
            await asyncio.sleep(max(0.0, began + frame * FRAME_SECONDS - time.monotonic()))
            await self._return_marks()
            await self._send_frame(frame)
        await self._send("stop", {"accountSid": self._account.sid, "callSid": self._call_sid})

    async def _send_frame(self, frame: int) -> None:
        line = self._line
        line.frames += 1
        line.frames_over_agent += line.agent_left() > 0
        audio = self._rng.choice(self._voice) if line.voiced else self._quiet
        media = {"track": "inbound", "chunk": str(frame), "timestamp": str(frame * 20), "payload": audio}
        await self._send("media", media)

    async def _return_marks(self) -> None:
        """Those whose audio has been played, at most one frame ago."""
        while self._marks and self._marks[0][0] <= time.monotonic():
            await self._send("mark", {"name": self._marks.popleft()[1]})

    async def _send(self, event: str, body: dict[str, Any]) -> None:
        self._sequence += 1
        message = {
            "event": event,
            "sequenceNumber": str(self._sequence),
            "streamSid": self._stream_sid,
            event: body,
        }
        await self._socket.send(_write(message).decode())

    async def _listen(self) -> None:
        async for raw in self._socket:
            now_ns = time.monotonic_ns()
            message, line = _read(raw), self._line
            if message.media is not None:
                payload = message.media.payload
                size = len(payload) * 3 // 4 - payload.count("=", -2)
                line.plays_until = max(line.plays_until, now_ns / 1e9) + size / BYTES_PER_SECOND
            elif message.mark is not None:
                self._marks.append((line.plays_until, message.mark.name))
            elif message.event == "clear":
                line.cleared(now_ns)
                # A clear returns all marks that are out, at once.
                self._marks = deque((0.0, name) for _, name in self._marks)
