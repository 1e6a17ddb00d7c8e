"""Is that the caller, or the agent's own voice coming back from a loudspeaker? Told by how loudness moves.

An echo is the agent's voice later and quieter. mu-law bytes are logarithmic, so being quieter only shifts their mean
over 20 ms, which a correlation does not see, and being later is looked for. Tried once by hand on the simulators'
speech, echoes 6 to 20 dB down in noise were alike by 0.97 and more; callers who speak over the agent mostly by less
than 0.7, but by more than 0.9 now and then when all there is of them is how they begin. So nobody is taken for an echo
before there is enough of it (VOICED_FRAMES). What it is worth in a call is in docs/conversation.md, item 3.
"""

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
_STILL = 1e-6  # what rounding leaves of a line that does not move
_FLOOR = 24  # about 46 dB below the loudest: line noise


def is_echo(heard: bytes, caller: bytes) -> bool | None:
    """Is `caller`, what came in lately, what the agent was `heard` to say? Both are mu-law; `heard` reaches 160 ms
    further (Playback.heard_lately). None: there is too little of it to tell."""
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
    within = len(voiced) + AHEAD_FRAMES + LATEST_FRAMES
    end = len(heard) - behind * FRAME_BYTES
    said = _loudness(heard[max(0, end - within * FRAME_BYTES) : end])
    return _best_likeness(voiced, said) >= ALIKE


def _loudness(audio: bytes) -> list[float]:
    """The mean of each 20 ms, counted from the end, so that the last ones of two pieces are of one time."""
    audio = audio[len(audio) % FRAME_BYTES :]
    levels = audio.translate(_LOUDNESS)
    return [sum(levels[at : at + FRAME_BYTES]) / FRAME_BYTES for at in range(0, len(levels), FRAME_BYTES)]


def _best_likeness(piece: list[float], line: list[float]) -> float:
    """The highest of Pearson's correlations of the piece with the line, at any place of it; 0 where one of them does
    not move at all. With sums that run along the line: this is done while other calls wait (0.2 ms for 2 s)."""
    size = len(piece)
    mean = sum(piece) / size
    centred = [level - mean for level in piece]
    spread = sum(map(mul, centred, centred))
    sums = list(accumulate(line, initial=0.0))
    squares = list(accumulate(map(mul, line, line), initial=0.0))
    best = 0.0
    for at in range(len(line) - size + 1):
        total = sums[at + size] - sums[at]
        product = spread * (squares[at + size] - squares[at] - total * total / size)
        if product > _STILL:
            best = max(best, sum(map(mul, centred, line[at : at + size])) / sqrt(product))
    return best
