"""Somebody else is called for the caller: as scripted, and as strictly as Twilio's documents say."""

import asyncio
from typing import Any

from django.test import SimpleTestCase

from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, Script, Wait, WaitForEnd
from simulators.carrier.settings import Colleague, Settings
from tests.simulators.carrier_server import ACCOUNT, BYE, PUBLIC, TOKEN, Hit, Server, clips, xml

FROM, TO, COLLEAGUE = "+15550100199", "+15550100100", "+12125550171"
DIAL = (
    "<Response><Dial action='/over/' timeout='20' timeLimit='600'>"
    "<Number statusCallback='/leg/' statusCallbackEvent='initiated ringing answered completed' {more}>"
    f"{COLLEAGUE}</Number></Dial></Response>"
)
BRIEFING = "<Response><Gather action='/key/' numDigits='1' timeout='5'><Say>Press 1.</Say></Gather><Hangup/></Response>"
WAITS = Script("waits", (WaitForEnd(5000),), "any")


async def dial(
    colleague: Colleague, *, more: str = "", script: Script = WAITS, from_: str = FROM, dial: str = DIAL, **pages: Any
) -> tuple[CallLedger, Server]:
    server = Server({"/twilio/voice/": xml(dial.format(more=more)), "/over/": xml(BYE), "/leg/": (204, "", {})})
    server.pages.update({f"/{name}/": page for name, page in pages.items()})
    async with server.running():
        settings = Settings(PUBLIC, ACCOUNT, TOKEN, server.address, clips=clips, time_scale=0.02, colleague=colleague)
        with Carrier(settings) as carrier:
            async with asyncio.timeout(15):
                return await carrier.place_call(script, from_=from_, to=TO), server


def keyed(hit: Hit) -> tuple[int, str, dict[str, str]]:
    return xml("<Response/>" if hit.params["Digits"] == "1" else BYE)


