"""What a scenario is: a caller's script, a model's part, a line, and what must come of them. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from simulators.carrier.script import Step

if TYPE_CHECKING:
    from tests.scenarios.evidence import Evidence

Check = Callable[["Evidence"], list[str]]
"""A question of one scenario's own: what is wrong, one line each."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One row of the conversation. `says` and `hears` are clips of simulators.speech, or words; `cut`: the answer was
    interrupted, what was generated of it is a beginning of `hears`, and what was heard of it a beginning of that."""

    says: str = ""
    hears: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Expect:
    """What must come of a call. None: not asked. All times in milliseconds."""

    turns: tuple[Turn, ...] | None = None
    ended_reason: str = "caller_hung_up"
    status: str = "completed"
    verbs: tuple[str, ...] | None = None  # of TwiML, without Connect, in order: how the call went on after the stream
    first_word_ms: float | None = 1500.0  # until the caller hears the first sound
    first_audio_ms: float | None = None  # until the first audio leaves, which may begin with silence
    longest_silence_ms: float | None = 2500.0
    truncations: int | None = 0
    truncation_error_ms: float = 60.0
    resumed_within_ms: float = 250.0  # a sentence that goes on: how much was left out or said twice
    interruptions: int | None = None  # as the row counts them
    goodbye: str = ""  # a clip that must have been heard to its end
    over_after_ms: float | None = None  # from the last sound the caller heard to the end of the call
    counters: Mapping[str, int] = field(default_factory=dict)
    sessions: int | None = 1  # of the model
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """`item`: of issue 4. `agent` and `business`: fields of their rows. `model`: a profile of the simulated model (its
    settings.py). `line`: faults of the carrier's. `own_web`: by a web process and with a key of its own, since what
    goes wrong would be remembered against the others. `rehearsals`: so many like it are placed before, and not looked
    at. `jitters`: repeated on a rough line too. `lookups`: the agent's tools over HTTP, rows of theirs."""

    name: str
    item: str
    steps: tuple[Step, ...]
    expect: Expect
    agent: Mapping[str, Any] = field(default_factory=dict)
    business: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    line: Mapping[str, Any] = field(default_factory=dict)
    ends_by: Literal["agent", "caller", "line", "any"] = "caller"
    own_web: bool = False
    rehearsals: int = 0
    jitters: bool = True
    clips: bool = True  # the agent's own sentences are rendered
    lookups: tuple[Mapping[str, Any], ...] = ()


ROUGH_LINE: Mapping[str, Any] = {
    "mark_delay_ms": 150,
    "frame_jitter_ms": 60,
    "burst_every_ms": 1700,
    "burst_ms": 160,
    "timestamp_jitter_ms": 40,
}
"""What `--jitter` adds: marks come late at random, frames unevenly and now and then eight at once."""


@dataclass(frozen=True, slots=True)
class Part:
    """A scenario as it is played once: plain or on a rough line, with a number and a model of its own."""

    scenario: Scenario
    rough: bool
    place: int

    @property
    def name(self) -> str:
        return self.scenario.name + (" ~" if self.rough else "")

    @property
    def model(self) -> str:
        return f"gpt-realtime-part-{self.place}"

    @property
    def number(self) -> str:
        return f"+1555020{self.place:04d}"

    @property
    def slug(self) -> str:
        return f"part-{self.place}"

    @property
    def line(self) -> dict[str, Any]:
        return {**(ROUGH_LINE if self.rough else {}), **self.scenario.line}


def parts(scenarios: list[Scenario], *, plain: bool, rough: bool) -> list[Part]:
    """What is to be played, the longest first no matter: each gets its place."""
    wanted = [(scenario, False) for scenario in scenarios if plain]
    wanted += [(scenario, True) for scenario in scenarios if rough and scenario.jitters]
    return [Part(scenario, is_rough, place) for place, (scenario, is_rough) in enumerate(wanted, 1)]
