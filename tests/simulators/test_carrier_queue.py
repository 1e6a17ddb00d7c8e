"""Callers who wait in a queue, and whoever takes them out of it: as strictly as Twilio's documents say."""

import asyncio
import base64
import io
import wave
from typing import Any

from django.test import SimpleTestCase

from simulators.carrier.account import Account
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.rest import Api
from simulators.carrier.script import HangUp, Script, Wait, WaitForEnd
from simulators.carrier.settings import Colleague, Settings
from tests.simulators.carrier_server import ACCOUNT, BYE, PUBLIC, TOKEN, Hit, Server, clips, xml

FROM, TO, COLLEAGUE = "+15550100199", "+15550100100", "+12125550171"
ENQUEUE = "<Response><Enqueue action='/left/' waitUrl='/wait/'>room</Enqueue></Response>"
HOLD = "<Response><Play>/hold.wav</Play><Redirect>/wait/</Redirect></Response>"
TAKE = "<Response><Dial timeout='5' timeLimit='600'><Queue>room</Queue></Dial><Say>Gone.</Say></Response>"
ASK = "<Response><Gather action='/key/' numDigits='1' timeout='5'><Say>Press 1.</Say></Gather><Hangup/></Response>"
WAITS = Script("waits", (WaitForEnd(5000),), "any")
LEAVES = Script("hangs up", (Wait(400), HangUp()), "caller")


def a_wav(seconds: float) -> str:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as sound:
            sound.setparams((1, 1, 8000, 0, "NONE", ""))
            sound.writeframes(b"\0" * round(8000 * seconds))
        return file.getvalue().decode("latin-1")


