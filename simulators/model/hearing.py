"""Which of the known clips was just heard: each clip's loudness, slid along the loudness of what came in.

First the caller's clips. What is none of them may be the model's own voice, coming back from the caller's loudspeaker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul

from simulators.model.audio import FRAME_MS, envelope
from simulators.speech import Clip

SURE = 0.85
"""Correlation from which it is that clip. A clip half a frame off, with noise, keeps 0.94; others reach 0.63."""
QUIET = 200.0
"""Everything below this loudness is the same silence, so that line noise changes nothing."""
SHORTEST_FRAGMENT_MS = 800
SHORT_MS = 700
"""A clip shorter than this is known only where nothing else was heard: its curve is found within any sentence."""
SURE_OF_SHORT = 0.93
SLACK_FRAMES = 6
SHORTEST_WORD_MS = 180
NOISE = "noise"
"""What is too short for a word: transcribed as nothing."""
ECHO = "echo"
"""The name under which its own voice is heard."""
SHORTEST_ECHO_FRAMES = 5
ECHO_SURE = 0.8
"""Echo is judged on few frames, and rarely falls on the frames of the original: whole clips are surer."""
ATTENUATIONS = (1.0, 0.5, 0.32, 0.2, 0.13)  # 0 to 18 dB
UNKNOWN_TEXT = "[unclear]"


@dataclass(frozen=True, slots=True)
class Heard:
    """What an utterance was. `clips` is empty when nothing was recognised; `text` is what the transcription says."""

    clips: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence of the model's, with its loudness per 20 ms."""

    text: str
    loudness: Sequence[float]


class Hearing:
    """Knows the caller's clips by their loudness curves."""

    def __init__(self, clips: Mapping[str, Clip]) -> None:
        self._clips = {name: clip for name, clip in clips.items() if clip.speaker == "caller"}
        self._curves = {name: _voiced(_curve(envelope(clip.audio))) for name, clip in self._clips.items()}

    def recognise(self, loudness: Sequence[float], own: Sequence[Spoken] = ()) -> Heard:
        """`loudness` is one value per 20 ms, from the start of an utterance to its end; `own` what the model has said
        lately."""
        heard = _curve(loudness)
        voiced = len(_voiced(heard))
        found: list[tuple[int, int, str]] = []
        scores = sorted(
            (
                (score, lag, name)
                for name, curve in self._curves.items()
                if (sure := _sure(curve, voiced)) is not None
                for score, lag in _matches(heard, curve, sure)
            ),
            reverse=True,
        )
        for _score, lag, name in scores:
            end = lag + len(self._curves[name])
            if all(end <= start or lag >= stop for start, stop, _name in found):
                found.append((lag, end, name))
        if not found:
            return self._echo(loudness, own) or self._fragment(heard)
        names = tuple(name for _start, _end, name in sorted(found))
        return Heard(names, " ".join(self._clips[name].text for name in names))

    def _echo(self, loudness: Sequence[float], own: Sequence[Spoken]) -> Heard | None:
        """The words of its own that came back, or None if that is not it."""
        part = _voiced(_curve(loudness))
        if len(part) < SHORTEST_ECHO_FRAMES:
            return None
        best = max(
            (
                (score, lag, number)
                for number, spoken in enumerate(own)
                for attenuation in ATTENUATIONS
                for score, lag in _matches(_curve([attenuation * value for value in spoken.loudness]), part, ECHO_SURE)
            ),
            default=None,
        )
        if best is None:
            return None
        _score, lag, number = best
        words, length = own[number].text.split(), len(own[number].loudness)
        first, last = int(lag / length * len(words)), -int(-(lag + len(part)) / length * len(words) // 1)
        return Heard((ECHO,), " ".join(words[first : max(last, first + 1)]))

    def _fragment(self, heard: list[float]) -> Heard:
        """Part of a clip (a dropped line, a turn ended by a pause): its words; known only if it is more than half."""
        part = _voiced(heard)
        if len(part) * FRAME_MS < SHORTEST_WORD_MS:
            return Heard((NOISE,), "")
        if len(part) * FRAME_MS < SHORTEST_FRAGMENT_MS:
            return Heard((), UNKNOWN_TEXT)
        best = max(
            ((score, lag, name) for name, curve in self._curves.items() for score, lag in _matches(curve, part)),
            default=None,
        )
        if best is None:
            return Heard((), UNKNOWN_TEXT)
        _score, lag, name = best
        words, length = self._clips[name].text.split(), len(self._curves[name])
        first, last = round(lag / length * len(words)), round((lag + len(part)) / length * len(words))
        known = (name,) if len(part) * 2 > length else ()
        return Heard(known, " ".join(words[first:last]) or UNKNOWN_TEXT)


def _sure(curve: list[float], voiced: int) -> float | None:
    """How well a clip must match where that many frames of sound were heard; None: it is not looked for."""
    if len(curve) * FRAME_MS >= SHORT_MS:
        return SURE
    return SURE_OF_SHORT if abs(len(curve) - voiced) <= min(SLACK_FRAMES, len(curve) // 2) else None


def _curve(loudness: Sequence[float]) -> list[float]:
    return [math.log(max(value, QUIET) / QUIET) for value in loudness]


def _voiced(curve: list[float]) -> list[float]:
    """Without the silence at both ends."""
    loud = [index for index, value in enumerate(curve) if value > 0]
    return curve[loud[0] : loud[-1] + 1] if loud else []


def _matches(long: list[float], short: list[float], sure: float = SURE) -> list[tuple[float, int]]:
    """(correlation, lag) wherever `short` lies in `long` with a correlation above `sure`."""
    count = len(short)
    if count == 0 or len(long) < count:
        # The voice detector may cut a frame or two off an end: pad, do not give up.
        if count == 0 or count - len(long) > 10:
            return []
        long = long + [0.0] * (count - len(long))
    mean = sum(short) / count
    centred = [value - mean for value in short]
    norm = math.sqrt(sum(map(mul, centred, centred)))
    if norm == 0:
        return []
    matches = []
    for lag in range(len(long) - count + 1):
        window = long[lag : lag + count]
        total = sum(window)
        spread = sum(map(mul, window, window)) - total * total / count
        if spread <= 0:
            continue
        correlation = sum(map(mul, window, centred)) / (norm * math.sqrt(spread))
        if correlation > sure:
            matches.append((correlation, lag))
    return matches
