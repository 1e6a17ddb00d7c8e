"""Twilio's end of a media stream, by hand: signs the handshake and writes the messages of its documentation.

Shares no code with what it tests. It talks to the ASGI application in this process.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

from channels.testing import WebsocketCommunicator

from calls import stream_tickets
from tests.media.fakes import ACCOUNT_SID, CALL_SID, STREAM_SID, eventually
from voiceagent.asgi import application

PUBLIC_HOST = "voice.example.com"
AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
SETTINGS: dict[str, Any] = {
    "PUBLIC_URL": f"https://{PUBLIC_HOST}",
    "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
    "TWILIO_AUTH_TOKENS": [AUTH_TOKEN],
    "CACHES": {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
}


def signature(path: str, token: str = AUTH_TOKEN) -> str:
    url = f"wss://{PUBLIC_HOST}{path}"
    return base64.b64encode(hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()).decode()


def issue(call_sid: str = CALL_SID, **changes: Any) -> tuple[str, str]:
    """Return (ticket, token), as the webhook makes them."""
    facts: dict[str, Any] = {
        "call_sid": call_sid,
        "account_sid": ACCOUNT_SID,
        "business_id": 3,
        "agent_version_id": 7,
        "from_number": "+15550100111",
        "to_number": "+15550100100",
        "direction": "inbound",
    }
    return stream_tickets.issue(**{**facts, **changes})


class TwilioStream:
    """One media stream, opened with `open()`. What came from us is in `received`."""

    def __init__(
        self,
        *,
        call_sid: str = CALL_SID,
        ticket: str | None = None,
        token: str | None = None,
        signed: str | None = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        echoes_marks: bool = False,  # as if all audio were played in no time
    ) -> None:
        issued_ticket, issued_token = issue(call_sid)
        self.echoes_marks = echoes_marks
        self.call_sid = call_sid
        self.ticket = issued_ticket if ticket is None else ticket
        self.token = issued_token if token is None else token
        self.path = f"/media/stream/{call_sid}/{self.ticket}/"
        all_headers = list(headers)
        if signed is not None:
            all_headers.append((b"x-twilio-signature", (signed or signature(self.path)).encode()))
        self.socket = WebsocketCommunicator(application, self.path, headers=all_headers)
        self.received: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self._sequence = 0
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> bool:
        """Return whether the stream was accepted."""
        accepted, _ = await self.socket.connect(timeout=5)
        if accepted:
            self._reader = asyncio.create_task(self._read())
            await self.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        return bool(accepted)

    async def send(self, message: dict[str, Any]) -> None:
        await self.socket.send_to(text_data=json.dumps(message))

    async def start(self, **changes: Any) -> None:
        start = {
            "accountSid": ACCOUNT_SID,
            "streamSid": STREAM_SID,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": self.token},
            **changes,
        }
        await self._send_counted({"event": "start", "start": start})

    async def media(self, payload: str) -> None:
        media = {"track": "inbound", "chunk": "1", "timestamp": "20", "payload": payload}
        await self._send_counted({"event": "media", "media": media})

    async def stop(self) -> None:
        await self._send_counted({"event": "stop", "stop": {"accountSid": ACCOUNT_SID, "callSid": self.call_sid}})

    async def until_closed(self) -> None:
        await eventually(lambda: self.close_code)

    async def hang_up(self) -> None:
        await self.stop()
        await self.socket.disconnect(timeout=5)
        if self._reader is not None:
            self._reader.cancel()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [message for message in self.received if message["event"] == name]

    async def _send_counted(self, message: dict[str, Any]) -> None:
        self._sequence += 1
        await self.send({**message, "sequenceNumber": str(self._sequence), "streamSid": STREAM_SID})

    async def _read(self) -> None:
        while True:
            message = await self.socket.output_queue.get()
            if message["type"] == "websocket.close":
                self.close_code = message.get("code", 1000)
                return
            assert "bytes" not in message, "Twilio refuses binary frames (31950)"
            self.received.append(json.loads(message["text"]))
            if self.received[-1]["event"] == "mark" and self.echoes_marks:
                await self._send_counted({"event": "mark", "mark": self.received[-1]["mark"]})

    def audio(self) -> bytes:
        """Everything we were given to play, decoded."""
        return b"".join(base64.b64decode(message["media"]["payload"]) for message in self.events("media"))
