"""9. Long calls: another session of the model takes over."""

from simulators.carrier.script import HangUp, Hear, Listen, Say, Wait
from tests.scenarios import checks
from tests.scenarios.catalogue.interruptions import PARKING, SATURDAY
from tests.scenarios.catalogue.openings import GREETING, HOURS
from tests.scenarios.scenario import Expect, Scenario

THREE_QUESTIONS = (
    Listen(),
    Say("ask-hours"),
    Listen(),
    Say("ask-parking"),
    Listen(),
    Say("ask-saturday"),
    Listen(),
    HangUp(),
)
THREE_ANSWERS = (GREETING, HOURS, PARKING, SATURDAY)

SCENARIOS = [
    Scenario(
        "a session is renewed before its end, unheard",
        "9",
        THREE_QUESTIONS,
        Expect(
            THREE_ANSWERS,
            sessions=None,
            longest_silence_ms=2500,
            checks=(checks.sessions_between(2, 4), checks.told_the_past),
        ),
        model={"session_seconds": 22},
    ),
    Scenario(
        "a session that ends before its time",
        "9",
        THREE_QUESTIONS,
        Expect(
            sessions=None,
            longest_silence_ms=3500,
            truncations=None,
            checks=(checks.sessions_between(2, 3), checks.answered("ask-saturday", "saturday")),
        ),
        model={"session_seconds": 18, "announced_seconds": 3600},
    ),
    Scenario(
        "the model's socket drops while nobody speaks",
        "9",
        (Listen(), Wait(2500), Say("ask-hours"), Listen(), HangUp()),
        Expect((GREETING, HOURS), sessions=2, longest_silence_ms=4500),
        model={"faults": ["drop-after:6500#1"]},
    ),
    Scenario(
        "the model's socket drops while the caller speaks",
        "9",
        (Listen(), Say("ask-hours"), Listen(silent_ms=2500), HangUp()),
        Expect(sessions=2, longest_silence_ms=4000, checks=(checks.spoken_after_last_question,)),
        model={"faults": ["drop-after:7000#1"]},
    ),
    Scenario(
        "the model's socket drops in the middle of an answer",
        "9",
        (Listen(), Say("ask-parking"), Listen(silent_ms=2500), Say("ask-hours"), Listen(), HangUp()),
        Expect(
            sessions=2,
            longest_silence_ms=4000,
            truncations=None,
            checks=(checks.answered("ask-hours", "hours"), checks.heard_whole("hours")),
        ),
        model={"faults": ["abort@1#1"], "pace": 2},
    ),
    Scenario(
        "the model closes in the middle of an answer",
        "9",
        (Listen(), Say("ask-parking"), Listen(silent_ms=2500), Say("ask-hours"), Listen(), HangUp()),
        Expect(
            sessions=2,
            longest_silence_ms=4000,
            truncations=None,
            checks=(checks.answered("ask-hours", "hours"), checks.heard_whole("hours")),
        ),
        model={"faults": ["close:1011@1#1"], "pace": 2},
    ),
    Scenario(
        "the next session is slow to open",
        "9",
        (Listen(), Say("ask-parking"), Hear(1000), Listen(silent_ms=4000, timeout_ms=40_000), HangUp()),
        Expect(sessions=2, longest_silence_ms=5500, truncations=None),
        model={"faults": ["abort@1#1", "slow-handshake:3#2"], "pace": 2},
    ),
]
