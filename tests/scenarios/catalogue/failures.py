"""10. The model fails: whoever calls reaches a person within eight seconds."""

from typing import Any

from simulators.carrier.script import HangUp, Listen, Say, WaitForEnd
from tests.scenarios import checks
from tests.scenarios.scenario import Expect, Scenario

GIVEN_UP: dict[str, Any] = {
    "status": "completed",
    "verbs": ("Dial",),
    "longest_silence_ms": None,
    "first_word_ms": None,  # who is refused at once may be told so before anything else
    "sessions": None,
    "truncations": None,
}
AT_ONCE = (WaitForEnd(40_000),)
ASKED = (Listen(), Say("ask-hours"), WaitForEnd(40_000))


def fails(name: str, reason: str, *faults: str, steps: Any = AT_ONCE, **changes: Any) -> Scenario:
    """Forwarded, with an apology, within eight seconds of when it was clear that the agent was wanted."""
    expect = Expect(ended_reason=reason, checks=(checks.forwarded_within(8000), checks.apologised), **GIVEN_UP)
    return Scenario(
        name, "10", steps, expect, model={"faults": list(faults)}, ends_by="any", own_web=True, jitters=False, **changes
    )


SCENARIOS = [
    fails("a wrong key", "model_refused", "reject:401"),
    # Worth another try, so it is no refusal.
    fails("too many requests, every time", "model_failed", "reject:429"),
    fails("the quota is used up", "model_refused", "fatal:insufficient_quota"),
    fails("the model is gone", "model_refused", "reject:404"),
    fails("a key that is withdrawn", "model_refused", "fatal:invalid_api_key"),
    fails("a handshake that does not end", "model_failed", "slow-handshake:60"),
    fails("it accepts and never answers", "model_failed", "silent"),
    fails("it dies in the middle of every answer", "model_failed", "abort@1", steps=ASKED),
    fails("it takes every question and answers none", "model_silent", "mute", steps=ASKED),
    fails("every answer fails", "model_failed", "response-failed:server_error", steps=ASKED),
    Scenario(
        "one answer fails and is asked for again",
        "10",
        (*ASKED[:2], Listen(silent_ms=3000), HangUp()),
        Expect(longest_silence_ms=4000, checks=(checks.heard_whole("hours"), checks.answered("ask-hours", "hours"))),
        model={"faults": ["response-failed:server_error@1#1"]},
        ends_by="any",
    ),
    Scenario(
        "too many requests once",
        "10",
        (*ASKED[:2], Listen(silent_ms=3000), HangUp()),
        Expect(
            longest_silence_ms=5000,
            sessions=1,
            checks=(checks.heard_whole("hours"), checks.answered("ask-hours", "hours")),
        ),
        model={"faults": ["reject:429#1"]},
        ends_by="any",
        own_web=True,
    ),
    Scenario(
        "after some calls that failed the next is forwarded at once",
        "10",
        AT_ONCE,
        Expect(None, ended_reason="model_refused", checks=(checks.forwarded_within(2500),), **GIVEN_UP),
        model={"faults": ["reject:401"]},
        ends_by="any",
        own_web=True,
        rehearsals=4,
        jitters=False,
    ),
    Scenario(
        "it fails and there is nobody to forward to",
        "10",
        AT_ONCE,
        # A message is asked for; this caller, who never hears an agent, leaves none.
        Expect(ended_reason="model_refused", **{**GIVEN_UP, "verbs": ("Say", "Record", "Say", "Hangup")}),
        business={"forwarding_number": ""},
        model={"faults": ["reject:401"]},
        ends_by="any",
        own_web=True,
        jitters=False,
    ),
]
