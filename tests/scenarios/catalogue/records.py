"""6. Transcript in order; 7. One response at a time; 13. Keys; 15. Numbers."""

from typing import Any

from simulators.carrier.script import HangUp, Hear, HearAnew, Interrupt, Listen, Press, Say, Wait
from tests.scenarios import checks
from tests.scenarios.catalogue.interruptions import PARKING, PARKING_CUT, SATURDAY
from tests.scenarios.catalogue.openings import GREETING, HOURS
from tests.scenarios.scenario import Expect, Scenario, Turn

TWO_QUESTIONS = (Listen(), Say("ask-hours"), Listen(), Say("ask-parking"), Listen(), HangUp())
TWO_ANSWERS = (GREETING, HOURS, PARKING)
KEYS: dict[str, Any] = {
    "dialogue": {"replies": [{"heard": "86420975", "say": ["noted"]}, {"heard": "ask-hours", "say": ["hours"]}]}
}


def transcribed(name: str, fault: str, turns: tuple[Turn, ...] = TWO_ANSWERS) -> Scenario:
    return Scenario(name, "6", TWO_QUESTIONS, Expect(turns), model={"faults": [fault]})


def keyed(name: str, *steps: Any) -> Scenario:
    expect = Expect(
        longest_silence_ms=4500,
        checks=(checks.typed("86420975"), checks.heard_whole("noted"), checks.no_keys_in_logs("86420975")),
    )
    return Scenario(name, "13", (Listen(), *steps, HearAnew(), Listen(silent_ms=2500), HangUp()), expect, model=KEYS)


SCENARIOS = [
    transcribed("transcripts in the wrong order", "transcription-reordered@1"),
    transcribed("late transcripts", "transcription-late:3500"),
    transcribed("a failed transcript", "transcription-failed@1", (GREETING, Turn("", "hours"), PARKING)),
    transcribed("a missing transcript", "transcription-missing@1", (GREETING, Turn("", "hours"), PARKING)),
    Scenario(
        "a second question before the first is answered",
        "6",
        (Listen(), Say("ask-hours"), Wait(450), Say("ask-parking"), Listen(), HangUp()),
        Expect(
            truncations=None, checks=(checks.said_in_order("ask-hours", "ask-parking"), checks.heard_whole("parking"))
        ),
    ),
    Scenario(
        "an interruption with late transcripts",
        "6",
        (Listen(), Say("ask-parking"), Interrupt("ask-saturday", after_ms=1500), Listen(), HangUp()),
        Expect((GREETING, PARKING_CUT, SATURDAY), truncations=1, interruptions=1, longest_silence_ms=4500),
        model={"faults": ["transcription-late:2500"]},
    ),
    Scenario(
        "events and fields nobody knows, and garbage",
        "7",
        TWO_QUESTIONS,
        Expect(TWO_ANSWERS),
        model={"faults": ["unknown-events", "extra-fields", "garbage"]},
    ),
    Scenario(
        "an error in the middle of an answer",
        "7",
        TWO_QUESTIONS,
        Expect(TWO_ANSWERS),
        model={"faults": ["error:server_error@1"]},
    ),
    Scenario(
        "an answer that breaks off",
        "7",
        TWO_QUESTIONS,
        Expect(checks=(checks.answered("ask-parking", "parking"), checks.heard_whole("parking"))),
        model={"faults": ["response-incomplete:max_output_tokens@1"]},
    ),
    Scenario(
        "keys and words at once, one answer at a time",
        "7",
        (Listen(), Press("86420975#", gap_ms=60), Say("ask-hours"), Listen(), HangUp()),
        Expect(truncations=None, checks=(checks.typed("86420975"), checks.heard_whole("hours"))),
        model=KEYS,
    ),
    keyed("keys with an end", Press("86420975#")),
    keyed("keys with pauses between them", Press("8642"), Wait(900), Press("0975#")),
    keyed("keys without an end", Press("86420975", gap_ms=150)),
    keyed("keys while the agent speaks", Say("ask-hours"), Hear(800), Press("86420975#")),
    Scenario(
        "numbers of every turn",
        "15",
        TWO_QUESTIONS,
        Expect(TWO_ANSWERS, checks=(checks.reply_times, checks.tokens)),
    ),
    Scenario(
        "numbers of an interrupted call",
        "15",
        (Listen(), Say("ask-parking"), Interrupt("ask-saturday", after_ms=1500), Listen(), HangUp()),
        Expect(
            (GREETING, PARKING_CUT, SATURDAY),
            truncations=1,
            interruptions=1,
            checks=(checks.reply_times, checks.tokens),
        ),
    ),
]
