"""Nobody says anything: who is waited for, how long, and what is done about it.

Two ladders. Both sides are quiet: the agent asks whether the caller is still there, asks again, and says goodbye. Or
the caller waits for the agent: something to fill the silence first, then another session of the model, then a person.
"""

from collections.abc import Sequence
from enum import Enum


class Step(Enum):
    GREET = "greet"  # the caller was to speak first
    ASK = "ask"
    GOODBYE = "goodbye"
    FILL = "fill"
    TONE = "tone"
    RENEW = "renew"
    GIVE_UP = "give up"


class Ladder:
    """Steps, each with its time since the waiting began. A wait that is over begins anew at `restart`, or goes on."""

    def __init__(self, steps: Sequence[tuple[float, Step]]) -> None:
        self._steps = steps
        self._since: float | None = None
        self._next = 0

    def wait(self, waiting: bool, now: float) -> None:
        """Is it being waited at this moment? Time counts from the first such moment of a row of them."""
        if not waiting:
            self._since = None
        elif self._since is None:
            self._since = now

    def restart(self) -> None:
        """Whoever was waited for did something: the next wait begins at the first step."""
        self._since = None
        self._next = 0

    def deadline(self) -> float | None:
        if self._since is None or self._next >= len(self._steps):
            return None
        return self._since + self._steps[self._next][0]

    def take(self) -> Step:
        """The step that is due."""
        step = self._steps[self._next][1]
        self._next += 1
        return step


def silence_ladder(silence_seconds: float, *, greet_after: float | None) -> Ladder:
    """Of both sides. Each step has its own wait, since saying something ends the one before."""
    steps = [(silence_seconds, Step.ASK), (silence_seconds, Step.ASK), (silence_seconds, Step.GOODBYE)]
    return Ladder(steps if greet_after is None else [(greet_after, Step.GREET), *steps])


def dead_air_ladder(fill: float, renew: float, give_up: float) -> Ladder:
    """Of the agent. One wait: what fills the silence does not end it."""
    return Ladder([(fill, Step.FILL), (renew, Step.RENEW), (give_up, Step.GIVE_UP)])


def tool_ladder(filler: float, tone: float) -> Ladder:
    """Of a tool: a sentence, then a tone, which goes on until the tool has answered."""
    return Ladder([(filler, Step.FILL), (tone, Step.TONE)])
