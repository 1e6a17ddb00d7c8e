"""Twilio's signatures (protocols, twilio A8: its test vectors) and the TwiML it is given."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from django.http import HttpRequest
from django.test import RequestFactory, SimpleTestCase, override_settings

from calls.carriers import twilio
from tests.calls.support import ACCOUNT_SID, CALL_SID

DOCUMENTED = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675310",
    "Digits": "1234",
    "From": "+14158675310",
    "To": "+18005551212",
}
DOCUMENTED_SIGNATURE = "L/OH5YylLD5NRKLltdqwSvS0BnU="
HANDSHAKE_SIGNATURE = "ASQRYTc0wvU5mNzGWJIabUSXeK8="


def request(path: str, data: dict[str, str], signature: str | None, **headers: str) -> HttpRequest:
    if signature is not None:
        headers["X-Twilio-Signature"] = signature
    return RequestFactory().post(path, data, headers=headers)


@override_settings(PUBLIC_URL="https://example.com", TWILIO_AUTH_TOKENS=["12345"])
class RequestSignatureTest(SimpleTestCase):
    path = "/myapp.php?foo=1&bar=2"

    def signed(self, path: str, data: dict[str, str], signature: str | None = DOCUMENTED_SIGNATURE) -> bool:
        return twilio.request_is_signed(request(path, data, signature))

    def test_the_documented_example_is_signed(self) -> None:
        self.assertTrue(self.signed(self.path, DOCUMENTED))

    def test_a_missing_or_wrong_signature_is_none(self) -> None:
        for signature in (None, "", "x", DOCUMENTED_SIGNATURE.lower(), "é" * 28):
            with self.subTest(signature=signature):
                self.assertFalse(self.signed(self.path, DOCUMENTED, signature))

    def test_what_is_signed_cannot_be_changed(self) -> None:
        self.assertFalse(self.signed(self.path, {**DOCUMENTED, "To": "+18005551213"}))
        self.assertFalse(self.signed(self.path, {**DOCUMENTED, "More": ""}))
        self.assertFalse(self.signed("/myapp.php?bar=2&foo=1", DOCUMENTED))
        self.assertFalse(self.signed("/myapp.php", DOCUMENTED))
        self.assertFalse(self.signed("/myapp.php/?foo=1&bar=2", DOCUMENTED))

    def test_the_requests_own_headers_decide_nothing(self) -> None:
        headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
        self.assertTrue(twilio.request_is_signed(request(self.path, DOCUMENTED, DOCUMENTED_SIGNATURE, **headers)))
        with override_settings(PUBLIC_URL="https://other.example"):
            forged = request(self.path, DOCUMENTED, DOCUMENTED_SIGNATURE, Host="example.com")
            self.assertFalse(twilio.request_is_signed(forged))

    def test_any_of_several_tokens_will_do_while_one_is_rotated(self) -> None:
        with override_settings(TWILIO_AUTH_TOKENS=["new", "12345"]):
            self.assertTrue(self.signed(self.path, DOCUMENTED))
        for tokens in (["new"], [], [""]):
            with override_settings(TWILIO_AUTH_TOKENS=tokens):
                self.assertFalse(self.signed(self.path, DOCUMENTED))

    def test_an_empty_token_signs_nothing(self) -> None:
        import base64
        import hashlib
        import hmac

        digest = hmac.new(b"", b"https://example.com/x", hashlib.sha1).digest()
        with override_settings(TWILIO_AUTH_TOKENS=[""]):
            self.assertFalse(self.signed("/x", {}, base64.b64encode(digest).decode()))


@override_settings(PUBLIC_URL="https://agent.example.com", TWILIO_AUTH_TOKENS=["12345"])
class HandshakeSignatureTest(SimpleTestCase):
    def test_the_wss_address_is_signed_with_or_without_a_trailing_slash(self) -> None:
        for path in ("/ws/media/", "/ws/media"):
            self.assertTrue(twilio.handshake_is_signed(path, HANDSHAKE_SIGNATURE))
        self.assertFalse(twilio.handshake_is_signed("/ws/other/", HANDSHAKE_SIGNATURE))

    def test_the_port_may_be_written_out(self) -> None:
        from twilio.request_validator import RequestValidator

        for address in ("wss://agent.example.com:443/ws/media", "wss://agent.example.com/ws/media"):
            signature = RequestValidator("12345").compute_signature(address, {})
            self.assertTrue(twilio.handshake_is_signed("/ws/media/", signature), address)
        for address in ("https://agent.example.com/ws/media", "wss://agent.example.com:8443/ws/media"):
            signature = RequestValidator("12345").compute_signature(address, {})
            self.assertFalse(twilio.handshake_is_signed("/ws/media/", signature), address)

    def test_a_missing_signature_is_none(self) -> None:
        self.assertFalse(twilio.handshake_is_signed("/ws/media/", None))
        self.assertFalse(twilio.handshake_is_signed("/ws/media/", ""))

    def test_a_public_address_with_a_port_is_signed_with_it(self) -> None:
        from twilio.request_validator import RequestValidator

        with override_settings(PUBLIC_URL="http://127.0.0.1:8000"):
            signature = RequestValidator("12345").compute_signature("wss://127.0.0.1:8000/ws/media/", {})
            self.assertTrue(twilio.handshake_is_signed("/ws/media/", signature))


class ShapesTest(SimpleTestCase):
    def test_sids_have_one_shape(self) -> None:
        self.assertTrue(twilio.is_call_sid(CALL_SID))
        for wrong in ("", "CA", CALL_SID + "0", CALL_SID[:-1], CALL_SID.lower(), CALL_SID + "\n", "CA" + "g" * 32):
            self.assertFalse(twilio.is_call_sid(wrong), wrong)

    def test_only_the_configured_account_is_ours(self) -> None:
        with override_settings(TWILIO_ACCOUNT_SID=ACCOUNT_SID):
            self.assertTrue(twilio.is_our_account(ACCOUNT_SID))
            self.assertFalse(twilio.is_our_account("AC" + "3" * 32))
        with override_settings(TWILIO_ACCOUNT_SID=""):
            self.assertFalse(twilio.is_our_account(""))


@override_settings(PUBLIC_URL="https://agent.example.com", TWILIO_CONNECTION_OVERRIDES="rc=2&rp=all")
class TwimlTest(SimpleTestCase):
    def test_a_call_is_connected_and_what_comes_next_is_asked_for(self) -> None:
        document = ElementTree.fromstring(
            twilio.answer_with_stream(call_sid=CALL_SID, ticket="tic.ket", token="tok", stream_number=1)
        )
        connect, redirect = list(document)
        after = "https://agent.example.com/twilio/stream-ended/?stream=1#rc=2&rp=all"
        self.assertEqual(connect.attrib, {"action": after, "method": "POST"})
        (stream,) = list(connect)
        self.assertEqual(stream.attrib, {"url": f"wss://agent.example.com/media/stream/{CALL_SID}/tic.ket/"})
        self.assertEqual([child.attrib for child in stream], [{"name": "token", "value": "tok"}])
        self.assertEqual((redirect.tag, redirect.text), ("Redirect", after))
        self.assertEqual(redirect.attrib, {"method": "POST"})

    def test_a_caller_on_hold_comes_again_and_so_does_a_request_that_failed(self) -> None:
        document = ElementTree.fromstring(twilio.hold_and_come_again("https://agent.example.com/x/?held=1", 2))
        self.assertEqual([child.tag for child in document], ["Pause", "Redirect"])
        self.assertEqual(document[1].text, "https://agent.example.com/x/?held=1#rc=2&rp=all")
        with override_settings(TWILIO_CONNECTION_OVERRIDES=""):
            self.assertEqual(twilio.with_retries("https://agent.example.com/"), "https://agent.example.com/")

    def test_hostile_text_stays_text(self) -> None:
        hostile = '</Say><Dial>+1900</Dial>\x00\x0b\x1f\ufffe\ud800 & "it\'s"\n'
        document = ElementTree.fromstring(twilio.say_and_hang_up(hostile, "de-CH"))
        self.assertEqual([child.tag for child in document], ["Say", "Hangup"])
        self.assertEqual(document[0].text, '</Say><Dial>+1900</Dial> & "it\'s"\n')
        self.assertEqual(document[0].attrib, {"language": "de-DE"})

    def test_a_language_nobody_speaks_is_english(self) -> None:
        self.assertIn('language="en-US"', twilio.say_and_hang_up("Hello", "tlh"))

    def test_a_caller_is_put_through(self) -> None:
        document = ElementTree.fromstring(twilio.forward_to("+15550100199", {"business": 7, "leg": "forward"}))
        self.assertEqual([child.tag for child in document], ["Dial"])
        [number] = document[0]
        self.assertEqual((number.tag, number.text), ("Number", "+15550100199"))
        address = number.attrib["statusCallback"].partition("#")[0]
        self.assertEqual(address, "https://agent.example.com/twilio/leg-status/?business=7&leg=forward")
        self.assertNotIn("url", number.attrib)

    def test_hanging_up_is_all_there_is_to_it(self) -> None:
        self.assertEqual([child.tag for child in ElementTree.fromstring(twilio.hang_up())], ["Hangup"])
