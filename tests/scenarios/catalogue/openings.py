"""1. First word soon."""

from simulators.carrier.script import HangUp, Hear, Interrupt, Listen, Say, Wait
from tests.scenarios import checks
from tests.scenarios.scenario import Expect, Scenario, Turn

GREETING = Turn(hears="greeting")
HOURS = Turn("ask-hours", "hours")

SCENARIOS = [
    Scenario(
        "first word at once, from a clip",
        "1",
        (Listen(), HangUp()),
        Expect((GREETING,), first_audio_ms=300, first_word_ms=600),
    ),
    Scenario(
        "first word at once, from the model",
        "1",
        (Listen(), HangUp()),
        Expect((GREETING,), first_audio_ms=300, first_word_ms=600),
        model={"first_audio_ms": 20},
        clips=False,
    ),
    Scenario(
        "the clip greets while the model is slow to connect",
        "1",
        (Listen(), Say("ask-hours"), Listen(), HangUp()),
        Expect((GREETING, HOURS), first_audio_ms=300, first_word_ms=600),
        model={"faults": ["slow-handshake:2"]},
    ),
    Scenario(
        "question during the greeting while the model is slow to connect",
        "1",
        (Hear(1500), Say("ask-hours"), Listen(), HangUp()),
        Expect(
            first_audio_ms=300,
            first_word_ms=600,
            longest_silence_ms=4000,
            truncations=None,
            checks=(checks.answered("ask-hours", "hours"),),
        ),
        model={"faults": ["slow-handshake:4"]},
    ),
    Scenario(
        "the caller speaks first",
        "1",
        (Wait(700), Say("ask-hours"), Listen(), HangUp()),
        Expect((HOURS,), first_word_ms=None, checks=(checks.silent_until(2700),)),
        agent={"caller_speaks_first": True},
    ),
    Scenario(
        "the caller was to speak first and does not",
        "1",
        (Listen(), Say("ask-hours"), Listen(), HangUp()),
        Expect((GREETING, HOURS), first_word_ms=5500, longest_silence_ms=5500, checks=(checks.silent_until(2500),)),
        agent={"caller_speaks_first": True},
    ),
    Scenario(
        "a legal notice cannot be interrupted",
        "1",
        (Interrupt("ask-hours", after_ms=600), Listen(), HangUp()),
        Expect(
            (Turn(hears="greeting", cut=True), HOURS),
            truncations=None,
            checks=(checks.clip_heard("greeting", at_least_ms=2000, at_most_ms=4000),),
        ),
        agent={"protected_greeting_seconds": 2},
    ),
    Scenario(
        "a greeting from a clip is interrupted",
        "1",
        (Interrupt("ask-hours", after_ms=1500), Listen(), HangUp()),
        Expect(
            (Turn(hears="greeting", cut=True), HOURS),
            truncations=None,
            checks=(
                checks.clip_heard("greeting", at_least_ms=1400, at_most_ms=2600),
                checks.clip_in_record("greeting"),
                checks.model_knows_what_was_heard("greeting"),
            ),
        ),
    ),
    Scenario(
        "a greeting from the model is interrupted",
        "1",
        (Interrupt("ask-hours", after_ms=1500), Listen(), HangUp()),
        Expect((Turn(hears="greeting", cut=True), HOURS), truncations=1),
        clips=False,
    ),
]