class DialTests(SimpleTestCase):
    def over(self, server: Server) -> dict[str, str]:
        [hit] = server.hits_of("/over/")
        return hit.params

    def statuses(self, server: Server) -> list[str]:
        hits = sorted(server.hits_of("/leg/"), key=lambda hit: hit.params["SequenceNumber"])
        return [hit.params["CallStatus"] for hit in hits]

    async def test_a_colleague_who_answers_is_joined_and_each_leg_is_told_of(self) -> None:
        ledger, server = await dial(Colleague(talks=50.0))
        [leg] = ledger.legs
        self.assertEqual((leg.number, leg.caller_id, leg.timeout, leg.time_limit), (COLLEAGUE, FROM, 20, 600))
        self.assertEqual((leg.status, leg.bridged, leg.duration_seconds), ("completed", True, 1))
        over = self.over(server)
        self.assertEqual(
            (over["CallStatus"], over["DialCallStatus"], over["DialBridged"]), ("in-progress", "completed", "true")
        )
        self.assertEqual((over["DialCallSid"], over["DialCallDuration"]), (leg.call_sid, "1"))
        self.assertEqual(self.statuses(server), ["initiated", "ringing", "in-progress", "completed"])
        last = server.hits_of("/leg/")[-1].params
        self.assertEqual((last["CallSid"], last["ParentCallSid"]), (leg.call_sid, ledger.call_sid))
        self.assertEqual((last["Direction"], last["From"], last["To"]), ("outbound-dial", FROM, COLLEAGUE))
        self.assertEqual(ledger.complaints, [])

    async def test_the_time_limit_ends_the_talk(self) -> None:
        ledger, _ = await dial(Colleague(talks=10_000.0), dial=DIAL.replace("600", "40"))
        self.assertEqual((ledger.legs[0].status, ledger.legs[0].duration_seconds), ("completed", 1))

    async def test_busy_failed_no_answer_and_too_late(self) -> None:
        for colleague, status in (
            (Colleague("busy"), "busy"),
            (Colleague("failed"), "failed"),
            (Colleague("no-answer"), "no-answer"),
            (Colleague(rings=21.0), "no-answer"),
        ):
            with self.subTest(status):
                ledger, server = await dial(colleague)
                over = self.over(server)
                self.assertEqual((over["DialCallStatus"], over["DialBridged"]), (status, "false"))
                self.assertNotIn("DialCallDuration", over)
                self.assertEqual(self.statuses(server), ["initiated", "ringing", status])
                self.assertEqual((ledger.legs[0].bridged, ledger.complaints), (False, []))

    async def test_a_caller_who_hangs_up_ends_the_leg_too(self) -> None:
        for wait, status in ((200, "canceled"), (900, "completed")):
            script = Script("hangs up", (Wait(wait), HangUp()), "caller")
            ledger, server = await dial(Colleague(rings=15.0, talks=1000.0), script=script)
            self.assertEqual((ledger.legs[0].status, ledger.ended_by), (status, "caller"))
            over = self.over(server)
            self.assertEqual((over["CallStatus"], over["DialCallStatus"]), ("completed", status))
            self.assertEqual(self.statuses(server)[-1], status)

    async def test_a_colleague_is_briefed_first_and_joined_when_they_press_the_key(self) -> None:
        for colleague, joined, pressed in (
            (Colleague(keys="1"), "true", "1"),
            (Colleague(keys="2"), "false", "2"),
            (Colleague(keys=""), "false", ""),
            (Colleague(keys="1", hangs_up=True), "false", ""),
        ):
            with self.subTest(colleague):
                ledger, server = await dial(colleague, more="url='/brief/'", brief=xml(BRIEFING), key=keyed)
                over = self.over(server)
                self.assertEqual((over["DialCallStatus"], over["DialBridged"]), ("completed", joined))
                self.assertEqual((ledger.legs[0].said, ledger.legs[0].pressed), (["Press 1."], pressed))
                [brief] = server.hits_of("/brief/")
                self.assertEqual(brief.params["CallSid"], ledger.legs[0].call_sid)
                self.assertEqual(
                    [hit.params["Digits"] for hit in server.hits_of("/key/")], [pressed] if pressed else []
                )
                self.assertEqual(ledger.complaints, [])

    async def test_that_no_key_was_pressed_is_told_where_it_is_asked_for(self) -> None:
        asked = BRIEFING.replace("timeout='5'", "timeout='5' actionOnEmptyResult='true'")
        ledger, server = await dial(Colleague(keys=""), more="url='/brief/'", brief=xml(asked), key=keyed)
        self.assertEqual([hit.params["Digits"] for hit in server.hits_of("/key/")], [""])
        self.assertEqual((ledger.legs[0].bridged, ledger.complaints), (False, []))

    async def test_what_twilio_would_not_do_is_complained_of(self) -> None:
        nested = xml("<Response><Dial>+12125550172</Dial></Response>")
        ledger, _ = await dial(Colleague(), more="url='/brief/'", brief=nested)
        self.assertEqual([complaint.detail for complaint in ledger.complaints], ["Dial"])
        ledger, server = await dial(Colleague(), more="url='/brief/'")
        self.assertEqual([complaint.code for complaint in ledger.complaints], [11217])
        self.assertEqual(self.over(server)["DialBridged"], "false")
        ledger, _ = await dial(Colleague(), dial=DIAL.replace("timeout=", "callerId='+15550100177' timeout="))
        self.assertEqual([complaint.code for complaint in ledger.complaints], [13214])
        for wrong in ("timeout='4'", "timeout='601'", "timeLimit='0'", "timeLimit='14401'", "timeLimit='x'"):
            name = wrong.partition("=")[0]
            given = {"timeout": "timeout='20'", "timeLimit": "timeLimit='600'"}[name]
            ledger, _ = await dial(Colleague("busy"), dial=DIAL.replace(given, wrong))
            self.assertEqual([complaint.code for complaint in ledger.complaints], [12200], wrong)
        ledger, _ = await dial(Colleague("busy"), dial=DIAL.replace("initiated ringing", "initiated,ringing"))
        self.assertEqual([complaint.code for complaint in ledger.complaints], [12200])
