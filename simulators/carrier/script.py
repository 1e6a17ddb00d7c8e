"""What a simulated caller does, as data. Scripts come from the table below or from a JSON file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Listen:
    """Until the agent was heard and has then been silent for `silent_ms`, judged by what the caller really hears."""

    silent_ms: int = 900
    timeout_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class Hear:
    """Until the agent has been speaking for `after_ms`, and is still speaking."""

    after_ms: int
    timeout_ms: int = 20_000


@dataclass(frozen=True, slots=True)
class HearAnew:
    """From now on only what comes counts: until the agent begins to speak."""

    timeout_ms: int = 20_000


@dataclass(frozen=True, slots=True)
class Say:
    """A clip by name, to its end or for its first `only_ms`."""

    clip: str
    only_ms: int = 0


@dataclass(frozen=True, slots=True)
class Interrupt:
    """`Hear(after_ms)`, then the clip over the agent's voice."""

    clip: str
    after_ms: int = 2000
    timeout_ms: int = 20_000


@dataclass(frozen=True, slots=True)
class Wait:
    ms: int


@dataclass(frozen=True, slots=True)
class Press:
    """`heard`: the tones are in the caller's audio too, as telephones make them; else only the events tell."""

    digits: str
    gap_ms: int = 200
    heard: bool = False


@dataclass(frozen=True, slots=True)
class WaitForEnd:
    """Until the other side ends the call, or the time is over."""

    timeout_ms: int = 15_000


@dataclass(frozen=True, slots=True)
class HangUp:
    pass


@dataclass(frozen=True, slots=True)
class DropLine:
    """The line is lost: no `stop`, no close."""


Step = Listen | Hear | HearAnew | Say | Interrupt | Wait | Press | WaitForEnd | HangUp | DropLine
STEPS: dict[str, type[Step]] = {
    kind.__name__: kind for kind in (Listen, Hear, HearAnew, Say, Interrupt, Wait, Press, WaitForEnd, HangUp, DropLine)
}


@dataclass(frozen=True, slots=True)
class Script:
    """`ends_by`: who must end the call for it to have gone as expected."""

    name: str
    steps: tuple[Step, ...]
    ends_by: Literal["agent", "caller", "line", "any"] = "any"


def _ten_turns() -> tuple[Step, ...]:
    questions = ("ask-hours", "ask-parking", "ask-saturday")
    turns: list[Step] = [Listen()]
    for turn in range(10):
        turns += [Say(questions[turn % 3]), Listen()]
    return (*turns, HangUp())


_DEMO: tuple[Step, ...] = (
    Listen(),
    Say("ask-parking"),
    Interrupt("ask-saturday", after_ms=2000),
    Listen(),
    Say("bye"),
    WaitForEnd(20_000),
    HangUp(),
)

SCRIPTS: dict[str, Script] = {
    script.name: script
    for script in (
        Script("demo", _DEMO, "any"),
        Script("greeting-only", (Listen(), HangUp()), "caller"),
        Script("question", (Listen(), Say("ask-hours"), Listen(), HangUp()), "caller"),
        Script(
            "interrupt",
            (Listen(), Say("ask-parking"), Interrupt("ask-saturday", after_ms=1500), Listen(), HangUp()),
            "caller",
        ),
        Script("silent-caller", (Listen(), WaitForEnd(60_000), HangUp()), "any"),
        Script("hang-up-mid-sentence", (Listen(), Say("ask-parking"), Hear(1500), HangUp()), "caller"),
        Script("hang-up-while-speaking", (Listen(), Say("ask-parking", only_ms=700), HangUp()), "caller"),
        Script("hang-up-at-once", (HangUp(),), "caller"),
        Script("drop-line", (Listen(), Say("ask-parking"), Hear(1000), DropLine()), "line"),
        Script("press-keys", (Listen(), Press("12#"), Wait(500), HangUp()), "caller"),
        Script("ten-turns", _ten_turns(), "caller"),
    )
}


def load(name: str) -> Script:
    """A script by name, or from a `.json` file; ValueError says what is wrong with it."""
    if name in SCRIPTS:
        return SCRIPTS[name]
    if not name.endswith(".json"):
        raise ValueError(f"no script {name}; known: {', '.join(sorted(SCRIPTS))}, or a .json file")
    return from_json(Path(name).stem, json.loads(Path(name).read_text(encoding="utf-8")))


def from_json(name: str, data: dict[str, Any]) -> Script:
    """`{"ends_by": "agent", "steps": [{"Listen": {}}, {"Say": {"clip": "bye"}}]}` to a Script; raises ValueError."""
    steps = []
    for item in data["steps"]:
        if len(item) != 1 or (kind := next(iter(item))) not in STEPS:
            raise ValueError(f"a step is one of {', '.join(STEPS)}, not {item}")
        try:
            steps.append(STEPS[kind](**item[kind]))
        except TypeError as error:
            raise ValueError(f"{kind}: {error}") from None
    ends_by = data.get("ends_by", "any")
    if ends_by not in {"agent", "caller", "line", "any"}:
        raise ValueError(f"ends_by is agent, caller, line or any, not {ends_by}")
    return Script(name, tuple(steps), ends_by)
