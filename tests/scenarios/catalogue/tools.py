"""8. Tools in the conversation."""

from typing import Any

from simulators.carrier.script import HangUp, Interrupt, Listen, Say
from tests.scenarios import checks
from tests.scenarios.catalogue.openings import GREETING
from tests.scenarios.scenario import Expect, Scenario, Turn

FIND: dict[str, Any] = {"heard": "ask-appointment", "say": ["looking"], "call": [{"name": "find_appointment"}]}
DIALOGUE: dict[str, Any] = {
    "replies": [FIND, {"heard": "ask-hours", "say": ["hours"]}, {"heard": "ask-price", "say": ["price"]}],
    "after_call": {"find_appointment": {"say": ["appointment"]}, "take_message": {"say": ["noted"]}},
}
LOOKED_UP = checks.heard_whole("appointment")


def lookup(
    name: str, how: str, expect: Expect, *steps: Any, timeout: int = 10, faults: tuple[str, ...] = ()
) -> Scenario:
    return Scenario(
        name,
        "8",
        (Listen(), Say("ask-appointment"), *(steps or (Listen(silent_ms=2500),)), HangUp()),
        expect,
        agent={"tools": ["end_call", "find_appointment"]},
        model={"dialogue": DIALOGUE, "faults": list(faults)},
        lookups=(
            {
                "name": "find_appointment",
                "description": "Finds the caller's next appointment.",
                "url": "{lookups}/{part}/" + how,
                "timeout_seconds": timeout,
            },
        ),
    )


SCENARIOS = [
    lookup(
        "a lookup that is quick",
        "after/50",
        Expect(
            (GREETING, Turn("ask-appointment", "looking+appointment")),
            longest_silence_ms=2600,
            checks=(LOOKED_UP, checks.looked_up(1), checks.played("filler", 0), checks.tool_state("finished")),
        ),
    ),
    lookup(
        "a lookup of four seconds",
        "after/4000",
        Expect(longest_silence_ms=2600, checks=(LOOKED_UP, checks.looked_up(1), checks.played("filler", 1))),
        Listen(silent_ms=5000),
    ),
    lookup(
        "a lookup of nine seconds, with a tone",
        "after/9000",
        Expect(
            longest_silence_ms=4500, checks=(LOOKED_UP, checks.looked_up(1), checks.played("filler", 1), checks.tone)
        ),
        Listen(silent_ms=6500),
        timeout=12,
    ),
    lookup(
        "a lookup that fails",
        "status/500",
        Expect(checks=(checks.heard_whole("appointment"), checks.looked_up(1), checks.tool_state("failed"))),
    ),
    lookup(
        "a lookup that takes too long",
        "after/6000",
        Expect(longest_silence_ms=4000, checks=(LOOKED_UP, checks.looked_up(1), checks.tool_state("timed_out"))),
        Listen(silent_ms=4500),
        timeout=3,
    ),
    lookup(
        "the caller asks something else during a lookup",
        "after/5000",
        Expect(
            longest_silence_ms=5000,
            truncations=None,
            checks=(LOOKED_UP, checks.heard_whole("hours"), checks.looked_up(1), checks.tool_state("finished")),
        ),
        Listen(silent_ms=300),
        Say("ask-hours"),
        Listen(silent_ms=5000),
    ),
    lookup(
        "the caller interrupts the sentence around a lookup",
        "after/2500",
        Expect(
            longest_silence_ms=4000,
            truncations=None,
            checks=(LOOKED_UP, checks.looked_up(1), checks.tool_state("finished")),
        ),
        Interrupt("ask-price", after_ms=700),
        Listen(silent_ms=4000),
    ),
    lookup(
        "the caller interrupts what a lookup found",
        "after/50",
        Expect(
            truncations=1,
            checks=(checks.looked_up(1), checks.heard_whole("price"), checks.answered("ask-price", "price")),
        ),
        Interrupt("ask-price", after_ms=3000),
        Listen(),
    ),
    lookup(
        "the same lookup asked for twice in one answer",
        "after/50",
        Expect(checks=(LOOKED_UP, checks.looked_up(2), checks.keys_differ)),
        faults=("two-calls@1",),
    ),
    lookup(
        "a lookup whose call was cut off is not made",
        "after/50",
        Expect(truncations=None, checks=(checks.looked_up(0),)),
        Listen(),
        faults=("interrupted-call@1",),
    ),
    Scenario(
        "a message is taken",
        "8",
        (Listen(), Say("ask-appointment"), Listen(silent_ms=2000), HangUp()),
        Expect(
            (GREETING, Turn("ask-appointment", "looking+noted")),
            checks=(checks.message("Please call back."), checks.heard_whole("noted")),
        ),
        agent={"tools": ["end_call", "take_message"]},
        model={
            "dialogue": {
                "replies": [
                    {
                        "heard": "ask-appointment",
                        "say": ["looking"],
                        "call": [{"name": "take_message", "arguments": {"message": "Please call back."}}],
                    }
                ],
                "after_call": {"take_message": {"say": ["noted"]}},
            }
        },
    ),
]
