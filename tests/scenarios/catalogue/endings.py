"""4. Endings."""

from typing import Any

from simulators.carrier.script import HangUp, Hear, Interrupt, Listen, Say, WaitForEnd
from tests.scenarios import checks
from tests.scenarios.catalogue.interruptions import PARKING_CUT, SATURDAY
from tests.scenarios.catalogue.openings import GREETING, HOURS
from tests.scenarios.scenario import Expect, Scenario, Turn

BYE = Turn("bye", "goodbye")
ENDS: dict[str, Any] = {"ended_reason": "agent_ended", "goodbye": "goodbye", "over_after_ms": 2500.0}
ONLY_THE_CALL = {"replies": [{"heard": "bye", "call": [{"name": "end_call"}]}]}

SCENARIOS = [
    Scenario(
        "the goodbye is heard whole and the call ends",
        "4",
        (Listen(), Say("bye"), WaitForEnd()),
        Expect((GREETING, BYE), **ENDS),
        ends_by="agent",
    ),
    Scenario(
        "a question and a goodbye",
        "4",
        (Listen(), Say("ask-hours"), Listen(), Say("bye"), WaitForEnd()),
        Expect((GREETING, HOURS, BYE), **ENDS),
        ends_by="agent",
    ),
    Scenario(
        "a goodbye whose marks come late",
        "4",
        (Listen(), Say("bye"), WaitForEnd()),
        Expect((GREETING, BYE), **{**ENDS, "over_after_ms": 4500.0}),
        line={"mark_delay_ms": 1500},
        ends_by="agent",
    ),
    Scenario(
        "a goodbye that is generated slowly",
        "4",
        (Listen(), Say("bye"), WaitForEnd()),
        Expect((GREETING, BYE), **ENDS),
        model={"pace": 1.05},
        ends_by="agent",
    ),
    Scenario(
        "the caller speaks up during the goodbye",
        "4",
        (Listen(), Say("bye"), Interrupt("ask-saturday", after_ms=700), Listen(), HangUp()),
        Expect((GREETING, Turn("bye", "goodbye", cut=True), SATURDAY), truncations=1, interruptions=1),
    ),
    Scenario(
        "the caller speaks up during the goodbye, then says goodbye",
        "4",
        (Listen(), Say("bye"), Interrupt("ask-saturday", after_ms=700), Listen(), Say("bye"), WaitForEnd()),
        Expect((GREETING, Turn("bye", "goodbye", cut=True), SATURDAY, BYE), truncations=1, **ENDS),
        ends_by="agent",
    ),
    Scenario(
        "mhm during the goodbye does not keep the call",
        "4",
        (Listen(), Say("bye"), Interrupt("mhm", after_ms=900), WaitForEnd()),
        Expect(**ENDS),
        ends_by="agent",
    ),
    Scenario(
        "the agent ends the call without a word",
        "4",
        (Listen(), Say("bye"), WaitForEnd()),
        Expect(None, ended_reason="agent_ended", over_after_ms=8000.0),
        model={"dialogue": ONLY_THE_CALL},
        ends_by="agent",
    ),
    Scenario(
        "the caller hangs up in the middle of an answer",
        "4",
        (Listen(), Say("ask-parking"), Hear(1500), HangUp()),
        Expect((GREETING, PARKING_CUT), checks=(checks.last_turn_heard(1000, 3000),)),
    ),
    Scenario(
        "the caller hangs up at the first word of an answer",
        "4",
        (Listen(), Say("ask-parking"), Hear(60), HangUp()),
        Expect((GREETING, PARKING_CUT)),
    ),
    Scenario(
        "the caller hangs up while speaking",
        "4",
        (Listen(), Say("ask-parking", only_ms=1500), HangUp()),
        Expect(None, checks=(checks.last_words_begin("ask-parking"),)),
    ),
    Scenario(
        "the caller hangs up before the last transcript",
        "4",
        (Listen(), Say("ask-parking"), Hear(600), HangUp()),
        Expect((GREETING, PARKING_CUT)),
        model={"faults": ["transcription-late:3000"]},
    ),
    Scenario(
        "the caller hangs up during the greeting",
        "4",
        (Hear(800), HangUp()),
        Expect((Turn(hears="greeting", cut=True),)),
    ),
]
