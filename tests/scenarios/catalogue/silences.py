"""5. Silence ladder; 11. Dead air."""

from simulators.carrier.script import HangUp, HearAnew, Listen, Say, Wait, WaitForEnd
from tests.scenarios import checks
from tests.scenarios.catalogue.openings import GREETING, HOURS
from tests.scenarios.scenario import Expect, Scenario

SCENARIOS = [
    Scenario(
        "a caller who says nothing",
        "5",
        (Listen(), WaitForEnd(40_000)),
        Expect(
            ended_reason="caller_silent",
            longest_silence_ms=4200,
            goodbye="silence_goodbye",
            over_after_ms=2500.0,
            counters={"reprompts": 2},
            checks=(checks.played("still_there", 2), checks.played("silence_goodbye", 1)),
        ),
        agent={"silence_seconds": 3},
        ends_by="agent",
    ),
    Scenario(
        "a caller who says nothing, and there are no clips",
        "5",
        (Listen(), WaitForEnd(40_000)),
        Expect(ended_reason="caller_silent", longest_silence_ms=4700, over_after_ms=2500.0, counters={"reprompts": 2}),
        agent={"silence_seconds": 3},
        ends_by="agent",
        clips=False,
    ),
    Scenario(
        "a caller who answers when asked",
        "5",
        (Listen(), HearAnew(), Listen(), Say("ask-hours"), Listen(), Wait(2000), HangUp()),
        Expect(longest_silence_ms=4200, counters={"reprompts": 1}, checks=(checks.answered("ask-hours", "hours"),)),
        agent={"silence_seconds": 3},
    ),
    Scenario(
        "nobody is asked while the agent speaks or is being spoken to",
        "5",
        (Listen(), Wait(1500), Say("ask-parking"), Listen(), Wait(1200), Say("ask-hours"), Listen(), HangUp()),
        Expect(longest_silence_ms=2900, checks=(checks.played("still_there", 0),)),
        agent={"silence_seconds": 3},
    ),
    Scenario(
        "the longest call",
        "5",
        (
            Listen(),
            *(step for clip in ("ask-parking", "ask-hours") for step in (Say(clip), Listen())),
            WaitForEnd(40_000),
        ),
        Expect(
            ended_reason="max_duration",
            longest_silence_ms=None,
            checks=(checks.played("wrap_up", 1), checks.lasts(28, 33)),
        ),
        agent={"max_call_seconds": 30},
        ends_by="agent",
    ),
    Scenario(
        "no sound comes from the carrier any more",
        "5",
        (Listen(), HearAnew(60_000), Listen(), HangUp()),
        Expect(longest_silence_ms=None, sessions=2, checks=(checks.streams(2),)),
        line={"stall_at_ms": 9000, "stall_for_ms": 40_000},
        agent={"silence_seconds": 60},
        jitters=False,
    ),
    Scenario(
        "an answer that is slow to begin",
        "11",
        (Listen(), Say("ask-hours"), Listen(silent_ms=2500), HangUp()),
        Expect(
            longest_silence_ms=3400,
            counters={"dead_air": 1},
            checks=(checks.played("filler", 1), checks.heard_whole("hours")),
        ),
        model={"faults": ["slow-first-audio:4000@1"]},
    ),
    Scenario(
        "an answer that never comes, until another session gives it",
        "11",
        (Listen(), Say("ask-hours"), Listen(silent_ms=4000), HangUp()),
        Expect(
            longest_silence_ms=5000,
            sessions=2,
            counters={"dead_air": 1},
            checks=(checks.played("filler", 1), checks.answered("ask-hours", "hours"), checks.heard_whole("hours")),
        ),
        model={"faults": ["mute@1#1"]},
    ),
    Scenario(
        "a model that falls silent for good goes on in another session",
        "11",
        (Listen(), Say("ask-hours"), Listen(silent_ms=4000), HangUp()),
        Expect(
            longest_silence_ms=5000,
            sessions=2,
            counters={"dead_air": 1},
            checks=(checks.played("filler", 1), checks.answered("ask-hours", "hours"), checks.heard_once("hours")),
        ),
        model={"faults": ["silent@1#1"]},
    ),
    Scenario(
        "a conversation without dead air",
        "11",
        (Listen(), Say("ask-hours"), Listen(), HangUp()),
        Expect((GREETING, HOURS), longest_silence_ms=2000, checks=(checks.played("filler", 0),)),
    ),
]
