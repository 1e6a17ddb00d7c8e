"""Twilio's media stream: who may open one, and the way in for its messages. The call itself is in `bridge`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import structlog
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable
from autobahn.exception import Disconnected
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from businesses.snapshots import AgentSnapshot
from calls import secret_entry
from calls.admission import get_admission
from calls.carriers import twilio as carrier
from calls.doors import NotAdmitted, admit, recall, tell_ending
from calls.history import PastTurn
from calls.recorder import get_recorder
from calls.stream_tickets import Ticket, TicketRefused, read_ticket, read_token
from media import live, tools, turns
from media.bridge import CallBridge, call_config
from media.engine.events import CarrierClosed, StreamStopped
from media.realtime import get_model
from media.record import Caller, CallRecord
from media.wire import twilio as wire

log = structlog.get_logger(__name__)

MAX_MESSAGE_CHARS = 64 * 1024  # or bytes; a frame of 20 ms has about 400
MAX_MALFORMED = 50  # then this is not Twilio
# 1003, 1008 and 1009 of RFC 6455 §7.4.1, moved to its private range: daphne lets an application send 1000 or 3000 to
# 4999 only, and raises on anything else.
UNSUPPORTED_DATA, POLICY_VIOLATION, TOO_BIG = 4003, 4008, 4009


class StreamRefused(Exception):
    """This stream may not open. `reason` is a short code, safe to log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MediaStreamConsumer(AsyncWebsocketConsumer):
    """One media stream.

    Its own receive loop replaces Channels' dispatch, which awaits the database thread before every message: one slow
    query would stop the audio of all calls (performance 0.2). It has no channel layer, because a layer's restart
    closes every socket that waits on it (reliability 0.5).
    """

    channel_layer_alias = "none"  # names no layer

    bridge: CallBridge | None = None
    ticket: Ticket
    started = False
    waits = False  # for the next message: all before it has been seen
    malformed = 0
    is_open = False
    # Given by our servers (voiceagent.serving), not by every one.
    write: Callable[[Sequence[bytes]], bool] | None = None

    async def __call__(self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self.scope, self.base_send = scope, send
        self.log = log.bind(call_sid=self._kwargs()["call_sid"])
        await receive()  # websocket.connect: always the first
        try:
            if not await self._open():
                return
            while (message := await self._next(receive))["type"] == "websocket.receive":
                if close_code := await self._receive(message.get("text")):
                    await self.close_with(close_code)
                    return
            self.is_open = False
            await turns.mine()
        finally:
            # Also when this coroutine dies or is killed: `disconnect` alone is not always called (reliability 0.6).
            self.is_open = False
            if self.bridge is not None:
                self.bridge.feed(CarrierClosed())
            self.bridge = self.write = None  # they have us, and a circle is freed late, by a pause for all calls

    async def _next(self, receive: ASGIReceiveCallable) -> Any:
        self.waits = True
        try:
            return await receive()
        finally:
            self.waits = False

    # --- The handshake -------------------------------------------------------------------------------------

    async def _open(self) -> bool:
        """Accept the stream and begin its call, or refuse with 403 before anything is spent."""
        await turns.mine()
        try:
            agent = await self._authorise()
            past, digits_lost = await self._before(agent) if self.ticket.stream_number else ([], False)
            await turns.mine()
            if not live.calls.accepting:  # since then: the server may leave without having seen this call
                raise StreamRefused("server_stopping")
        except StreamRefused as refusal:
            self.log.warning("stream_refused", reason=refusal.reason)
            await self.close()
            return False
        self.is_open = True
        self.bridge = self._make_bridge(agent, past, digits_lost=digits_lost)
        self.bridge.begin()
        await self.accept()
        extensions: dict[str, Any] = self.scope.get("extensions") or {}
        if direct := extensions.get("voiceagent.direct"):
            self.write = direct["write"]
            direct["read"](self._take)
        return True

    async def _before(self, agent: AgentSnapshot) -> tuple[list[PastTurn], bool]:
        """What is known of the call's streams before this one: what was said, and whether secret digits were typed."""
        past = asyncio.create_task(recall(self.ticket))
        collects = any(spec.collects_digits for spec in tools.specs(agent).values())
        digits_lost = collects and await secret_entry.was_lost(self.ticket.call_sid)
        return await past, digits_lost

    async def _authorise(self) -> AgentSnapshot:
        """Return whom the call is answered by. Raise StreamRefused."""
        headers = dict(self.scope["headers"])
        if not live.calls.accepting:
            raise StreamRefused("server_stopping")
        if b"origin" in headers:
            raise StreamRefused("browser_origin")  # Twilio is no browser; a web page must not reach this socket
        signature = headers.get(b"x-twilio-signature", b"").decode("latin-1") or None
        if not carrier.handshake_is_signed(self._raw_path(), signature):
            raise StreamRefused("bad_signature")
        try:
            self.ticket = read_ticket(self._kwargs()["ticket"], self._kwargs()["call_sid"])
            if not get_admission().fits(self.ticket.call_sid, asyncio.get_running_loop().time()):
                raise StreamRefused("process_full")
            agent = await admit(self.ticket)
        except (TicketRefused, NotAdmitted) as refusal:
            raise StreamRefused(refusal.reason) from refusal
        return tools.for_outbound(agent) if self.ticket.is_outbound else agent

    def _make_bridge(self, agent: AgentSnapshot, past: list[PastTurn], *, digits_lost: bool) -> CallBridge:
        model = get_model()
        record = CallRecord(
            recorder=get_recorder(),
            call_sid=self.ticket.call_sid,
            business_id=self.ticket.business_id,
            agent_version_id=agent.version_id,
            opened_at=asyncio.get_running_loop().time(),
            stream_number=self.ticket.stream_number,
            model=agent.model or settings.OPENAI_REALTIME_MODEL,
        )
        config = call_config(
            agent,
            model,
            stream_number=self.ticket.stream_number,
            past=past,
            came_back=self.ticket.came_back,
            digits_lost=digits_lost,
        )
        return CallBridge(agent=agent, config=config, model=model, carrier=self, record=record)

    def _kwargs(self) -> dict[str, str]:
        return self.scope["url_route"]["kwargs"]

    def _raw_path(self) -> str:
        # Decoding is not reversible, so the signature needs the path as it stood on the wire (protocols, twilio A8).
        raw = self.scope.get("raw_path")
        return raw.partition(b"?")[0].decode("latin-1") if raw else quote(self.scope["path"])

    # --- What Twilio says ----------------------------------------------------------------------------------

    async def _receive(self, text: str | None) -> int | None:
        """Take one message; return the code to close with when the peer breaks the rules."""
        assert self.bridge is not None
        if text is None:
            return UNSUPPORTED_DATA
        if len(text) > MAX_MESSAGE_CHARS:
            return TOO_BIG
        try:
            message = wire.decode(text)
        except wire.WireError as error:
            self.malformed += 1
            self.log.warning("carrier_message_ignored", reason=str(error), count=self.malformed)
            return POLICY_VIOLATION if self.malformed >= MAX_MALFORMED else None
        if isinstance(message, wire.Connected):
            return None
        if isinstance(message, wire.Start):
            return self._start(message)
        if self.started:  # nothing counts before an authorised `start`
            if isinstance(message, StreamStopped):
                await turns.mine()
            self.bridge.feed(message)
        return None

    def _take(self, text: bytes) -> bool:
        """What comes all the time, before it goes the way of all messages; False: it is to go that way."""
        ready = self.waits and self.started and self.is_open
        if not ready or self.bridge is None or len(text) > MAX_MESSAGE_CHARS:
            return False
        message = wire.often(text)
        if message is None:
            return False
        if isinstance(message, str):
            self.bridge.hear(message)
        else:
            self.bridge.feed(message)
        return True

    def _start(self, start: wire.Start) -> int | None:
        assert self.bridge is not None
        try:
            caller = self._authorised_caller(start)
        except StreamRefused as refusal:
            self.log.warning("stream_refused", reason=refusal.reason)
            self.bridge.discard()
            return POLICY_VIOLATION
        self.started = True
        self.bridge.start(caller, start.stream_sid)
        return None

    def _authorised_caller(self, start: wire.Start) -> Caller:
        """Return who calls, by the token; `start` must name the same call and account. Raise StreamRefused."""
        if self.started:
            raise StreamRefused("second_start")
        try:
            token = read_token(start.parameters.get("token", ""), self.ticket)
        except TicketRefused as refusal:
            raise StreamRefused(refusal.reason) from refusal
        if not start.call_sid == token.call_sid == self.ticket.call_sid:
            raise StreamRefused("other_call")
        if start.account_sid != token.account_sid or token.business_id != self.ticket.business_id:
            raise StreamRefused("other_account")
        return Caller(token.account_sid, token.from_number, token.to_number, token.direction)

    # --- What the bridge sends -----------------------------------------------------------------------------

    def send_now(self, texts: Sequence[bytes]) -> bool:
        return self.is_open and self.write is not None and self.write(texts)

    async def send_text(self, text: bytes) -> None:
        if not self.is_open:
            return
        try:
            await self.send(text_data=text.decode())
        except (Disconnected, OSError):  # daphne's way of saying so, and ASGI's
            # Twilio's close is in, but what it said before, `stop` perhaps, still waits in our queue: that, not this,
            # tells how the call ended. The end of the socket follows in the queue.
            self.is_open = False

    async def close_with(self, code: int) -> None:
        # Before the socket closes: the carrier then asks at once what comes next, and perhaps another process.
        await tell_ending(self.ticket.call_sid, self.ticket.stream_number)
        if self.is_open:
            self.is_open = False
            await self.close(code=code)
