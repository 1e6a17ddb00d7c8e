"""What the carrier complains about, and what goes wrong when it is told to."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from django.test import SimpleTestCase

from simulators.carrier.audio import audible_span, pcm, tone
from simulators.carrier.faults import Faults, parse
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, Wait, WaitForEnd
from simulators.carrier.signing import signature
from tests.simulators.carrier_server import BYE, HOST, PUBLIC, STREAM, TOKEN, Hit, Peer, Reply, Server, listen_only, xml
from tests.simulators.test_carrier_call import call, server


def codes(ledger: CallLedger) -> list[int]:
    return [complaint.code for complaint in ledger.complaints]


async def faulty(fake: Server, *steps: Any, options: dict[str, Any] | None = None, **faults: Any) -> CallLedger:
    return await call(fake, *(steps or (Wait(100), HangUp())), faults=Faults(**faults), **(options or {}))


def sending(messages: Callable[[Peer], list[str | bytes]]) -> Callable[[Peer], Awaitable[None]]:
    async def talk(peer: Peer) -> None:
        await peer.started()
        for message in messages(peer):
            await peer.socket.send(message)
        await peer.drain()

    return talk


class ComplaintTests(SimpleTestCase):
    async def test_binary_unknown_and_foreign_messages_are_refused_and_not_played(self) -> None:
        def messages(peer: Peer) -> list[str | bytes]:
            media = {"event": "media", "streamSid": peer.stream_sid, "media": {"payload": "AAAA"}}
            return [
                json.dumps(media).encode(),
                json.dumps({**media, "sequenceNumber": "4"}),
                json.dumps({**media, "streamSid": "MZ0"}),
            ]

        async with server(talk=sending(messages)).running() as fake:
            ledger = await call(fake, Wait(100), HangUp())
        self.assertEqual(codes(ledger), [31950, 31951, 31951])
        self.assertEqual(ledger.stream.agent_audio_bytes, 0)

    async def test_more_than_ten_minutes_of_audio(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            for _ in range(11):
                await peer.play(b"\xff" * (60 * 8000))
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await call(fake, Wait(3000), HangUp())  # seven megabytes have to arrive
        self.assertEqual(codes(ledger), [31931])
        self.assertEqual(ledger.stream.agent_audio_discarded_bytes, 60 * 8000)

    async def test_twiml_that_twilio_would_refuse(self) -> None:
        foreign = STREAM.replace(HOST, "elsewhere.example.com")
        for first, expected in (
            (STREAM.replace("wss:", "https:"), [31922]),
            (STREAM.replace("/media/", "/media/?token=1"), [31923]),
            (foreign, [31920]),
            ("<Response><Shout/></Response>", [12200]),
            ("<Response>", [12100]),
            ("<Response><Redirect>/twilio/voice/</Redirect></Response>", [0]),
        ):
            with self.subTest(first):
                async with server(first).running() as fake:
                    ledger = await call(fake, WaitForEnd(3000))
                self.assertEqual(codes(ledger)[: len(expected)], expected)
                self.assertEqual(fake.handshakes, [])

    async def test_a_refused_handshake_and_what_follows(self) -> None:
        async with server(refuse=lambda headers: 403).running() as fake:
            ledger = await call(fake, WaitForEnd(3000))
        self.assertEqual(codes(ledger), [31920])
        self.assertEqual(ledger.stream.handshake_status, 403)
        self.assertEqual(len(fake.hits_of("/ended/")), 1)

    async def test_a_webhook_that_fails_ends_the_call_and_is_still_reported(self) -> None:
        async with server(pages={"/twilio/voice/": (500, "", {})}).running() as fake:
            ledger = await call(fake, WaitForEnd(3000))
        self.assertEqual(codes(ledger)[0], 11217)
        self.assertEqual(ledger.ended_by, "error")
        self.assertEqual(len(fake.hits_of("/status/")), 1)

    async def test_a_failed_webhook_goes_to_the_fallback_url_with_the_error(self) -> None:
        pages = {"/twilio/voice/": (500, "", {}), "/fallback/": xml(BYE)}
        async with server(pages=pages).running() as fake:
            ledger = await call(fake, WaitForEnd(3000), fallback_path="/fallback/")
        (hit,) = fake.hits_of("/fallback/")
        self.assertEqual((hit.params["ErrorCode"], hit.params["ErrorUrl"]), ("11217", f"{PUBLIC}/twilio/voice/"))
        self.assertEqual((ledger.ended_by, ledger.end_detail), ("agent", "Hangup"))

    async def test_a_webhook_that_is_too_slow(self) -> None:
        def slow(hit: Hit) -> Reply:
            time.sleep(0.35)
            return xml(BYE)

        async with server(pages={"/twilio/voice/": slow}).running() as fake:
            ledger = await call(fake, WaitForEnd(3000), read_timeout=0.2)
        self.assertEqual(codes(ledger), [11200])
        self.assertEqual(ledger.requests[0].error, "timeout")

    async def test_a_refused_connection_is_tried_once_more(self) -> None:
        fake = server()
        fake.address = ("127.0.0.1", 1)
        ledger = await call(fake, WaitForEnd(3000), status_path="")
        self.assertEqual(codes(ledger), [11205])
        self.assertEqual(ledger.requests[0].notes, ["connection failed, tried again"])

    async def test_a_redirect_is_followed_by_get_without_the_parameters(self) -> None:
        pages = {"/twilio/voice/": (302, "", {"Location": "/twilio/voice"}), "/twilio/voice": xml(BYE)}
        async with server(pages=pages).running() as fake:
            ledger = await call(fake, WaitForEnd(3000))
        (hit,) = fake.hits_of("/twilio/voice")
        self.assertEqual((hit.method, hit.params), ("GET", {}))
        self.assertEqual(hit.headers["x-twilio-signature"], signature(TOKEN, f"{PUBLIC}/twilio/voice"))
        self.assertEqual(ledger.requests[0].notes, [f"302 followed by GET without parameters to {PUBLIC}/twilio/voice"])

    async def test_a_status_callback_must_be_accepted(self) -> None:
        async with server(pages={"/status/": (403, "", {})}).running() as fake:
            ledger = await call(fake, HangUp())
        self.assertEqual(codes(ledger), [11200])

    async def test_nobody_but_the_public_origin_and_loopback_is_ever_asked(self) -> None:
        first = "<Response><Redirect>https://elsewhere.example.com/</Redirect></Response>"
        async with server(first).running() as fake:
            ledger = await call(fake, WaitForEnd(3000))
        self.assertEqual(ledger.requests[1].error, "not of the public origin")
        self.assertEqual(codes(ledger), [11200])


class SignatureFaultTests(SimpleTestCase):
    async def test_a_webhook_without_a_right_signature_must_be_refused(self) -> None:
        for kind in ("wrong", "missing"):
            for status, expected in ((403, []), (200, [0])):
                with self.subTest(kind, status=status):
                    page = (status, BYE, {"Content-Type": "text/xml"})
                    async with server(pages={"/twilio/voice/": page}).running() as fake:
                        ledger = await faulty(fake, webhook_signature=kind)
                    (hit,) = fake.hits
                    right = signature(TOKEN, f"{PUBLIC}/twilio/voice/", hit.params.items())
                    self.assertNotEqual(hit.headers.get("x-twilio-signature"), right)
                    self.assertEqual("x-twilio-signature" in hit.headers, kind == "wrong")
                    self.assertEqual((codes(ledger), ledger.ended_by), (expected, "refused"))

    async def test_a_handshake_without_a_right_signature_must_be_refused_with_403(self) -> None:
        for kind in ("wrong", "missing"):
            for status, expected in ((403, []), (500, [31920]), (0, [0])):
                with self.subTest(kind, status=status):
                    async with server(refuse=lambda headers, status=status: status).running() as fake:
                        ledger = await faulty(fake, handshake_signature=kind)
                    self.assertEqual("x-twilio-signature" in fake.handshakes[0], kind == "wrong")
                    self.assertNotEqual(
                        fake.handshakes[0].get("x-twilio-signature"), signature(TOKEN, f"wss://{HOST}/media/")
                    )
                    self.assertEqual(codes(ledger), expected)

    async def test_the_forms_in_which_a_handshake_may_be_signed(self) -> None:
        for form, url in (("port", f"wss://{HOST}:443/media/"), ("slash", f"wss://{HOST}/media")):
            with self.subTest(form):
                async with server().running() as fake:
                    await faulty(fake, handshake_form=form)
                (headers,) = fake.handshakes
                self.assertEqual(headers["x-twilio-signature"], signature(TOKEN, url))
                self.assertEqual(headers[":path"], "/media/")

    async def test_a_repeated_handshake_must_be_refused(self) -> None:
        async with server().running() as fake:
            ledger = await faulty(fake, replay_handshake=2)
        self.assertEqual(ledger.stream.replays, [101, 101])
        self.assertEqual(codes(ledger), [0])
        seen: list[int] = []

        def once(headers: dict[str, str]) -> int:
            seen.append(1)
            return 403 if len(seen) > 1 else 0

        async with server(refuse=once).running() as fake:
            ledger = await faulty(fake, replay_handshake=2)
        self.assertEqual((ledger.stream.replays, codes(ledger)), ([403, 403], []))


class DeliveryFaultTests(SimpleTestCase):
    async def test_the_webhook_twice_at_once_with_one_token(self) -> None:
        async with server().running() as fake:
            ledger = await faulty(fake, duplicate_webhook=True)
        first, second = fake.hits_of("/twilio/voice/")
        token = "i-twilio-idempotency-token"
        self.assertEqual(first.headers[token], second.headers[token])
        self.assertEqual(first.params, second.params)
        self.assertEqual(len(ledger.streams), 1)

    async def test_status_callbacks_doubled_shuffled_delayed_or_missing(self) -> None:
        every = {"status_events": ("initiated", "ringing", "answered", "completed")}
        async with server().running() as fake:
            await faulty(fake, options=every, status_duplicate=True, status_shuffle=True)
        order = [hit.params["SequenceNumber"] for hit in fake.hits_of("/status/")]
        self.assertEqual(sorted(order), list("00112233"))
        self.assertNotEqual(order, sorted(order))
        async with server().running() as fake:
            await faulty(fake, status_missing=True)
        self.assertEqual(fake.hits_of("/status/"), [])
        async with server().running() as fake:
            began = time.monotonic()
            await faulty(fake, HangUp(), status_delay_ms=300)
            self.assertGreaterEqual(time.monotonic() - began, 0.3)
        self.assertEqual(len(fake.hits_of("/status/")), 1)

    async def test_completed_can_come_before_stop(self) -> None:
        peers_at_status: list[int] = []
        fake = server()

        def status(hit: Hit) -> Reply:
            peers_at_status.append(len(fake.peers[0].events("stop")))
            return 204, "", {}

        fake.pages["/status/"] = status
        async with fake.running():
            await faulty(fake, completed_before_stop=True)
        self.assertEqual(peers_at_status, [0])
        self.assertEqual(len(fake.peers[0].events("stop")), 1)

    async def test_stop_can_be_missing(self) -> None:
        async with server().running() as fake:
            ledger = await faulty(fake, no_stop=True)
        self.assertEqual(fake.peers[0].events("stop"), [])
        self.assertEqual(ledger.stream.closed_by, "carrier")


class LineFaultTests(SimpleTestCase):
    async def test_a_dropped_connection_is_not_the_end_of_the_call(self) -> None:
        async with server().running() as fake:
            ledger = await faulty(fake, WaitForEnd(3000), drop_at_ms=200)
        self.assertEqual((ledger.stream.closed_by, ledger.stream.stop_sent), ("lost", False))
        self.assertEqual(len(fake.hits_of("/ended/")), 1)
        self.assertEqual(ledger.ended_by, "agent")

    async def test_a_half_open_connection_is_silent_before_it_is_lost(self) -> None:
        silent: list[float] = []

        async def talk(peer: Peer) -> None:
            await peer.started()
            last = time.monotonic()
            try:
                while True:
                    await peer.frames(1)
                    last = time.monotonic()
            finally:
                silent.append(time.monotonic() - last)

        async with server(talk=talk).running() as fake:
            ledger = await faulty(fake, WaitForEnd(3000), half_open_at_ms=200, half_open_for_ms=500)
            await asyncio.sleep(0)
        self.assertEqual(ledger.stream.closed_by, "lost")
        self.assertGreaterEqual(silent[0], 0.45)

    async def test_a_stall_is_followed_by_the_late_frames_back_to_back(self) -> None:
        gaps: list[float] = []

        async def talk(peer: Peer) -> None:
            await peer.started()
            last = time.monotonic()
            while True:
                await peer.frames(1)
                gaps.append(time.monotonic() - last)
                last = time.monotonic()

        async with server(talk=talk).running() as fake:
            ledger = await faulty(fake, Wait(900), HangUp(), stall_at_ms=200, stall_for_ms=400)
        self.assertGreater(max(gaps), 0.35)
        self.assertGreaterEqual(len([gap for gap in gaps if gap < 0.005]), 15)
        self.assertGreaterEqual(ledger.stream.frames_sent, 40)
        self.assertGreaterEqual(ledger.stream.frames_late, 15)

    async def test_timestamps_can_jitter(self) -> None:
        async with server().running() as fake:
            await faulty(fake, Wait(400), HangUp(), timestamp_jitter_ms=15)
        stamps = [int(message["media"]["timestamp"]) for message in fake.peers[0].events("media")]
        off = [abs(stamp - 20 * (n + 1)) for n, stamp in enumerate(stamps)]
        self.assertLessEqual(max(off), 15)
        self.assertGreater(max(off), 0)

    async def test_mark_echoes_can_be_late_but_keep_their_order(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            for number in range(8):
                await peer.send({"event": "mark", "mark": {"name": str(number)}})
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await faulty(fake, Wait(500), HangUp(), mark_delay_ms=200)
        marks = [message["mark"]["name"] for message in fake.peers[0].events("mark")]
        self.assertEqual(marks, list("01234567"))
        late = [(mark.echoed_ms or 0) - mark.received_ms for mark in ledger.stream.marks]
        self.assertGreater(max(late), 20)

    async def test_a_slow_reader_takes_messages_late(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            for number in range(5):
                await peer.send({"event": "mark", "mark": {"name": str(number)}})
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await faulty(fake, Wait(700), HangUp(), slow_reader_ms=100)
        self.assertGreater(ledger.stream.marks[-1].received_ms, 400)


class OptionTests(SimpleTestCase):
    def test_faults_are_read_from_words(self) -> None:
        self.assertEqual(
            parse(["status-duplicate", "mark_delay_ms=40", "handshake_form=port", "no_stop=false"]),
            Faults(status_duplicate=True, mark_delay_ms=40, handshake_form="port"),
        )

    def test_an_unknown_fault_is_named(self) -> None:
        for words in (["gravity"], ["handshake_form=odd"], ["mark_delay_ms=soon"]):
            with self.subTest(words), self.assertRaises(ValueError):
                parse(words)


class RoughLineTests(SimpleTestCase):
    """What is heard comes back, frames come unevenly; nothing is lost and the order is kept."""

    async def test_the_agents_voice_comes_back_quieter_and_later(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            await peer.play(tone(700, 100))
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await faulty(fake, Wait(600), HangUp(), echo_db=12, echo_delay_ms=200)
            (peer,) = fake.peers
            heard = b"".join(base64.b64decode(m["media"]["payload"]) for m in peer.events("media"))
        first, end = audible_span(heard)
        assert ledger.stream.first_heard_ms is not None
        self.assertAlmostEqual(first * 20, ledger.stream.first_heard_ms + 200, delta=60)
        self.assertAlmostEqual((end - first) * 20, 100, delta=40)
        self.assertAlmostEqual(max(pcm(heard)) / max(pcm(tone(700, 100))), 0.25, delta=0.05)
        self.assertEqual([len(piece.audio) for piece in ledger.stream.heard], [800])

    async def test_late_and_bunched_frames_all_come_and_in_order(self) -> None:
        rough: tuple[dict[str, Any], ...] = ({"frame_jitter_ms": 80}, {"burst_every_ms": 300, "burst_ms": 200})
        for faults in rough:
            with self.subTest(faults):
                async with server(talk=listen_only).running() as fake:
                    ledger = await faulty(fake, Wait(900), HangUp(), **faults)
                    (peer,) = fake.peers
                    chunks = [int(message["media"]["chunk"]) for message in peer.events("media")]
                self.assertEqual(chunks, list(range(1, ledger.stream.frames_sent + 1)))
                self.assertGreater(len(chunks), 25)

    async def test_what_was_heard_ends_with_the_clear_that_cut_it(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            await peer.play(tone(700, 1000))
            await peer.frames(10)
            await peer.send({"event": "clear"})
            await peer.play(tone(500, 60))
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await faulty(fake, Wait(600), HangUp())
        cut, after = ledger.stream.heard
        self.assertEqual((cut.clear, after.clear), (1, 0))
        self.assertEqual(cut.audio, tone(700, 1000)[: ledger.stream.clears[0].heard_bytes])
        self.assertEqual(after.audio, tone(500, 60))
        self.assertEqual(ledger.as_json()["streams"][0]["heard"][1]["audio"], 480)