class World:
    """One account with a caller, and colleagues whom the API calls."""

    def __init__(self, colleague: Colleague | None = None, **pages: Any) -> None:
        self.server = Server(
            {
                "/twilio/voice/": xml(ENQUEUE),
                "/wait/": xml(HOLD),
                "/left/": xml(BYE),
                "/hold.wav": (200, a_wav(5), {"Content-Type": "audio/wav"}),
                "/brief/": xml(ASK),
                "/key/": xml(TAKE),
                "/leg/": (204, "", {}),
            }
        )
        self.server.pages.update({f"/{name.replace('_', '.')}/": page for name, page in pages.items()})
        self.api = Api(Account(ACCOUNT), TOKEN)
        self.colleague = colleague or Colleague()
        self.colleagues: list[CallLedger] = []

    async def play(
        self, script: Script, *, calls_after: float | None = None, end_after: float | None = None
    ) -> CallLedger:
        """One call of a caller; `calls_after`: seconds until the API is asked to call the colleague; `end_after`: until
        it is asked to end the colleague's call."""
        async with self.server.running():
            settings = Settings(
                PUBLIC, ACCOUNT, TOKEN, self.server.address, clips=clips, time_scale=0.02, colleague=self.colleague
            )
            with Carrier(settings, account=self.api.account) as carrier:
                ended = asyncio.Event()

                def over(ledger: CallLedger) -> None:
                    self.colleagues.append(ledger)
                    ended.set()

                self.api.dial = carrier.dial_colleagues(over)
                async with asyncio.timeout(15):
                    caller = asyncio.create_task(carrier.place_call(script, from_=FROM, to=TO))
                    if calls_after is not None:
                        await asyncio.sleep(calls_after)
                        sid = await asyncio.to_thread(self.call_colleague)
                        if end_after is not None:
                            await asyncio.sleep(end_after)
                            path = f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json"
                            await asyncio.to_thread(self.ask, "POST", path, {"Status": ["completed"]})
                        await ended.wait()
                    return await caller

    def call_colleague(self) -> str:
        fields = {
            "To": [COLLEAGUE],
            "From": [TO],
            "Url": [f"{PUBLIC}/brief/"],
            "Timeout": ["10"],
            "StatusCallback": [f"{PUBLIC}/leg/"],
            "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        }
        self.ask("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json", fields)
        return list(self.api.account.calls)[-1]

    def ask(self, method: str, path: str, fields: dict[str, list[str]]) -> int:
        secret = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        return self.api.answer(method, path, fields, f"Basic {secret}").status

    def left(self) -> dict[str, str]:
        [hit] = self.server.hits_of("/left/")
        return hit.params

    def statuses(self) -> list[str]:
        hits = sorted(self.server.hits_of("/leg/"), key=lambda hit: hit.params["SequenceNumber"])
        return [hit.params["CallStatus"] for hit in hits]


class QueueTests(SimpleTestCase):
    async def test_who_waits_hears_the_document_until_somebody_takes_the_call(self) -> None:
        world = World(Colleague(rings=2, talks=20))
        ledger = await world.play(WAITS, calls_after=0.3)
        [colleague] = world.colleagues
        self.assertEqual((ledger.complaints, colleague.complaints), ([], []))
        self.assertEqual((ledger.joined_to, colleague.joined_to), (colleague.call_sid, ledger.call_sid))
        self.assertEqual((colleague.pressed, colleague.said), ("1", ["Press 1."]))  # who hangs up first hears no more
        self.assertEqual(set(ledger.waited), {"Play", "Redirect"})
        self.assertGreater(ledger.held_seconds, 5)
        self.assertEqual(len(ledger.requests_of("play")), 1)  # the file is kept
        left = world.left()
        self.assertEqual((left["QueueResult"], left["CallStatus"]), ("bridged", "in-progress"))
        self.assertRegex(left["QueueSid"], "^QU[0-9a-f]{32}$")
        self.assertEqual(world.statuses(), ["initiated", "ringing", "in-progress", "completed"])
        first, second, *_ = ledger.requests_of("wait")
        self.assertEqual((first.params["QueuePosition"], first.params["QueueSid"]), ("1", left["QueueSid"]))
        self.assertNotIn("QueueTime", second.params)
        self.assertNotIn("ParentCallSid", colleague.requests_of("voice")[0].params)
        self.assertEqual(colleague.direction, "outbound-api")

    async def test_who_is_told_to_leave_is_asked_what_comes_next(self) -> None:
        ledger = await World(wait=xml("<Response><Leave/><Say>Not heard.</Say></Response>")).play(WAITS)
        self.assertEqual((ledger.waited, ledger.said, ledger.end_detail), (["Leave"], [], "Hangup"))
        self.assertEqual(ledger.requests_of("enqueue")[0].params["QueueResult"], "leave")

    async def test_a_caller_who_hangs_up_is_out_of_the_queue_and_nobody_is_joined(self) -> None:
        world = World(Colleague(rings=60.0))
        world.server.pages["/key/"] = xml(TAKE)
        ledger = await world.play(LEAVES, calls_after=0.0)
        self.assertEqual(world.left()["QueueResult"], "hangup")
        self.assertEqual(world.left()["CallStatus"], "completed")
        [colleague] = world.colleagues
        self.assertEqual((ledger.joined_to, colleague.joined_to), ("", ""))

    async def test_a_queue_that_stays_empty_is_waited_for_and_one_that_never_was_is_an_error(self) -> None:
        for queue, told in (("room", "no-answer"), ("nowhere", "failed")):
            with self.subTest(queue):
                take = TAKE.replace("room", queue).replace("<Dial ", "<Dial action='/taken/' ")
                world = World(Colleague(rings=9), key=xml(take), taken=xml(BYE))
                await world.play(Script("early", (Wait(50), HangUp()), "caller"), calls_after=0.0)
                [hit] = world.server.hits_of("/taken/")
                self.assertEqual((hit.params["DialCallStatus"], hit.params["DialBridged"]), (told, "false"))

    async def test_a_caller_who_hangs_up_in_the_talk_ends_it(self) -> None:
        world = World(Colleague(rings=1, talks=10_000))
        ledger = await world.play(Script("talks", (Wait(1500), HangUp()), "caller"), calls_after=0.0)
        self.assertEqual(world.left()["QueueResult"], "bridged")
        self.assertEqual(world.colleagues[0].said, ["Press 1.", "Gone."])
        self.assertEqual(ledger.complaints, [])

    async def test_a_colleague_who_hangs_up_when_asked_leaves_the_caller_waiting(self) -> None:
        world = World(Colleague(rings=1, hangs_up=True))
        ledger = await world.play(LEAVES, calls_after=0.0)
        self.assertEqual((ledger.joined_to, world.colleagues[0].status), ("", "completed"))

    async def test_a_colleague_who_rings_is_called_off_through_the_api(self) -> None:
        world = World(Colleague(rings=9))
        await world.play(LEAVES, calls_after=0.0, end_after=0.05)
        self.assertEqual(world.colleagues[0].status, "canceled")
        self.assertEqual(world.statuses()[-1], "canceled")

    async def test_nobody_answers(self) -> None:
        for colleague, status in (
            (Colleague("busy"), "busy"),
            (Colleague("no-answer"), "no-answer"),
            (Colleague(rings=11), "no-answer"),
        ):
            with self.subTest(colleague):
                world = World(colleague)
                await world.play(LEAVES, calls_after=0.0)
                self.assertEqual(world.statuses()[-1], status)
                self.assertEqual(world.server.hits_of("/brief/"), [])

    async def test_queues_stay_until_they_are_deleted_and_only_empty_ones_are(self) -> None:
        world = World()
        path = f"/2010-04-01/Accounts/{ACCOUNT}/Queues/"
        answers: list[int] = []

        def while_waiting(hit: Hit) -> tuple[int, str, dict[str, str]]:
            answers.append(world.ask("DELETE", f"{path}{hit.params['QueueSid']}.json", {}))
            return xml("<Response><Leave/></Response>")

        world.server.pages["/wait/"] = while_waiting
        await world.play(WAITS)
        sid = world.left()["QueueSid"]
        answers += [world.ask("DELETE", f"{path}{sid}.json", {}) for _ in range(2)]
        self.assertEqual(answers, [400, 204, 404])

    async def test_what_twilio_would_not_take(self) -> None:
        for pages, complaint in (
            ({"wait": xml("<Response><Dial>+12125550171</Dial><Leave/></Response>")}, "not allowed in a wait document"),
            ({"wait": xml("<Response/>")}, "a wait document that takes no time is asked for without end"),
            ({"left": xml("<Response><Leave/></Response>")}, "Leave is for calls in a queue"),
            ({"twilio.voice": None, "name": "x" * 65}, "the name of a queue has 1 to 64 characters"),
            ({"twilio.voice": None, "name": ""}, "the name of a queue has 1 to 64 characters"),
        ):
            with self.subTest(complaint):
                world = World()
                if "name" in pages:
                    world.server.pages["/twilio/voice/"] = xml(ENQUEUE.replace("room", str(pages["name"])))
                else:
                    world.server.pages.update({f"/{name}/": page for name, page in pages.items()})  # type: ignore[misc]
                if complaint.startswith("Leave"):
                    world.server.pages["/wait/"] = xml("<Response><Leave/></Response>")
                ledger = await world.play(LEAVES)
                self.assertIn(complaint, [each.what for each in ledger.complaints])

    async def test_a_file_that_is_no_audio_is_complained_of(self) -> None:
        world = World()
        world.server.pages["/hold.wav"] = (200, "<html>", {"Content-Type": "text/html"})
        ledger = await world.play(LEAVES)
        self.assertEqual([each.code for each in ledger.complaints], [12300])
