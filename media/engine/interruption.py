"""Does the caller interrupt, or was that only a cough, a "mhm", the agent's own echo?

Whoever makes a sound while the agent speaks stops it at once; what it meant is known a moment later. Long enough
speech is an interruption. A short sound waits for its words: none, or only such as one says while listening, and the
agent goes on from where the caller left off hearing. Words that do not come in time count as an interruption: to go on
talking over somebody is worse than to stop for nothing.
"""

import re
from dataclasses import dataclass, field
from enum import Enum

WORDS_SECONDS = 1.3  # after the end of a short sound: how long its words are waited for
LONG_SECONDS = 1.0  # speech this much longer than the silence that ends it is no "mhm", nor the end of an echo
MOST_WORDS = 3  # "yes yes mhm" is said while listening; four words are a sentence

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


class Verdict(Enum):
    OPEN = "not known yet"
    INTERRUPTS = "the caller has something to say"
    LISTENS = "a sound of somebody who listens"
    NOISE = "no words at all"
    ECHO = "the agent's own voice"


def is_back_channel(text: str, words: frozenset[str]) -> bool:
    """Is the text made of nothing but what one says while listening? `words` are lower case."""
    said = [word.lower() for word in _WORD.findall(text)]
    return 0 < len(said) <= MOST_WORDS and all(word in words for word in said)


def is_part_of(text: str, spoken: str) -> bool:
    """Do its words stand in what the agent is saying, in that order? An echo, written down."""
    words, agent = ([word.lower() for word in _WORD.findall(each)] for each in (text, spoken))
    size = len(words)
    return size > 0 and any(agent[at : at + size] == words for at in range(len(agent) - size + 1))


@dataclass(slots=True)
class _Sound:
    began: float
    ended: float | None = None
    verdict: Verdict = Verdict.OPEN


@dataclass(slots=True)
class Interruption:
    """Sounds of the caller while the agent was speaking, until it is known what they are. `silence_seconds`: how long
    the model waits for more before it says that the caller has stopped."""

    silence_seconds: float
    back_channels: frozenset[str] = frozenset()
    near_the_end: bool = False  # the agent had nearly finished: "yes" is an answer then
    sounds: dict[str, _Sound] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sounds)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self.sounds

    def began(self, item_id: str, now: float) -> None:
        self.sounds.setdefault(item_id, _Sound(now))

    def ended(self, item_id: str, now: float, *, echo: bool) -> None:
        sound = self.sounds[item_id]
        sound.ended = now
        if echo:
            sound.verdict = Verdict.ECHO

    def has_words(self, item_id: str, text: str, agent_text: str) -> None:
        """The words are here; empty: there are none. `agent_text`: what it may be the echo of."""
        sound = self.sounds[item_id]
        if sound.verdict is not Verdict.OPEN:
            return
        if not _WORD.search(text):
            sound.verdict = Verdict.NOISE
        elif is_part_of(text, agent_text):
            sound.verdict = Verdict.ECHO
        elif is_back_channel(text, self.back_channels) and not self.near_the_end:
            sound.verdict = Verdict.LISTENS
        else:
            sound.verdict = Verdict.INTERRUPTS

    def long_ones_are_echoes(self, now: float) -> None:
        """Whatever is to be judged by its length alone is the agent's voice."""
        for sound in self.sounds.values():
            if sound.verdict is Verdict.OPEN and now >= self._until(sound):
                sound.verdict = Verdict.ECHO

    def deadline(self) -> float | None:
        """When the first of those that are not known will have been waited for long enough."""
        open_ones = (self._until(sound) for sound in self.sounds.values() if sound.verdict is Verdict.OPEN)
        return min(open_ones, default=None)

    def verdict(self, now: float) -> Verdict:
        """Of all of it together: one that interrupts is enough, and one that is open is waited for; else the last."""
        verdicts = [self._by(now, sound) for sound in self.sounds.values()]
        for decisive in (Verdict.INTERRUPTS, Verdict.OPEN):
            if decisive in verdicts:
                return decisive
        return verdicts[-1]

    def _by(self, now: float, sound: _Sound) -> Verdict:
        overdue = sound.verdict is Verdict.OPEN and now >= self._until(sound)
        return Verdict.INTERRUPTS if overdue else sound.verdict

    def _until(self, sound: _Sound) -> float:
        if sound.ended is not None:
            return sound.ended + WORDS_SECONDS
        return sound.began + self.silence_seconds + LONG_SECONDS
