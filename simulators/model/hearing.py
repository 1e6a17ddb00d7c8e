"""Which of the known caller clips was just heard: each clip's loudness, slid along the loudness of what came in."""

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
UNKNOWN_TEXT = "[unclear]"


@dataclass(frozen=True, slots=True)
class Heard:
    """What an utterance was. `clips` is empty when nothing was recognised; `text` is what the transcription says."""

    clips: tuple[str, ...]
    text: str


class Hearing:
    """Knows the caller's clips by their loudness curves."""

    def __init__(self, clips: Mapping[str, Clip]) -> None:
        self._clips = {name: clip for name, clip in clips.items() if clip.speaker == "caller"}
        self._curves = {name: _voiced(_curve(envelope(clip.audio))) for name, clip in self._clips.items()}

    def recognise(self, loudness: Sequence[float]) -> Heard:
        """`loudness` is one value per 20 ms, from the start of an utterance to its end."""
        heard = _curve(loudness)
        found: list[tuple[int, int, str]] = []
        scores = sorted(
            ((score, lag, name) for name, curve in self._curves.items() for score, lag in _matches(heard, curve)),
            reverse=True,
        )
        for _score, lag, name in scores:
            end = lag + len(self._curves[name])
            if all(end <= start or lag >= stop for start, stop, _name in found):
                found.append((lag, end, name))
        if not found:
            return self._fragment(heard)
        names = tuple(name for _start, _end, name in sorted(found))
        return Heard(names, " ".join(self._clips[name].text for name in names))

    def _fragment(self, heard: list[float]) -> Heard:
        """Part of a clip (a dropped line, a turn ended by a pause): its words; known only if it is more than half."""
        part = _voiced(heard)
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


def _curve(loudness: Sequence[float]) -> list[float]:
    return [math.log(max(value, QUIET) / QUIET) for value in loudness]


def _voiced(curve: list[float]) -> list[float]:
    """Without the silence at both ends."""
    loud = [index for index, value in enumerate(curve) if value > 0]
    return curve[loud[0] : loud[-1] + 1] if loud else []


def _matches(long: list[float], short: list[float]) -> list[tuple[float, int]]:
    """(correlation, lag) wherever `short` lies in `long` with a correlation above SURE."""
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
        if correlation > SURE:
            matches.append((correlation, lag))
    return matches
