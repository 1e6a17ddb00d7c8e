"""`<Gather>`: what the caller presses or says when asked, and what follows when nothing comes."""

from typing import Any

from django.test import SimpleTestCase

from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, Wait, WaitForEnd
from simulators.carrier.settings import Reply
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
        ledger, server = await asked(
            f'<Gather action="/keys/" numDigits="1">{QUESTION}</Gather>', replies=(Reply("1"),)
        )
        self.assertEqual((ledger.complaints, ledger.verbs, ledger.said), ([], ["Gather", "Hangup"], ["Press one."]))
        [hit] = server.hits_of("/keys/")
        self.assertEqual((hit.method, hit.params["Digits"], hit.params["CallStatus"]), ("POST", "1", "in-progress"))
        self.assertIn("x-twilio-signature", hit.headers)

    async def test_no_more_keys_than_were_asked_for_and_none_after_the_last_one(self) -> None:
        _, server = await asked('<Gather action="/keys/" numDigits="2"/>', replies=(Reply("123"),))
        self.assertEqual(server.hits_of("/keys/")[0].params["Digits"], "12")
        _, server = await asked('<Gather action="/keys/"/>', replies=(Reply("12#3"),))
        self.assertEqual(server.hits_of("/keys/")[0].params["Digits"], "12")

    async def test_without_keys_the_next_verb_follows_unless_the_document_wants_to_know(self) -> None:
        ledger, server = await asked('<Gather action="/keys/"/>')
        self.assertEqual((ledger.verbs, server.hits_of("/keys/")), (["Gather", "Say"], []))
        ledger, server = await asked('<Gather action="/keys/" actionOnEmptyResult="true"/>')
        self.assertEqual((ledger.verbs, server.hits_of("/keys/")[0].params["Digits"]), (["Gather", "Hangup"], ""))

    async def test_words_are_told_where_speech_is_asked_for(self) -> None:
        gather = '<Gather action="/keys/" input="dtmf speech" language="de-DE" hints="ja, nein" speechTimeout="2">'
        ledger, server = await asked(
            f"{gather}{QUESTION}</Gather>", replies=(Reply(words="Ja, gerne.", confidence=0.87),)
        )
        self.assertEqual((ledger.complaints, ledger.verbs), ([], ["Gather", "Hangup"]))
        [hit] = server.hits_of("/keys/")
        self.assertEqual((hit.params["SpeechResult"], hit.params["Confidence"]), ("Ja, gerne.", "0.87"))
        self.assertNotIn("Digits", hit.params)
        _, server = await asked(f"{gather}</Gather>", replies=(Reply(words="Ja", confidence=None),))
        self.assertNotIn("Confidence", server.hits_of("/keys/")[0].params)

    async def test_a_gather_hears_only_what_it_asks_for_and_keys_come_first(self) -> None:
        for heard, reply, told in (
            ("dtmf", Reply(words="yes"), {}),
            ("speech", Reply("1"), {}),
            ("dtmf speech", Reply("1", "yes"), {"Digits": "1"}),
            ("speech", Reply("1", "yes"), {"SpeechResult": "yes", "Confidence": "0.9"}),
        ):
            with self.subTest(heard=heard, reply=reply):
                _, server = await asked(f'<Gather action="/keys/" numDigits="1" input="{heard}"/>', replies=(reply,))
                hits = server.hits_of("/keys/")
                answers = {name: hits[0].params[name] for name in told} if hits else {}
                self.assertEqual((len(hits), answers), (1 if told else 0, told))

    async def test_each_question_has_its_own_answer_and_silence_after_the_last(self) -> None:
        question = '<Gather action="/keys/" input="dtmf speech"/>'
        pages = {"/keys/": xml(f"<Response>{question}<Redirect>/over/</Redirect></Response>"), "/over/": xml(BYE)}
        server = Server(pages={"/twilio/voice/": xml(f"<Response>{question}</Response>"), "/status/": xml(""), **pages})
        async with server.running():
            ledger = await call(server, WaitForEnd(5000), HangUp(), replies=(Reply(words="well"), Reply("2")))
        first, second = (hit.params for hit in server.hits_of("/keys/"))
        self.assertEqual((first["SpeechResult"], second["Digits"]), ("well", "2"))
        self.assertEqual(ledger.verbs, ["Gather", "Gather", "Gather", "Redirect", "Hangup"])

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
            '<Gather input="speech" speechTimeout="0"/>',
            '<Gather input="speech" speechTimeout="soon"/>',
            '<Gather input="speech" speechTimeout="auto" speechModel="phone_call"/>',
            f'<Gather input="speech" hints="{"a" * 101}"/>',
            f'<Gather input="speech" hints="{"a," * 500}"/>',
            '<Gather input="speech" language="English, please"/>',
            '<Gather input="speech" profanityFilter="no"/>',
            '<Gather speechTimeout="2"/>',
        ):
            with self.subTest(gather):
                ledger, _ = await asked(gather)
                self.assertEqual(len(ledger.complaints), 1)

    async def test_what_the_carrier_takes_of_speech_is_not_complained_of(self) -> None:
        for gather in (
            '<Gather input="speech"/>',
            '<Gather input="speech" speechModel="phone_call"/>',
            '<Gather input="speech dtmf" speechTimeout="auto" language="en-US"/>',
            f'<Gather input="speech" hints="{"a" * 100}, b" profanityFilter="false"/>',
        ):
            with self.subTest(gather):
                ledger, _ = await asked(gather)
                self.assertEqual(ledger.complaints, [])
