"""The carrier's signatures against the vectors of Twilio's documentation and package."""

import hashlib

from django.test import SimpleTestCase

from simulators.carrier.signing import signature, with_port, with_slash_toggled

TOKEN = "12345"


class SignatureTests(SimpleTestCase):
    def test_the_example_of_twilios_documentation(self) -> None:
        params = {
            "CallSid": "CA1234567890ABCDE",
            "Caller": "+14158675310",
            "Digits": "1234",
            "From": "+14158675310",
            "To": "+18005551212",
        }
        url = "https://example.com/myapp.php?foo=1&bar=2"
        self.assertEqual(signature(TOKEN, url, params.items()), "L/OH5YylLD5NRKLltdqwSvS0BnU=")

    def test_a_handshake_is_signed_over_its_wss_url(self) -> None:
        self.assertEqual(signature(TOKEN, "wss://agent.example.com/ws/media/"), "ASQRYTc0wvU5mNzGWJIabUSXeK8=")

    def test_a_json_body_is_signed_through_its_hash_in_the_query(self) -> None:
        body_hash = hashlib.sha256(b'{"a":1}').hexdigest()
        self.assertEqual(
            signature(TOKEN, f"https://example.com/j?bodySHA256={body_hash}"), "6GDIxue6P6vEr2mLx8Gq5cr0sCg="
        )

    def test_fragment_and_user_are_not_signed(self) -> None:
        plain = signature(TOKEN, "https://example.com/v/")
        self.assertEqual(signature(TOKEN, "https://me:secret@example.com/v/#rc=2"), plain)

    def test_a_repeated_name_counts_once_per_distinct_value_in_order(self) -> None:
        twice = signature(TOKEN, "https://e.com/", [("A", "2"), ("A", "1"), ("A", "2")])
        self.assertEqual(twice, signature(TOKEN, "https://e.com/", [("A", "1"), ("A", "2")]))
        self.assertNotEqual(twice, signature(TOKEN, "https://e.com/", [("A", "1")]))

    def test_the_variants_of_a_url(self) -> None:
        self.assertEqual(with_port("wss://e.com/a/?x=1", 443), "wss://e.com:443/a/?x=1")
        self.assertEqual(with_slash_toggled("wss://e.com/a/"), "wss://e.com/a")
        self.assertEqual(with_slash_toggled("wss://e.com/a"), "wss://e.com/a/")
