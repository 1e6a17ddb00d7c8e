"""The carrier's REST API: by plain HTTP, by the real `twilio` client, and on calls in progress."""

import asyncio
import base64
import http.client
import io
import json
import time
import wave
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.test import SimpleTestCase
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from simulators.carrier.account import Account, CallResource
from simulators.carrier.audio import tone
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.pauses import Pause, without
from simulators.carrier.rest import Api, RestServer
from simulators.carrier.script import HangUp, WaitForEnd
from simulators.carrier.settings import Settings
from tests.simulators.carrier_server import ACCOUNT, BYE, PUBLIC, STREAM, TOKEN, Hit, Peer, Reply, Server, clips, xml
from tests.simulators.test_carrier_call import FROM, QUICK, TO, greet_and_listen, script, server

BASE = f"/2010-04-01/Accounts/{ACCOUNT}"


class RedirectedClient(TwilioHttpClient):  # type: ignore[misc]  # the package has no types here
    """The client of the `twilio` package, sent to loopback instead of api.twilio.com."""

    def __init__(self, port: int) -> None:
        super().__init__(pool_connections=False)
        self._port = port

    def request(self, method: str, url: str, *args: Any, **options: Any) -> Response:
        local = urlunsplit(urlsplit(url)._replace(scheme="http", netloc=f"127.0.0.1:{self._port}"))
        return super().request(method, local, *args, **options)


def client(port: int, token: str = TOKEN) -> Client:
    return Client(ACCOUNT, token, http_client=RedirectedClient(port))


