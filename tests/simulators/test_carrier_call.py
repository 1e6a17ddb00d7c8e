"""Whole calls of the carrier against a small server: webhook, stream, action, status callbacks."""

import asyncio
import base64
import hashlib
import time
from email.utils import parsedate_to_datetime
from typing import Any

from django.test import SimpleTestCase

from simulators.carrier.audio import tone
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
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
from simulators.carrier.settings import Settings
from simulators.carrier.signing import signature
from tests.simulators.carrier_server import (
    ACCOUNT,
    BYE,
    CLIPS,
    HOST,
    PUBLIC,
    STREAM,
    STREAM_AND_ACTION,
    TOKEN,
    Peer,
    Server,
    clips,
    xml,
)

FROM, TO = "+15550100199", "+15550100100"
QUICK = Listen(silent_ms=100, timeout_ms=3000)


def script(*steps: Step, ends_by: Any = "any") -> Script:
    return Script("test", steps, ends_by)


async def call(server: Server, *steps: Step, ends_by: Any = "any", **options: Any) -> CallLedger:
    settings = {"status_path": "/status/", "time_scale": 0.01, "clips": clips, "seed": 1, **options}
    with Carrier(Settings(PUBLIC, ACCOUNT, TOKEN, server.address, **settings)) as carrier:
        async with asyncio.timeout(15):
            return await carrier.place_call(script(*steps, ends_by=ends_by), from_=FROM, to=TO)


def server(first: str = STREAM_AND_ACTION, **options: Any) -> Server:
    pages = {"/twilio/voice/": xml(first), "/ended/": xml(BYE), "/status/": (204, "", {})}
    return Server(pages={**pages, **options.pop("pages", {})}, **options)


async def greet_and_listen(peer: Peer) -> None:
    await peer.started()
    await peer.play(tone(700, 100), "greeting")
    await peer.drain()


async def greet_and_close(peer: Peer) -> None:
    await peer.started()
    await peer.play(tone(700, 100), "bye")
    await peer.marked("bye")
    await peer.socket.close()


