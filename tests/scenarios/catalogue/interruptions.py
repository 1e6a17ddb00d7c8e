"""2. Barge-in, exactly."""

from typing import Any

from simulators.carrier.script import HangUp, Interrupt, Listen, Say
from tests.scenarios import checks
from tests.scenarios.catalogue.openings import GREETING, HOURS
from tests.scenarios.scenario import Expect, Scenario, Turn

PARKING = Turn("ask-parking", "parking")
PARKING_CUT = Turn("ask-parking", "parking", cut=True)
SATURDAY = Turn("ask-saturday", "saturday")
SATURDAY_CUT = Turn("ask-saturday", "saturday", cut=True)

TWO_ITEMS: dict[str, Any] = {
    "replies": [
        {"heard": "ask-parking", "say": ["parking"], "then": [{"say": ["hours"]}]},
        {"heard": "ask-saturday", "say": ["saturday"]},
    ]
}


def interrupted(name: str, after_ms: int, **changes: Any) -> Scenario:
    steps = (Listen(), Say("ask-parking"), Interrupt("ask-saturday", after_ms=after_ms), Listen(), HangUp())
    expect = Expect((GREETING, PARKING_CUT, SATURDAY), truncations=1, interruptions=1)
    return Scenario(name, "2", steps, expect, **changes)


SCENARIOS = [
    interrupted("interrupted in the middle", 3000),
    interrupted("interrupted at the first word", 250),
    interrupted("interrupted when all was generated long ago", 7000, model={"pace": 20}),
    interrupted("interrupted at the last word", 8000),
    interrupted("interrupted while still being generated", 1500, model={"pace": 1.15}),
    interrupted("interrupted between under-runs", 3000, model={"pace": 0.85, "chunk_ms": [200, 400]}),
    interrupted("interrupted with many deltas still in flight", 1500, model={"late_deltas": 8}),
    interrupted("interrupted in small pieces", 2500, model={"chunk_ms": [20, 60], "pace": 3}),
    interrupted("interrupted in large pieces", 2500, model={"chunk_ms": [900, 1400]}),
    Scenario(
        "interrupted with a short word",
        "2",
        (Listen(), Say("ask-parking"), Interrupt("stop", after_ms=2000), Listen(), HangUp()),
        Expect((GREETING, PARKING_CUT, Turn("stop", "unclear")), truncations=1, interruptions=1),
    ),
    Scenario(
        "interrupted twice",
        "2",
        (
            Listen(),
            Say("ask-parking"),
            Interrupt("ask-saturday", after_ms=1500),
            Interrupt("ask-hours", after_ms=1200),
            Listen(),
            HangUp(),
        ),
        Expect((GREETING, PARKING_CUT, SATURDAY_CUT, HOURS), truncations=2, interruptions=2),
    ),
    Scenario(
        "interrupted in the first of two items",
        "2",
        (Listen(), Say("ask-parking"), Interrupt("ask-saturday", after_ms=2500), Listen(), HangUp()),
        Expect(
            (GREETING, Turn("ask-parking", "parking+hours", cut=True), SATURDAY),
            truncations=None,
            interruptions=1,
            checks=(checks.nothing_unheard_is_kept, checks.truncated_at_least(1)),
        ),
        model={"dialogue": TWO_ITEMS},
    ),
    Scenario(
        "interrupted in the second of two items",
        "2",
        (Listen(), Say("ask-parking"), Interrupt("ask-saturday", after_ms=10_500), Listen(), HangUp()),
        Expect((GREETING, Turn("ask-parking", "parking+hours", cut=True), SATURDAY), truncations=1, interruptions=1),
        model={"dialogue": TWO_ITEMS},
    ),
    Scenario(
        "asked again and again",
        "2",
        (
            Listen(),
            *(step for clip in ("ask-parking", "ask-saturday", "ask-hours") for step in (Say(clip), Listen())),
            Say("ask-parking"),
            Interrupt("ask-hours", after_ms=1000),
            Listen(),
            HangUp(),
        ),
        Expect((GREETING, PARKING, SATURDAY, HOURS, PARKING_CUT, HOURS), truncations=1, interruptions=1),
    ),
]
