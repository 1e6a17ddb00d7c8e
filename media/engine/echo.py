"""Is that the caller, or the agent's own voice coming back from a loudspeaker? Told by how loudness moves.

An echo is the agent's voice later and quieter. mu-law bytes are logarithmic, so being quieter only shifts their mean
over 20 ms, which a correlation does not see, and being later is looked for. Tried once by hand on the simulators'
speech, echoes 6 to 20 dB down in noise were alike by 0.97 and more; callers who speak over the agent mostly by less
than 0.7, but by more than 0.9 now and then when all there is of them is how they begin. So nobody is taken for an echo
before there is enough of it (VOICED_FRAMES). What it is worth in a call is in docs/conversation.md, item 3.
"""

from collections.abc import Iterable
from itertools import accumulate
from math import sqrt
from operator import mul

from media.engine.playback import AHEAD_BYTES, FRAME_BYTES

LONGEST_FRAMES = 100  # 2 s of the caller's side are looked at
LATEST_FRAMES = 30  # an echo comes within 0.6 s, by our clock ...
AHEAD_FRAMES = AHEAD_BYTES // FRAME_BYTES  # ... which may be behind the carrier's by so much
VOICED_FRAMES = 8
ALIKE = 0.94

_LOUDNESS = bytes(~byte & 0x7F for byte in range(256))
_STILL = 1.0  # what rounding leaves of a line that does not move is less
_EVERY = 4
_SAMPLES = FRAME_BYTES // _EVERY
_FLOOR = 24 * _SAMPLES  # about 46 dB below the loudest: line noise
_HINT = 0.5  # of a likeness of ALIKE so much is left 20 ms beside it: 0.6 and more of 426 made echoes


def is_echo(heard: Iterable[bytes], caller: bytes) -> bool | None:
    """Is `caller`, what came in lately, what the agent was heard to say? All are mu-law. `heard`: what may have been on
    the line, each 160 ms further (Playback.heard_lately). None: there is too little of the caller to tell."""
    came = _loudness(caller[-LONGEST_FRAMES * FRAME_BYTES :])
    first = next((at for at, level in enumerate(came) if level > _FLOOR), len(came))
    last = next((at for at in range(len(came), 0, -1) if came[at - 1] > _FLOOR), 0)
    came_length = len(came)
    # From a little before it begins: silence before speech is part of the likeness.
    first, last = max(0, first - 5), min(came_length, last + 5)
    voiced = came[first:last]
    if sum(level > _FLOOR for level in voiced) < VOICED_FRAMES:
        return None
    behind = came_length - last  # frames from the end of the piece to now
    within = (len(voiced) + AHEAD_FRAMES + LATEST_FRAMES) * FRAME_BYTES
    piece = _Piece(voiced)
    known: dict[bytes, int] = {}
    for line in heard:
        end = len(line) - behind * FRAME_BYTES
        if piece.best_likeness(_loudness(line[max(0, end - within) : end], known)) >= ALIKE:
            return True
    return False


def _loudness(audio: bytes, known: dict[bytes, int] | None = None) -> list[int]:
    """That of each 20 ms, counted from the end, so that the last ones of two pieces are of one time. Of every fourth
    sample: forty tell it as well as all of them, in less than half of the time. `known`: of frames seen before, for
    lines that differ in few."""
    levels = audio[len(audio) % FRAME_BYTES :].translate(_LOUDNESS)[::_EVERY]
    frames = [levels[at : at + _SAMPLES] for at in range(0, len(levels), _SAMPLES)]
    if known is None:
        return [sum(frame) for frame in frames]
    for frame in set(frames).difference(known):
        known[frame] = sum(frame)
    return [known[frame] for frame in frames]


class _Piece:
    """What is looked for. All of this is done while other calls wait."""

    def __init__(self, levels: list[int]) -> None:
        mean = sum(levels) / len(levels)
        self._centred = [level - mean for level in levels]
        self._spread = sum(map(mul, self._centred, self._centred))

    def best_likeness(self, line: list[int]) -> float:
        """The highest of Pearson's correlations with the line, at any place of it; 0 where one of them does not move at
        all. At every other place first: speech does not change so fast that a likeness could hide between two."""
        size = len(self._centred)
        sums = list(accumulate(line, initial=0))
        squares = list(accumulate(map(mul, line, line), initial=0))

        def likeness(at: int) -> float:
            total = sums[at + size] - sums[at]
            moved = squares[at + size] - squares[at] - total * total / size
            if min(moved, self._spread) < _STILL:
                return 0.0
            together: float = sum(map(mul, self._centred, line[at : at + size]))
            return together / sqrt(moved * self._spread)

        places = len(line) - size + 1
        best, best_at = max(((likeness(at), at) for at in range(0, places, 2)), default=(0.0, 0))
        if best < _HINT:
            return best
        return max(likeness(at) for at in range(max(0, best_at - 1), min(places, best_at + 2)))
