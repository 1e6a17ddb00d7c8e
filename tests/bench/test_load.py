"""The load and the relay in C, played against each other: what the load says it saw has happened."""

import os
import time
from unittest import TestCase, skipIf

from bench.load import CallFailed, Entrance, Load
from bench.native import NoCompiler, program
from bench.rivals import relay

CORE = min(os.sched_getaffinity(0))


def no_compiler() -> bool:
    try:
        program("relay")
    except NoCompiler:
        return True
    return False


@skipIf(no_compiler() or len(os.sched_getaffinity(0)) < 2, "needs a C compiler and two cores")
class LoadTests(TestCase):
    def test_every_frame_reaches_the_model_and_every_call_hears_its_own_agent(self) -> None:
        with relay() as rival:
            calls = range(3)
            for number in calls:
                rival.load.place(number, rival.entrance(number))
            rival.load.wait_until_up(calls)
            time.sleep(0.5)
            report = rival.load.measure(1.0)
        self.assertGreater(report["sent"], 50)
        self.assertEqual(report["sent"], report["arrived"])
        self.assertGreater(report["frames_heard"], 0)
        self.assertEqual(0, report["misrouted"] + report["unknown"] + report["lost_calls"])

    def test_a_system_that_ends_calls_is_caught(self) -> None:
        with relay() as rival:
            rival.load.place(0, rival.entrance(0))
            rival.load.wait_until_up([0])
            rival.load.begin()
            os.kill(rival.pid, 9)
            report = rival.load.end()
        self.assertEqual(1, report["lost_calls"])

    def test_a_call_that_nobody_takes_fails(self) -> None:
        with Load(CORE) as load:
            load.place(0, Entrance(1, "/", "CA" + "0" * 32))
            with self.assertRaises(CallFailed):
                load.wait_until_up([0])