def ask(port: int, method: str, path: str, fields: dict[str, str] | None = None, token: str | None = TOKEN) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if token is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{ACCOUNT}:{token}".encode()).decode()
    connection.request(method, path, urlencode(fields or {}), headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if body else {}, dict(answer.getheaders())


class RestTests(SimpleTestCase):
    def setUp(self) -> None:
        self.account = Account(ACCOUNT)
        self.dialled: list[tuple[CallResource, dict[str, str]]] = []
        self.api = Api(self.account, TOKEN, lambda call, fields: self.dialled.append((call, fields)))
        server = RestServer(self.api)
        self.enterContext(server)
        self.port = server.port

    def error(self, *arguments: Any, **options: Any) -> tuple[int, int]:
        status, data, _ = ask(self.port, *arguments, **options)
        self.assertEqual(set(data), {"code", "message", "more_info", "status"})
        self.assertEqual(data["status"], status)
        return status, data["code"]

    def test_without_the_right_token_nothing_is_answered(self) -> None:
        for token in (None, "wrong"):
            self.assertEqual(self.error("GET", f"{BASE}/Calls.json", token=token), (401, 20003))
        _, _, headers = ask(self.port, "GET", f"{BASE}/Calls.json", token=None)
        self.assertIn("Basic", headers["WWW-Authenticate"])

    def test_what_does_not_exist(self) -> None:
        unknown = "CA" + "0" * 32
        for method, path in (
            ("GET", f"{BASE}/Calls/{unknown}.json"),
            ("POST", f"{BASE}/Calls/{unknown}.json"),
            ("POST", f"{BASE}/Calls/{unknown}/Recordings.json"),
            ("GET", f"{BASE}/Recordings/RE{'0' * 32}.json"),
            ("GET", f"{BASE}/Conferences.json"),
            ("GET", f"/2010-04-01/Accounts/AC{'b' * 32}/Calls.json"),
        ):
            with self.subTest(path):
                self.assertEqual(self.error(method, path), (404, 20404))

    def test_calls_that_cannot_be_created(self) -> None:
        good = {"To": TO, "From": FROM, "Url": f"{PUBLIC}/v/"}
        for change, code in (
            ({"To": ""}, 21201),
            ({"From": ""}, 21213),
            ({"To": "five"}, 21211),
            ({"From": "anonymous"}, 21212),
            ({"Url": ""}, 21205),
            ({"Url": "not a url"}, 21205),
            ({"Url": "", "Twiml": "<Response>"}, 12100),
            ({"Url": "", "Twiml": f"<Response><Say>{'x' * 4000}</Say></Response>"}, 21222),
            ({"StatusCallback": "https://my_host.example.com/s"}, 21609),
        ):
            with self.subTest(change):
                self.assertEqual(self.error("POST", f"{BASE}/Calls.json", {**good, **change}), (400, code))
        self.assertEqual(self.dialled, [])

    def test_a_call_that_is_over_cannot_be_changed_or_recorded(self) -> None:
        call = self.account.add_call("inbound", FROM, TO)
        self.account.set_status(call.sid, "completed")
        self.assertEqual(self.error("POST", f"{BASE}/Calls/{call.sid}.json", {"Status": "completed"}), (400, 21220))
        self.assertEqual(self.error("POST", f"{BASE}/Calls/{call.sid}/Recordings.json"), (400, 21220))

    def test_only_a_call_that_has_not_begun_can_be_canceled(self) -> None:
        call = self.account.add_call("outbound-api", FROM, TO)
        self.account.set_status(call.sid, "in-progress")
        self.assertEqual(self.error("POST", f"{BASE}/Calls/{call.sid}.json", {"Status": "canceled"}), (400, 21220))
        self.assertEqual(self.error("POST", f"{BASE}/Calls/{call.sid}.json", {"Status": "paused"}), (400, 21218))

    def test_too_many_requests(self) -> None:
        self.api.fail_next.extend([429, 503])
        self.assertEqual(self.error("GET", f"{BASE}/Calls.json"), (429, 20429))
        self.assertEqual(self.error("GET", f"{BASE}/Calls.json"), (503, 20500))
        self.assertEqual(ask(self.port, "GET", f"{BASE}/Calls.json")[0], 200)

    def test_an_unknown_parameter_is_complained_about(self) -> None:
        ask(self.port, "POST", f"{BASE}/Calls.json", {"To": TO, "From": FROM, "Url": f"{PUBLIC}/v/", "Colour": "red"})
        self.assertEqual(self.api.complaints, ["unknown parameter Colour"])

    def test_the_twilio_package_creates_fetches_lists_and_updates_calls(self) -> None:
        calls = client(self.port).calls
        made = [
            calls.create(
                to=f"+1555010010{n}", from_=FROM, url=f"{PUBLIC}/v/", status_callback_event=["answered", "completed"]
            )
            for n in range(3)
        ]
        self.assertEqual((made[0].status, made[0].direction), ("queued", "outbound-api"))
        self.assertEqual(self.dialled[0][1]["StatusCallbackEvent"], "answered completed")
        fetched = client(self.port).calls(made[1].sid).fetch()
        self.assertEqual((fetched.to, fetched._from), ("+15550100101", FROM))
        listed = calls.list(page_size=2)
        self.assertEqual([call.sid for call in listed], [call.sid for call in reversed(made)])
        self.assertEqual([call.sid for call in calls.list(to="+15550100102")], [made[2].sid])
        ended = client(self.port).calls(made[0].sid).update(status="canceled")
        self.assertEqual(ended.status, "canceled")
        self.assertIsNotNone(ended.end_time)

    def test_lists_are_filtered_by_numbers_and_by_the_day_and_stay_so_page_by_page(self) -> None:
        calls, days = client(self.port).calls, [datetime(2026, 11, day, 12, tzinfo=UTC) for day in (23, 24, 25)]
        made = [self.account.add_call("outbound-api", FROM, TO, parent_sid="CA" + "7" * 32) for _ in days]
        for call, day in zip(made, days, strict=True):
            call.started = call.ended = day
        queued = self.account.add_call("outbound-api", FROM, TO)  # which has no times yet
        late, evening = datetime(2026, 11, 24, 23, tzinfo=UTC), datetime(2026, 11, 24, 1, tzinfo=UTC)
        filters: tuple[tuple[dict[str, Any], list[CallResource]], ...] = (
            ({"to": TO, "from_": FROM}, [*made, queued]),
            ({"to": FROM}, []),
            ({"start_time_after": late}, made[1:]),  # the time of day counts for nothing
            ({"start_time_before": evening}, made[:2]),
            ({"start_time": evening}, made[1:2]),
            ({"end_time_after": late}, made[1:]),
            ({"parent_call_sid": "CA" + "7" * 32}, made),
            ({"status": "completed"}, []),
        )
        for given, expected in filters:
            with self.subTest(given):
                found = [call.sid for call in calls.list(page_size=1, **given)]
                self.assertEqual(found, [call.sid for call in reversed(expected)])
        self.assertEqual(self.api.complaints, [])

    def test_what_no_list_is_documented_to_take(self) -> None:
        for query in ("StartTime%3E=yesterday", "EndTime=24.11.2026"):
            self.assertEqual(self.error("GET", f"{BASE}/Calls.json?{query}"), (400, 20001))
        ask(self.port, "GET", f"{BASE}/Calls.json?StartedAfter=2026-11-24")
        ask(self.port, "GET", f"{BASE}/Calls.json?PageSize=1001")
        self.assertEqual(self.api.complaints, ["unknown parameter StartedAfter", "PageSize is not from 1 to 1000"])

    def test_a_new_call_may_be_missing_from_the_first_lists(self) -> None:
        self.api.list_lag = 2
        made = self.account.add_call("outbound-api", FROM, TO)
        lists = [client(self.port).calls.list(to=TO) for _ in range(3)]
        self.assertEqual([[call.sid for call in found] for found in lists], [[], [], [made.sid]])

    def test_the_twilio_package_understands_the_errors(self) -> None:
        with self.assertRaises(TwilioRestException) as caught:
            client(self.port, "wrong").calls("CA" + "0" * 32).fetch()
        self.assertEqual((caught.exception.status, caught.exception.code), (401, 20003))
        with self.assertRaises(TwilioRestException) as caught:
            client(self.port).calls("CA" + "0" * 32).fetch()
        self.assertEqual((caught.exception.status, caught.exception.code), (404, 20404))

    def test_a_recording_is_paused_stopped_and_listed(self) -> None:
        call = self.account.add_call("inbound", FROM, TO)
        self.account.set_status(call.sid, "in-progress")
        recordings = client(self.port).calls(call.sid).recordings
        made = recordings.create(recording_channels="dual")
        self.assertEqual((made.status, made.channels, made.source), ("in-progress", 2, "StartCallRecordingAPI"))
        one = client(self.port).calls(call.sid).recordings(made.sid)
        self.assertEqual(one.update(status="paused", pause_behavior="skip").status, "paused")
        self.assertEqual(one.update(status="stopped").status, "stopped")
        with self.assertRaises(TwilioRestException):
            one.update(status="in-progress")
        self.assertEqual([recording.sid for recording in recordings.list()], [made.sid])
        self.assertEqual(self.error("GET", f"{BASE}/Recordings/{made.sid}.wav"), (404, 20404))

    def test_the_recording_that_runs_is_known_as_the_current_one(self) -> None:
        call = self.account.add_call("inbound", FROM, TO)
        self.account.set_status(call.sid, "in-progress")
        current = client(self.port).calls(call.sid).recordings("Twilio.CURRENT")
        with self.assertRaises(TwilioRestException) as caught:
            current.update(status="paused")
        self.assertEqual((caught.exception.status, caught.exception.code), (404, 20404))
        made = client(self.port).calls(call.sid).recordings.create()
        self.assertEqual(current.update(status="paused", pause_behavior="silence").sid, made.sid)
        self.assertEqual(current.update(status="in-progress").status, "in-progress")
        [pause] = self.account.recordings[made.sid].pauses
        self.assertFalse(pause.skips)
        self.assertGreaterEqual(pause.ended or 0.0, pause.began)
        path = f"{BASE}/Calls/{call.sid}/Recordings/Twilio.CURRENT.json"
        for fields in ({"Status": "paused", "PauseBehavior": "mute"}, {"Status": "stopped", "PauseBehavior": "skip"}):
            self.assertEqual(self.error("POST", path, fields), (400, 20001))
        other = self.account.add_call("inbound", FROM, TO)
        path = f"{BASE}/Calls/{other.sid}/Recordings/{made.sid}.json"
        self.assertEqual(self.error("POST", path, {"Status": "paused"}), (404, 20404))

    def test_a_pause_is_silent_in_the_recording_or_cut_out_of_it(self) -> None:
        track = b"a" * 8000 + b"b" * 8000  # two streams of a second, the second one began at 20
        stretches = [(10.0, 0, 8000), (20.0, 8000, 16000)]
        silent = without(track, stretches, [Pause(10.5, False, 20.25)])
        self.assertEqual(silent, b"a" * 4000 + b"\xff" * 6000 + b"b" * 6000)
        self.assertEqual(without(track, stretches, [Pause(10.5, True, 20.25)]), b"a" * 4000 + b"b" * 6000)
        self.assertEqual(without(track, stretches, [Pause(20.5, True)]), b"a" * 8000 + b"b" * 4000)
        twice = [Pause(10.25, True, 10.5), Pause(10.75, False, 11.0)]
        self.assertEqual(without(track, stretches[:1], twice)[:6000], b"a" * 4000 + b"\xff" * 2000)


class LiveCallTests(SimpleTestCase):
    """Calls in progress, changed through the API from another thread."""

    async def during(self, act: Callable[[Client, str], Any], **pages: Any) -> tuple[CallLedger, Server, Account]:
        """Lets `act` (API client, CallSid) loose on a call whose stream has brought some frames."""
        streaming = asyncio.Event()

        async def talk(peer: Peer) -> None:
            await peer.started()
            await peer.play(tone(700, 300))
            await peer.frames(20)
            streaming.set()
            await peer.drain()

        found = {f"/{name}/": page for name, page in pages.items()}
        async with server(talk=talk, pages=found).running() as fake, asyncio.timeout(5):
            settings = Settings(PUBLIC, ACCOUNT, TOKEN, fake.address, status_path="/status/", time_scale=0.01)
            with Carrier(settings) as carrier, RestServer(Api(carrier.account, TOKEN)) as rest:
                call = asyncio.create_task(carrier.place_call(script(WaitForEnd(5000)), from_=FROM, to=TO))
                await streaming.wait()
                await asyncio.to_thread(act, client(rest.port), next(iter(carrier.account.calls)))
                return await call, fake, carrier.account

    async def test_a_call_is_ended(self) -> None:
        ledger, fake, _ = await self.during(lambda api, sid: api.calls(sid).update(status="completed"))
        self.assertEqual((ledger.ended_by, ledger.status), ("api", "completed"))
        self.assertEqual(fake.peers[0].messages[-1]["event"], "stop")
        self.assertEqual(fake.hits_of("/status/")[0].params["CallStatus"], "completed")

    async def test_a_call_is_given_other_twiml(self) -> None:
        dial = "<Response><Dial action='/dialled/'><Number>+15550100111</Number></Dial></Response>"
        ledger, fake, _ = await self.during(lambda api, sid: api.calls(sid).update(twiml=dial), dialled=xml(BYE))
        self.assertEqual(ledger.verbs, ["Connect", "Dial", "Hangup"])
        (dialled,) = fake.hits_of("/dialled/")
        self.assertEqual((dialled.params["DialCallStatus"], dialled.params["DialBridged"]), ("completed", "true"))
        self.assertEqual(fake.peers[0].messages[-1]["event"], "stop")
        self.assertEqual(fake.hits_of("/ended/"), [])

    async def test_a_call_is_sent_to_another_url(self) -> None:
        url = f"{PUBLIC}/other/"
        ledger, _, _ = await self.during(lambda api, sid: api.calls(sid).update(url=url), other=xml(BYE))
        self.assertEqual(ledger.verbs, ["Connect", "Hangup"])

    async def test_a_recording_holds_both_sides_as_they_were_heard(self) -> None:
        def record(api: Client, sid: str) -> None:
            options = {"recording_channels": "dual", "recording_status_callback": f"{PUBLIC}/rec/"}
            api.calls(sid).recordings.create(**options)
            api.calls(sid).update(status="completed")

        ledger, fake, account = await self.during(record, rec=(204, "", {}))
        (sid,) = ledger.recordings
        recording = account.recordings[sid]
        (hit,) = fake.hits_of("/rec/")
        self.assertEqual((hit.params["RecordingSid"], hit.params["RecordingStatus"]), (sid, "completed"))
        self.assertNotIn("From", hit.params)
        assert recording.tracks is not None
        caller, agent = recording.tracks
        self.assertEqual(len(caller), ledger.stream.caller_audio_bytes)
        self.assertIn(tone(700, 300), agent)
        self.assert_wav(account, sid, len(caller))

    def assert_wav(self, account: Account, sid: str, frames: int) -> None:
        api = Api(account, TOKEN)
        key = "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        self.assertEqual(api.answer("GET", f"{BASE}/Recordings/{sid}", {}, "").status, 401)
        for query, channels in (("", 2), ("?RequestedChannels=1", 1)):
            reply = api.answer("GET", f"{BASE}/Recordings/{sid}.wav{query}", {}, key)
            with wave.open(io.BytesIO(reply.body)) as audio:
                shape = (audio.getnchannels(), audio.getsampwidth(), audio.getframerate(), audio.getnframes())
            self.assertEqual(shape, (channels, 2, 8000, frames))
        account.recordings[sid].channels = 1
        reply = api.answer("GET", f"{BASE}/Recordings/{sid}?RequestedChannels=2", {}, key)
        self.assertEqual(json.loads(reply.body)["code"], 16113)

    async def test_twiml_can_start_a_recording_before_the_stream(self) -> None:
        start = "<Response><Start><Recording channels='dual' recordingStatusCallback='/rec/'/></Start>"
        pages: dict[str, Any] = {"/rec/": (204, "", {})}
        first = STREAM.replace("<Response>", start)
        async with server(first, talk=greet_and_listen, pages=pages).running() as fake:
            settings = Settings(PUBLIC, ACCOUNT, TOKEN, fake.address, clips=clips)
            with Carrier(settings) as carrier:
                ledger = await carrier.place_call(script(QUICK, HangUp()), from_=FROM, to=TO)
        self.assertTrue(ledger.ok, ledger.complaints)
        self.assertEqual(fake.hits_of("/rec/")[0].params["RecordingChannels"], "2")


class OutboundCallTests(SimpleTestCase):
    async def dial(
        self, fake: Server, *, callee: str = "answers", amd_ms: int = 0, answered_by: str = "human", **fields: Any
    ) -> CallLedger:
        ended: asyncio.Future[CallLedger] = asyncio.get_running_loop().create_future()
        settings = Settings(
            PUBLIC,
            ACCOUNT,
            TOKEN,
            fake.address,
            clips=clips,
            callee=callee,
            amd_ms=amd_ms,
            answered_by=answered_by,
        )
        with Carrier(settings) as carrier:
            api = Api(carrier.account, TOKEN, carrier.dial(script(QUICK, HangUp()), ended.set_result))
            with RestServer(api) as rest:
                calls = client(rest.port).calls
                await asyncio.to_thread(lambda: calls.create(to=FROM, from_=TO, **fields))
                async with asyncio.timeout(5):
                    return await ended

    async def test_a_created_call_rings_is_answered_and_gets_its_twiml(self) -> None:
        async with server(talk=greet_and_listen, pages={"/out/": xml(STREAM)}).running() as fake:
            events = ["initiated", "ringing", "answered", "completed"]
            status: dict[str, Any] = {"status_callback": f"{PUBLIC}/status/", "status_callback_event": events}
            ledger = await self.dial(fake, url=f"{PUBLIC}/out/", **status)
        self.assertTrue(ledger.ok, (ledger.complaints, ledger.failures))
        (out,) = fake.hits_of("/out/")
        self.assertEqual((out.params["Direction"], out.params["CallStatus"]), ("outbound-api", "in-progress"))
        self.assertNotIn("StirVerstat", out.params)
        self.assertEqual((out.params["To"], out.params["From"]), (FROM, TO))
        self.assertEqual({hit.params["SequenceNumber"] for hit in fake.hits_of("/status/")}, set("0123"))

    async def test_twiml_given_with_the_call_is_used(self) -> None:
        async with server(talk=greet_and_listen).running() as fake:
            ledger = await self.dial(fake, twiml=STREAM)
        self.assertTrue(ledger.ok, (ledger.complaints, ledger.failures))
        self.assertEqual(fake.hits, [])

    async def test_who_answered_is_reported_before_or_after_the_stream_starts(self) -> None:
        for delay, streams in ((0, 0), (300, 1)):
            with self.subTest(delay):
                opened: list[int] = []
                fake = server(talk=greet_and_listen, pages={"/out/": xml(STREAM)})

                def verdict(hit: Hit, fake: Server = fake, opened: list[int] = opened) -> Reply:
                    opened.append(len(fake.handshakes))
                    return 204, "", {}

                def slow_twiml(hit: Hit) -> Reply:
                    time.sleep(0.1)
                    return xml(STREAM)

                fake.pages |= {"/amd/": verdict, "/out/": slow_twiml}
                amd = {
                    "machine_detection": "Enable",
                    "async_amd": "true",
                    "async_amd_status_callback": f"{PUBLIC}/amd/",
                }
                async with fake.running():
                    ledger = await self.dial(fake, amd_ms=delay, url=f"{PUBLIC}/out/", **amd)
                self.assertTrue(ledger.ok, (ledger.complaints, ledger.failures))
                self.assertEqual(opened, [streams])
                (hit,) = fake.hits_of("/amd/")
                self.assertEqual((hit.params["AnsweredBy"], hit.params["CallSid"]), ("human", ledger.call_sid))

    async def test_nobody_answers(self) -> None:
        async with server(talk=greet_and_listen).running() as fake:
            ledger = await self.dial(
                fake, callee="no-answer", url=f"{PUBLIC}/out/", status_callback=f"{PUBLIC}/status/"
            )
        self.assertEqual(ledger.status, "no-answer")
        (status,) = fake.hits
        self.assertEqual((status.target, status.params["CallStatus"]), ("/status/", "no-answer"))

    async def test_the_end_of_a_machines_greeting_is_told_to_whoever_asked_for_it(self) -> None:
        for detection, told in (("DetectMessageEnd", "machine_end_beep"), ("Enable", "machine_start")):
            with self.subTest(detection):
                fake = server(talk=greet_and_listen, pages={"/out/": xml(STREAM), "/amd/": (204, "", {})})
                amd: dict[str, Any] = {"async_amd": "true", "async_amd_status_callback": f"{PUBLIC}/amd/"}
                async with fake.running():
                    await self.dial(
                        fake,
                        answered_by="machine_end_beep",
                        url=f"{PUBLIC}/out/",
                        machine_detection=detection,
                        **amd,
                    )
                (hit,) = fake.hits_of("/amd/")
                self.assertEqual(hit.params["AnsweredBy"], told)

    async def test_without_machine_detection_nobody_is_told(self) -> None:
        fake = server(talk=greet_and_listen, pages={"/out/": xml(STREAM), "/amd/": (204, "", {})})
        async with fake.running():
            await self.dial(fake, url=f"{PUBLIC}/out/", async_amd_status_callback=f"{PUBLIC}/amd/")
        self.assertEqual(fake.hits_of("/amd/"), [])


class CreatingGoesWrongTests(SimpleTestCase):
    def setUp(self) -> None:
        self.account = Account(ACCOUNT)
        self.dialled: list[str] = []
        self.api = Api(self.account, TOKEN, lambda call, fields: self.dialled.append(call.sid))

    def create(self, **fields: str) -> tuple[int, Any]:
        with RestServer(self.api) as rest:
            given = {"To": TO, "From": FROM, "Url": f"{PUBLIC}/out/", **fields}
            status, body, _ = ask(rest.port, "POST", f"{BASE}/Calls.json", given)
            return status, body

    def test_a_call_may_be_placed_though_the_answer_is_an_error(self) -> None:
        self.api.fail_after_create = [500]
        self.assertEqual(self.create()[0], 500)
        self.assertEqual(len(self.dialled), 1)

    def test_a_call_may_be_placed_though_the_answer_never_comes(self) -> None:
        self.api.fail_after_create, self.api.hang_seconds = [0], 6
        with self.assertRaises(TimeoutError):
            self.create()
        self.assertEqual(len(self.dialled), 1)

    def test_the_connection_may_break_before_or_after_the_call_is_placed(self) -> None:
        self.api.lost_on_the_way[TO] = 1
        with self.assertRaises(http.client.RemoteDisconnected):
            self.create()
        self.assertEqual((self.dialled, self.account.calls), ([], {}))
        self.api.fail_after_create = [-1]
        with self.assertRaises(http.client.RemoteDisconnected):
            self.create()
        self.assertEqual(len(self.dialled), 1)
        self.assertEqual(self.create()[0], 201)

    def test_an_answer_may_take_its_time(self) -> None:
        self.api.delay_next = [0.3]
        began = time.monotonic()
        self.assertEqual(self.create()[0], 201)
        self.assertGreaterEqual(time.monotonic() - began, 0.3)

    def test_only_the_accounts_numbers_may_be_called_from(self) -> None:
        self.api.owned = frozenset({"+15550100100"})
        self.assertEqual(self.create(From="+15550100101")[1]["code"], 21210)
        self.assertEqual(self.create(From="+15550100100")[0], 201)

    def test_values_that_are_not_documented(self) -> None:
        for wrong in (
            {"MachineDetection": "DetectBeep"},
            {"AsyncAmd": "true"},
            {"AsyncAmd": "yes", "MachineDetection": "Enable"},
            {"MachineDetection": "Enable", "SendDigits": "1"},
            {"Timeout": "601"},
            {"TimeLimit": "0"},
            {"StatusCallbackEvent": "hung-up"},
        ):
            with self.subTest(wrong):
                self.assertEqual(self.create(**wrong)[0], 400)
        self.assertEqual(self.dialled, [])
