"""A recording as a drawing: how loud each side was over the time, and where the turns are. Pure.

In units of the drawing, which is stretched to the width of the page: a column for each of waveform.COLUMNS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from calls.waveform import COLUMNS, LOUDEST

LANE = 40  # the height of one side
QUIETEST_SCALE = 32  # what is quieter than this throughout is not drawn as if it were loud


@dataclass(frozen=True, slots=True)
class Mark:
    """A turn along the recording: from `x`, `width` wide. `seconds`: where it begins."""

    index: int
    seconds: float
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """`lanes`: the `d` of an SVG path for each channel; `middles`: its line of silence."""

    lanes: list[str]
    middles: list[int]
    height: int
    marks: list[Mark]


def draw(
    peaks: Sequence[Sequence[int]],
    seconds: float,
    began_at: datetime | None,
    turns: Iterable[tuple[int, datetime | None]],
) -> Drawing:
    """`turns`: (turn_index, started_at), in order. Without a beginning nobody knows where they are."""
    scale = max((peak for lane in peaks for peak in lane), default=0)
    scale = min(max(scale, QUIETEST_SCALE), LOUDEST)
    middles = [LANE // 2 + LANE * number for number in range(len(peaks))]
    lanes = [_lane(lane, middle, scale) for lane, middle in zip(peaks, middles, strict=True)]
    return Drawing(lanes, middles, LANE * len(peaks), list(_marks(seconds, began_at, turns)))


def _lane(peaks: Sequence[int], middle: int, scale: int) -> str:
    bars = []
    for column, peak in enumerate(peaks):
        half = round((LANE / 2 - 2) * peak / scale, 1)
        if half:
            bars.append(f"M{column}.5 {middle - half:g}V{middle + half:g}")
    return "".join(bars)


def _marks(seconds: float, began_at: datetime | None, turns: Iterable[tuple[int, datetime | None]]) -> Iterable[Mark]:
    if began_at is None or seconds <= 0:
        return
    # The carrier tells whole seconds: a turn may begin a little before.
    starts = [(index, min(max((at - began_at).total_seconds(), 0.0), seconds)) for index, at in turns if at is not None]
    ends = [start for _, start in starts[1:]] + [seconds]
    for (index, start), end in zip(starts, ends, strict=False):  # without turns there is nothing to end
        x = COLUMNS * start / seconds
        yield Mark(index, round(start, 1), round(x, 1), round(max(COLUMNS * end / seconds - x, 0.0), 1))
