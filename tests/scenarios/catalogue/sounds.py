"""3. Not every sound is an interruption."""

from typing import Any

from simulators.carrier.script import HangUp, Interrupt, Listen, Say, Step, Wait
from tests.scenarios import checks
from tests.scenarios.catalogue.interruptions import PARKING, PARKING_CUT, SATURDAY
from tests.scenarios.catalogue.openings import GREETING, HOURS
from tests.scenarios.scenario import Expect, Scenario, Turn

WHOLE = (checks.heard_whole("parking"), checks.not_told_cut)


def murmured(name: str, *clips: str, **changes: Any) -> Scenario:
    """The caller makes these sounds while the agent speaks, and the agent goes on."""
    steps: tuple[Step, ...] = (
        Listen(),
        Say("ask-parking"),
        *(Interrupt(clip, after_ms=1500) for clip in clips),
        Listen(),
        HangUp(),
    )
    expect = Expect(interruptions=0, checks=(*WHOLE, checks.answered("ask-parking", "parking")))
    return Scenario(name, "3", steps, expect, **changes)


def echoed(name: str, decibels: int, delay_ms: int) -> Scenario:
    return Scenario(
        name,
        "3",
        (Listen(), Say("ask-parking"), Listen(), Say("ask-hours"), Listen(), HangUp()),
        Expect(
            (GREETING, PARKING, HOURS),
            interruptions=0,
            checks=(*WHOLE, checks.heard_whole("hours"), checks.clears_at_most(3)),
        ),
        line={"echo_db": decibels, "echo_delay_ms": delay_ms},
    )


SCENARIOS = [
    murmured("mhm while the agent speaks", "mhm"),
    murmured("uh-huh while the agent speaks", "uh-huh"),
    murmured("a cough while the agent speaks", "cough"),
    murmured("a knock while the agent speaks", "knock"),
    murmured("mhm, and mhm again", "mhm", "uh-huh"),
    murmured("a cough when all was generated long ago", "cough", model={"pace": 20}),
    murmured("mhm while the answer is still being generated", "mhm", model={"pace": 1.15}),
    murmured("mhm with a slow transcription", "mhm", model={"transcription_ms": [900, 1200]}),
    murmured("genau to an agent that speaks German", "genau", agent={"language": "de"}),
    Scenario(
        "mhm, and then a real interruption",
        "3",
        (
            Listen(),
            Say("ask-parking"),
            Interrupt("mhm", after_ms=1500),
            Interrupt("ask-saturday", after_ms=2000),
            Listen(),
            HangUp(),
        ),
        Expect(truncations=1, interruptions=1, checks=(checks.answered("ask-saturday", "saturday"),)),
    ),
    Scenario(
        "mhm as an answer to silence is answered",
        "3",
        (Listen(), Say("mhm"), Listen(), HangUp()),
        Expect((GREETING, Turn("mhm", "unclear"))),
    ),
    # Its words, of which there are none, take 100 to 400 ms; the answer begins after 150 ms, or later.
    Scenario(
        "a cough while nobody speaks is not answered by a model that is slower than its words",
        "3",
        (Listen(), Say("cough"), Wait(2500), Say("ask-hours"), Listen(), HangUp()),
        Expect((GREETING, HOURS), longest_silence_ms=4500, checks=(checks.never_said("unclear"),)),
        model={"faults": ["slow-first-audio:800@1"]},
    ),
    Scenario(
        "a cough while nobody speaks that is answered sooner costs a sentence, and no question",
        "3",
        (Listen(), Say("cough"), Wait(2500), Say("ask-hours"), Listen(), HangUp()),
        Expect(longest_silence_ms=4500, truncations=1, interruptions=1, checks=(checks.heard_whole("hours"),)),
        model={"transcription_ms": [350, 400]},  # sooner than its words, whatever the dice say
    ),
    echoed("echo of the agent's own voice", 12, 150),
    echoed("a loud and late echo", 6, 250),
    echoed("a faint and early echo", 20, 100),
    Scenario(
        "a real interruption through an echo",
        "3",
        (Listen(), Say("ask-parking"), Interrupt("ask-saturday", after_ms=3000), Listen(), HangUp()),
        Expect((GREETING, PARKING_CUT, SATURDAY), truncations=1, interruptions=1),
        line={"echo_db": 14, "echo_delay_ms": 180},
    ),
]
