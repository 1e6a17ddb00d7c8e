"""What an exchange costs does not grow with the conversation. Counted in calls of functions, which no machine makes
slower or faster."""

import sys
from types import FrameType

from django.test import SimpleTestCase

from tests.engine.driver import CallDriver, talking


def exchange(driver: CallDriver) -> None:
    driver.caller_frame()
    driver.caller_says(None)
    driver.advance(0.2)
    driver.transcribed("And on Saturday, what are your hours then?")
    driver.agent_says("On Saturday we are here until six.", 2000)
    driver.advance(4)


def work(driver: CallDriver) -> int:
    """How many functions are called in one more exchange."""
    calls = 0

    def count(_frame: FrameType, what: str, _argument: object) -> None:
        nonlocal calls
        calls += what in ("call", "c_call")

    sys.setprofile(count)
    try:
        exchange(driver)
    finally:
        sys.setprofile(None)
    return calls


class LongCalls(SimpleTestCase):
    def test_the_three_hundredth_exchange_costs_what_the_hundredth_did(self) -> None:
        driver = talking(max_call_seconds=36_000.0)
        for _ in range(100):  # what is kept of the caller's audio is full by then
            exchange(driver)
        early = work(driver)
        for _ in range(200):
            exchange(driver)
        self.assertLess(work(driver), early * 1.05)
        self.assertEqual(len(driver.end().turns), 303)
