"""`<Gather>`: what the caller presses when asked, and what follows when nothing is pressed."""

from typing import Any

from django.test import SimpleTestCase

from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, Wait, WaitForEnd
from tests.simulators.carrier_server import BYE, Server, xml
from tests.simulators.test_carrier_call import call

QUESTION = "<Say>Press one.</Say>"


async def asked(gather: str, after: str = "<Say>Nothing</Say>", **settings: Any) -> tuple[CallLedger, Server]:
    pages: dict[str, Any] = {
        "/twilio/voice/": xml(f"<Response>{gather}{after}</Response>"),
        "/keys/": xml(BYE),
        "/status/": xml(""),
    }
    async with Server(pages=pages).running() as server:
        return await call(server, WaitForEnd(5000), HangUp(), **settings), server


class GatherTest(SimpleTestCase):
    async def test_the_keys_go_to_the_action_after_the_question(self) -> None:
        ledger, server = await asked(f'<Gather action="/keys/" numDigits="1">{QUESTION}</Gather>', keys="1")
        self.assertEqual((ledger.complaints, ledger.verbs, ledger.said), ([], ["Gather", "Hangup"], ["Press one."]))
        [hit] = server.hits_of("/keys/")
        self.assertEqual((hit.method, hit.params["Digits"], hit.params["CallStatus"]), ("POST", "1", "in-progress"))
        self.assertIn("x-twilio-signature", hit.headers)

    async def test_no_more_keys_than_were_asked_for_and_none_after_the_last_one(self) -> None:
        _, server = await asked('<Gather action="/keys/" numDigits="2"/>', keys="123")
        self.assertEqual(server.hits_of("/keys/")[0].params["Digits"], "12")
        _, server = await asked('<Gather action="/keys/"/>', keys="12#3")
        self.assertEqual(server.hits_of("/keys/")[0].params["Digits"], "12")

    async def test_without_keys_the_next_verb_follows_unless_the_document_wants_to_know(self) -> None:
        ledger, server = await asked('<Gather action="/keys/"/>')
        self.assertEqual((ledger.verbs, server.hits_of("/keys/")), (["Gather", "Say"], []))
        ledger, server = await asked('<Gather action="/keys/" actionOnEmptyResult="true"/>')
        self.assertEqual((ledger.verbs, server.hits_of("/keys/")[0].params["Digits"]), (["Gather", "Hangup"], ""))

    async def test_who_hangs_up_at_the_question_is_asked_nothing_more(self) -> None:
        pages: dict[str, Any] = {
            "/twilio/voice/": xml(f'<Response><Gather action="/keys/">{QUESTION}</Gather></Response>')
        }
        async with Server(pages=pages | {"/status/": xml("")}).running() as server:
            ledger = await call(server, Wait(50), HangUp(), time_scale=1.0)
        self.assertEqual((ledger.ended_by, server.hits_of("/keys/")), ("caller", []))

    async def test_what_the_carrier_does_not_take_is_complained_of(self) -> None:
        for gather in (
            '<Gather input="keys"/>',
            '<Gather actionOnEmptyResult="yes"/>',
            "<Gather><Hangup/></Gather>",
            '<Gather digits="1"/>',
            '<Gather input="speech"/>',
        ):
            with self.subTest(gather):
                ledger, _ = await asked(gather)
                self.assertTrue(ledger.complaints)
