"""When the carrier sends a webhook again: as its address says, and only then."""

import unittest

from simulators.carrier.web import Answer, Retries, retries

URL = "https://voice.example.com/twilio/voice/"
FAILED = Answer(URL, None, error="unreachable")
BROKEN = Answer(URL, None, error="broken answer: ConnectionResetError")
REFUSED, SICK, FINE = Answer(URL, 403), Answer(URL, 503), Answer(URL, 200)


class RetriesTest(unittest.TestCase):
    def wanted(self, again: Retries, already: int = 0) -> list[bool]:
        return [again.wanted(answer, already) for answer in (FAILED, BROKEN, REFUSED, SICK, FINE)]

    def test_by_itself_once_and_only_when_the_connection_failed(self) -> None:
        self.assertEqual(self.wanted(retries(URL)), [True, False, False, False, False])
        self.assertEqual(self.wanted(retries(URL), already=1), [False] * 5)

    def test_as_often_and_after_what_the_address_says(self) -> None:
        self.assertEqual(self.wanted(retries(f"{URL}#rc=2&rp=all"), already=1), [True, True, True, True, False])
        self.assertEqual(self.wanted(retries(f"{URL}#rc=2&rp=all"), already=2), [False] * 5)
        self.assertEqual(self.wanted(retries(f"{URL}#rp=rt,5xx")), [False, True, False, True, False])
        self.assertEqual(self.wanted(retries(f"{URL}#rc=0")), [False] * 5)

    def test_what_the_carrier_does_not_know_is_an_error(self) -> None:
        for fragment in ("rp=always", "rc=6", "rc=many", "ct=50", "rt=15001", "rp="):
            with self.subTest(fragment), self.assertRaises(ValueError):
                retries(f"{URL}#{fragment}")
