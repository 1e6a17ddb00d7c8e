"""Strangers: refused before anything is spent, and without a row."""

import asyncio
import json
import secrets
import urllib.request
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from calls.models import CallLog
from simulators.carrier import signing
from simulators.carrier.faults import Faults
from tests.e2e import system as running
from tests.e2e.cases import CALLER, NUMBER, SystemTestCase


def new_call_sid() -> str:
    return "CA" + secrets.token_hex(16)


@dataclass(frozen=True)
class Invitation:
    """What the webhook's TwiML invites the carrier to: one stream of one call."""

    call_sid: str
    url: str
    token: str


class StrangersAreRefused(SystemTestCase):
    def webhook(self, call_sid: str, signature: str | None = None) -> tuple[int, str]:
        """POST the incoming call; return status and body. `signature`: in place of the right one; "" sends none."""
        form = {
            "CallSid": call_sid,
            "AccountSid": running.ACCOUNT_SID,
            "From": CALLER,
            "To": NUMBER,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "ApiVersion": "2010-04-01",
        }
        right = signing.signature(running.AUTH_TOKEN, f"{running.PUBLIC_URL}/twilio/voice/", form.items())
        headers = {"X-Twilio-Signature": right if signature is None else signature}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.system.port}/twilio/voice/",
            urlencode(form).encode(),
            {name: value for name, value in headers.items() if value},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            return refused.code, ""

    def invitation(self) -> Invitation:
        call_sid = new_call_sid()
        stream = ElementTree.fromstring(self.webhook(call_sid)[1]).find("./Connect/Stream")
        assert stream is not None
        parameter = stream.find("Parameter")
        assert parameter is not None
        return Invitation(call_sid, stream.attrib["url"], parameter.attrib["value"])

    def open_stream(self, url: str) -> connect:
        signature = signing.signature(running.AUTH_TOKEN, url)
        local = f"ws://127.0.0.1:{self.system.port}{urlsplit(url).path}"
        return connect(local, additional_headers={"X-Twilio-Signature": signature}, proxy=None)

    async def handshake(self, url: str) -> int:
        """The status that the handshake is answered with: 101 when it is let in."""
        try:
            async with self.open_stream(url):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    async def send_start(self, socket: ClientConnection, invitation: Invitation, token: str) -> None:
        stream_sid = "MZ" + secrets.token_hex(16)
        start = {
            "accountSid": running.ACCOUNT_SID,
            "streamSid": stream_sid,
            "callSid": invitation.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": token},
        }
        await socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        message = {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": stream_sid}
        await socket.send(json.dumps(message))

    async def let_in_until_the_model_is_reached(self, url: str) -> None:
        """A stream that closes sooner is not worth a session."""
        async with self.open_stream(url):
            await asyncio.to_thread(self.wait, self.model_sessions, "the stream reached the model")

    def model_sessions(self) -> int:
        return sum(fact["fact"] == "opened" for fact in self.model_facts())

    def test_a_webhook_without_or_with_a_wrong_signature_makes_no_row(self) -> None:
        for wrong in ("", "AAAA", signing.signature("another token", f"{running.PUBLIC_URL}/twilio/voice/")):
            call_sid = new_call_sid()
            self.assertEqual(self.webhook(call_sid, signature=wrong)[0], 403)
            self.assertFalse(CallLog.objects.filter(call_sid=call_sid).exists())

    def test_a_handshake_without_or_with_a_wrong_signature_does_not_reach_the_model(self) -> None:
        for kind in ("missing", "wrong"):
            ledger = self.call(faults=Faults(handshake_signature=kind))
            self.assertEqual([stream.handshake_status for stream in ledger.streams], [403] * len(ledger.streams))
        self.assertEqual(self.model_sessions(), 0)

    def test_a_ticket_works_once(self) -> None:
        invitation = self.invitation()
        asyncio.run(self.let_in_until_the_model_is_reached(invitation.url))
        self.assertEqual(asyncio.run(self.handshake(invitation.url)), 403)
        self.assertEqual(self.model_sessions(), 1)

    def test_a_ticket_of_another_call_or_with_a_changed_letter_is_refused(self) -> None:
        mine, other = self.invitation(), self.invitation()
        foreign = other.url.replace(other.call_sid, mine.call_sid)
        changed = mine.url[:-3] + ("A" if mine.url[-3] != "A" else "B") + mine.url[-2:]
        for url in (foreign, changed):
            self.assertEqual(asyncio.run(self.handshake(url)), 403)
        self.assertEqual(self.model_sessions(), 0)

    def test_a_foreign_token_in_start_ends_the_stream_before_a_word_is_spoken(self) -> None:
        mine, other = self.invitation(), self.invitation()

        async def use_foreign_token() -> list[str | bytes]:
            heard: list[str | bytes] = []
            async with self.open_stream(mine.url) as socket:
                # A stream that closes sooner costs no session, and none could be seen to close.
                await asyncio.to_thread(self.wait, self.model_sessions, "the stream reached the model")
                await self.send_start(socket, mine, other.token)
                try:
                    while True:
                        heard.append(await asyncio.wait_for(socket.recv(), 10))
                except ConnectionClosed:
                    return heard

        self.assertEqual(asyncio.run(use_foreign_token()), [])
        self.wait(lambda: any(fact["fact"] == "closed" for fact in self.model_facts()), "the model's session is closed")
        self.assertFalse(any(fact["fact"] == "said" for fact in self.model_facts()))
        self.assertFalse(CallLog.objects.filter(call_sid=mine.call_sid).exclude(status="ringing").exists())

    def test_a_browser_is_no_carrier(self) -> None:
        invitation = self.invitation()
        signature = signing.signature(running.AUTH_TOKEN, invitation.url)
        local = f"ws://127.0.0.1:{self.system.port}{urlsplit(invitation.url).path}"

        async def from_a_page() -> int:
            headers = {"X-Twilio-Signature": signature, "Origin": "https://evil.example"}
            try:
                async with connect(local, additional_headers=headers, proxy=None):
                    return 101
            except InvalidStatus as refused:
                return refused.response.status_code

        self.assertEqual(asyncio.run(from_a_page()), 403)
