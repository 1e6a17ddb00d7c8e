"""Pauses of a recording: by the REST API, with silence in their place or without it. Times are time.monotonic's."""

from collections.abc import Sequence
from dataclasses import dataclass

from simulators.carrier.audio import BYTES_PER_SECOND, SILENCE


@dataclass(slots=True)
class Pause:
    """`ended` None: it lasts until the end. `skips`: it is cut out; else there is silence in its place."""

    began: float
    skips: bool
    ended: float | None = None


def without(track: bytes, stretches: Sequence[tuple[float, int, int]], pauses: Sequence[Pause]) -> bytes:
    """A track as it was recorded. `stretches`: when each part of it began, where in the track it begins and ends."""
    recorded = bytearray(track)
    cuts: list[tuple[int, int]] = []
    for pause in pauses:
        for began, start, end in stretches:
            first = max(start, start + round((pause.began - began) * BYTES_PER_SECOND))
            last = end if pause.ended is None else min(end, start + round((pause.ended - began) * BYTES_PER_SECOND))
            if first < last:
                recorded[first:last] = SILENCE * (last - first)
                if pause.skips:
                    cuts.append((first, last))
    for first, last in sorted(cuts, reverse=True):
        del recorded[first:last]
    return bytes(recorded)
