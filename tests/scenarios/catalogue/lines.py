"""12. Pacing, and lines in bad order."""

from simulators.carrier.script import DropLine, HangUp, Hear, Listen, Say
from tests.scenarios import checks
from tests.scenarios.catalogue.interruptions import PARKING
from tests.scenarios.catalogue.openings import GREETING
from tests.scenarios.scenario import Expect, Scenario

LONG_ANSWER = (Listen(), Say("ask-parking"), Listen(), HangUp())
BOTH = (GREETING, PARKING)

SCENARIOS = [
    Scenario(
        "an answer generated twenty times as fast as it plays",
        "12",
        LONG_ANSWER,
        Expect(BOTH, checks=(checks.ahead_at_most(2300), checks.under_runs_at_most(0))),
        model={"pace": 20, "chunk_ms": [400, 800]},
    ),
    Scenario(
        "an answer generated about as fast as it plays",
        "12",
        LONG_ANSWER,
        Expect(BOTH, checks=(checks.ahead_at_most(2300),)),
        model={"pace": 1.05},
    ),
    Scenario(
        "an answer generated slower than it plays",
        "12",
        LONG_ANSWER,
        Expect(BOTH, checks=(checks.heard_whole("parking"),)),
        model={"pace": 0.8},
    ),
    Scenario(
        "a carrier that reads slowly",
        "12",
        LONG_ANSWER,
        Expect(BOTH, checks=(checks.heard_whole("parking"),)),
        line={"slow_reader_ms": 12},
    ),
    Scenario(
        "odd pieces, without drift",
        "12",
        LONG_ANSWER,
        Expect(BOTH, checks=(checks.heard_whole("parking"), checks.under_runs_at_most(0))),
        model={"chunk_ms": [20, 100], "pace": 4},
    ),
    Scenario(
        "the line is lost in the middle of an answer",
        "12",
        (Listen(), Say("ask-parking"), Hear(1500), DropLine()),
        Expect(None, ended_reason="stream_lost"),
        ends_by="line",
    ),
]