class WholeCallTests(SimpleTestCase):
    async def test_the_webhook_is_signed_over_the_public_url_and_sent_by_a_proxy(self) -> None:
        async with server().running() as fake:
            ledger = await call(fake, HangUp())
        (hit,) = fake.hits_of("/twilio/voice/")
        self.assertEqual(hit.headers["host"], HOST)
        self.assertEqual(hit.headers["x-forwarded-proto"], "https")
        self.assertNotIn("authorization", hit.headers)
        self.assertEqual(
            hit.headers["x-twilio-signature"], signature(TOKEN, f"{PUBLIC}/twilio/voice/", hit.params.items())
        )
        self.assertEqual(
            {name: hit.params[name] for name in ("CallSid", "From", "To", "CallStatus", "Direction", "FromCity")},
            {
                "CallSid": ledger.call_sid,
                "From": FROM,
                "To": TO,
                "CallStatus": "ringing",
                "Direction": "inbound",
                "FromCity": "",
            },
        )

    async def test_the_handshake_is_signed_over_the_wss_url_without_parameters(self) -> None:
        async with server().running() as fake:
            ledger = await call(fake, Wait(50), HangUp())
        (headers,) = fake.handshakes
        self.assertEqual(headers["host"], HOST)
        self.assertEqual(headers["x-twilio-signature"], signature(TOKEN, f"wss://{HOST}/media/"))
        self.assertNotIn("sec-websocket-extensions", headers)
        self.assertEqual(ledger.complaints, [])

    async def test_a_stream_says_connected_then_start_then_media_with_string_counters(self) -> None:
        async with server().running() as fake:
            ledger = await call(fake, Say("hello"), HangUp())
        (peer,) = fake.peers
        self.assertEqual(peer.messages[0], {"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = peer.messages[1]
        self.assertEqual(start["sequenceNumber"], "1")
        self.assertEqual(start["start"]["customParameters"], {"token": "t1"})
        self.assertEqual(
            start["start"]["mediaFormat"], {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        )
        self.assertEqual((start["start"]["callSid"], start["start"]["accountSid"]), (ledger.call_sid, ACCOUNT))
        counted = [message for message in peer.messages if "sequenceNumber" in message]
        self.assertEqual([message["sequenceNumber"] for message in counted], [str(n + 1) for n in range(len(counted))])
        media = peer.events("media")
        self.assertEqual([message["media"]["chunk"] for message in media], [str(n + 1) for n in range(len(media))])
        self.assertEqual([message["media"]["timestamp"] for message in media[:3]], ["20", "40", "60"])
        self.assertEqual(peer.messages[-1]["stop"], {"accountSid": ACCOUNT, "callSid": ledger.call_sid})

    async def test_the_ledger_has_every_byte_the_caller_sent(self) -> None:
        async with server().running() as fake:
            ledger = await call(fake, Say("hello"), Wait(60), Say("bye"), HangUp())
        payloads = [base64.b64decode(message["media"]["payload"]) for message in fake.peers[0].events("media")]
        self.assertTrue(all(len(payload) == 160 for payload in payloads))
        audio = b"".join(payloads)
        self.assertEqual(ledger.stream.caller_audio_bytes, len(audio))
        self.assertEqual(ledger.stream.caller_audio_sha256, hashlib.sha256(audio).hexdigest())
        self.assertEqual(len(ledger.stream.recent_sha256), min(50, len(payloads)))
        for size, digest in ledger.stream.recent_sha256.items():
            self.assertEqual(digest, hashlib.sha256(audio[:size]).hexdigest())
        for utterance in ledger.utterances:
            spoken = audio[round(utterance.start_ms * 8) : round((utterance.end_ms or 0) * 8)]
            self.assertEqual(spoken, CLIPS[utterance.clip].audio)
        self.assertEqual([utterance.text for utterance in ledger.utterances], ["words of hello", "words of bye"])

    async def test_frames_keep_an_absolute_clock(self) -> None:
        arrived: list[float] = []

        async def talk(peer: Peer) -> None:
            await peer.started()
            arrived.append(time.monotonic())
            while True:
                await peer.frames(1)
                arrived.append(time.monotonic())

        async with server(talk=talk).running() as fake:
            ledger = await call(fake, Wait(1000), HangUp())
        self.assertGreaterEqual(len(arrived) - 1, 45)
        self.assertLessEqual(len(arrived) - 1, 51)
        # No drift: the fiftieth frame is not later than the first by more than its place and one bad moment.
        self.assertAlmostEqual(arrived[40] - arrived[1], 39 * 0.02, delta=0.1)
        self.assertEqual(ledger.stream.frames_sent, len(arrived) - 1)

    async def test_the_agent_ends_the_call_and_its_action_is_followed(self) -> None:
        async with server(talk=greet_and_close).running() as fake:
            ledger = await call(fake, WaitForEnd(5000), HangUp(), ends_by="agent")
        self.assertTrue(ledger.ok, (ledger.complaints, ledger.failures))
        self.assertEqual((ledger.ended_by, ledger.end_detail, ledger.status), ("agent", "Hangup", "completed"))
        self.assertEqual((ledger.stream.closed_by, ledger.stream.close_code), ("server", 1000))
        self.assertEqual([complaint.code for complaint in ledger.errors], [31921])
        (action,) = fake.hits_of("/ended/")
        self.assertEqual((action.params["CallSid"], action.params["CallStatus"]), (ledger.call_sid, "in-progress"))
        self.assertEqual(
            action.headers["x-twilio-signature"], signature(TOKEN, f"{PUBLIC}/ended/", action.params.items())
        )
        self.assertEqual([hit.target for hit in fake.hits], ["/twilio/voice/", "/ended/", "/status/"])

    async def test_without_an_action_the_following_verbs_run(self) -> None:
        first = STREAM.replace("</Response>", "<Say>Still there</Say><Redirect>/again/</Redirect></Response>")
        pages = {"/again/": xml("<Response><Pause length='1'/><Reject reason='busy'/></Response>")}
        async with server(first, talk=greet_and_close, pages=pages).running() as fake:
            ledger = await call(fake, WaitForEnd(5000))
        self.assertEqual(ledger.verbs, ["Connect", "Say", "Redirect", "Pause", "Reject"])
        self.assertEqual(ledger.status, "busy")
        self.assertEqual(fake.hits_of("/again/")[0].params["CallStatus"], "in-progress")

    async def test_a_redirect_back_opens_a_second_stream_on_the_same_call(self) -> None:
        talks = [greet_and_close, greet_and_listen]

        async def talk(peer: Peer) -> None:
            await talks.pop(0)(peer)

        first = STREAM.replace("</Response>", "<Redirect>/twilio/voice/</Redirect></Response>")
        async with server(first, talk=talk).running() as fake:
            ledger = await call(fake, QUICK, Wait(150), QUICK, Say("bye"), HangUp(), ends_by="caller")
        self.assertTrue(ledger.ok, (ledger.complaints, ledger.failures))
        self.assertEqual(len({stream.stream_sid for stream in ledger.streams}), 2)
        self.assertEqual(ledger.streams[1].utterances[0].clip, "bye")

    async def test_a_hang_up_sends_stop_closes_and_reports(self) -> None:
        async with server(talk=greet_and_listen).running() as fake:
            ledger = await call(fake, QUICK, HangUp(), ends_by="caller")
        self.assertTrue(ledger.ok, (ledger.complaints, ledger.failures))
        self.assertEqual(fake.peers[0].messages[-1]["event"], "stop")
        self.assertEqual(
            (ledger.ended_by, ledger.stream.closed_by, ledger.stream.stop_sent), ("caller", "carrier", True)
        )
        (action,) = fake.hits_of("/ended/")
        self.assertEqual(action.params["CallStatus"], "completed")
        (status,) = fake.hits_of("/status/")
        self.assertEqual(status.params["CallStatus"], "completed")
        self.assertEqual(status.params["SequenceNumber"], "0")
        self.assertEqual(status.params["CallDuration"], str(ledger.duration_seconds))
        self.assertIsNotNone(parsedate_to_datetime(status.params["Timestamp"]).tzinfo)
        self.assertTrue(status.headers["i-twilio-idempotency-token"])

    async def test_the_action_after_a_hang_up_can_be_left_out(self) -> None:
        async with server(talk=greet_and_listen).running() as fake:
            await call(fake, QUICK, HangUp(), action_after_hangup=False)
        self.assertEqual(fake.hits_of("/ended/"), [])

    async def test_a_lost_line_closes_without_stop(self) -> None:
        async with server(talk=greet_and_listen).running() as fake:
            ledger = await call(fake, QUICK, DropLine(), ends_by="line")
        self.assertTrue(ledger.ok, (ledger.complaints, ledger.failures))
        self.assertEqual(fake.peers[0].events("stop"), [])
        self.assertEqual((ledger.ended_by, ledger.stream.closed_by), ("line", "lost"))

    async def test_keys_reach_the_stream_in_order(self) -> None:
        async with server().running() as fake:
            ledger = await call(fake, Press("1#", gap_ms=20), HangUp())
        self.assertEqual(
            [message["dtmf"] for message in fake.peers[0].events("dtmf")],
            [{"track": "inbound_track", "digit": "1"}, {"track": "inbound_track", "digit": "#"}],
        )
        self.assertEqual([record.digit for record in ledger.stream.dtmf], ["1", "#"])

    async def test_status_callbacks_are_numbered_from_zero(self) -> None:
        async with server().running() as fake:
            await call(fake, Wait(100), HangUp(), status_events=("initiated", "ringing", "answered", "completed"))
        sent = sorted((hit.params["SequenceNumber"], hit.params["CallStatus"]) for hit in fake.hits_of("/status/"))
        self.assertEqual(sent, [("0", "initiated"), ("1", "ringing"), ("2", "in-progress"), ("3", "completed")])


class ListeningTests(SimpleTestCase):
    async def test_marks_come_back_when_the_audio_before_them_was_heard(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            await peer.send({"event": "mark", "mark": {"name": "at-once"}})
            await peer.play(tone(700, 200), "one")
            await peer.play(tone(700, 200), "two")
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await call(fake, QUICK, HangUp())
        marks = {mark.name: mark for mark in ledger.stream.marks}
        self.assertEqual(
            [message["mark"]["name"] for message in fake.peers[0].events("mark")], ["at-once", "one", "two"]
        )
        first_heard = ledger.stream.first_heard_ms or 0
        for name, after in (("at-once", 0), ("one", 200), ("two", 400)):
            echoed = marks[name].echoed_ms
            assert echoed is not None
            self.assertGreaterEqual(echoed - first_heard, after - 5)
            self.assertLess(echoed - first_heard, after + 100)

    async def test_clear_returns_pending_marks_and_the_ledger_knows_what_was_heard(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            await peer.play(tone(700, 1000), "one")
            await peer.play(tone(700, 1000), "two")
            await peer.until(lambda message: message["event"] == "media" and "/////" not in message["media"]["payload"])
            await peer.send({"event": "clear"})
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await call(fake, Interrupt("wait", after_ms=300, timeout_ms=3000), HangUp())
        (clear,) = ledger.stream.clears
        self.assertEqual(clear.marks, ["one", "two"])
        self.assertEqual([message["mark"]["name"] for message in fake.peers[0].events("mark")], ["one", "two"])
        self.assertTrue(all(mark.after_clear for mark in ledger.stream.marks))
        self.assertEqual(clear.received_ms, 2000)
        self.assertEqual(clear.heard_bytes + clear.dropped_bytes, 16000)
        said = ledger.utterances[0]
        self.assertTrue(said.interrupting)
        self.assertGreaterEqual(clear.heard_ms, 300)
        self.assertAlmostEqual(clear.heard_ms, clear.at_ms - (ledger.stream.first_heard_ms or 0), delta=1)
        self.assertEqual([stretch.ended for stretch in ledger.stream.stretches], ["clear", "end"])

    async def test_the_latency_of_a_reply_counts_from_the_end_of_the_callers_words(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            await peer.until(lambda message: message["event"] == "media" and "/////" not in message["media"]["payload"])
            await peer.frames(15)  # 200 ms of tone, then silence
            await peer.play(tone(700, 200))
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await call(fake, Say("hello"), QUICK, HangUp())
        reply = ledger.utterances[0].reply_media_ms
        assert reply is not None
        self.assertGreater(reply, 80)
        self.assertLess(reply, 300)
        self.assertEqual(ledger.utterances[0].reply_heard_ms, reply)

    async def test_a_script_that_waits_in_vain_fails_and_hangs_up(self) -> None:
        async with server().running() as fake:
            ledger = await call(fake, Listen(timeout_ms=200), Say("hello"))
        self.assertEqual(ledger.failures, ["step 1 of test, Listen: not within 0.2 s"])
        self.assertEqual(ledger.ended_by, "caller")
        self.assertFalse(ledger.ok)

    async def test_silence_sent_as_audio_is_not_the_agent_speaking(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            await peer.play(b"\xff" * 8000)
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await call(fake, Hear(100, timeout_ms=400))
        self.assertEqual(ledger.failures, ["step 1 of test, Hear: not within 0.4 s"])

    async def test_a_caller_may_wait_for_the_agent_to_speak_anew(self) -> None:
        async def talk(peer: Peer) -> None:
            await peer.started()
            await peer.play(tone(700, 100), "first")
            await peer.marked("first")
            await asyncio.sleep(0.5)
            await peer.play(tone(700, 100), "second")
            await peer.drain()

        async with server(talk=talk).running() as fake:
            ledger = await call(fake, QUICK, HearAnew(timeout_ms=3000), QUICK, HangUp())
        self.assertEqual(ledger.failures, [])
        self.assertEqual(len(ledger.stream.sounds), 2)

    async def test_an_end_in_the_middle_of_the_script_is_a_failure(self) -> None:
        async with server(talk=greet_and_close).running() as fake:
            ledger = await call(fake, Listen(silent_ms=2000), HangUp(), ends_by="caller")
        self.assertEqual(
            ledger.failures,
            ["the call ended (agent, Hangup) during step 1 of test, Listen", "ended by agent, not by caller: Hangup"],
        )

    async def test_ten_calls_at_once_are_ten_calls(self) -> None:
        async with server(talk=greet_and_listen).running() as fake:
            settings = Settings(PUBLIC, ACCOUNT, TOKEN, fake.address, status_path="/status/", clips=clips)
            with Carrier(settings) as carrier:
                person = script(QUICK, Say("hello"), HangUp(), ends_by="caller")
                ledgers = await carrier.place_calls(person, 10, from_=FROM, to=TO)
        self.assertEqual([(ledger.complaints, ledger.failures) for ledger in ledgers], [([], [])] * 10)
        self.assertEqual(len({ledger.call_sid for ledger in ledgers}), 10)
        self.assertEqual(len(fake.hits_of("/status/")), 10)
