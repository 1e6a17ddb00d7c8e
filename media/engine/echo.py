"""Is that the caller, or the agent's own voice coming back from a loudspeaker? Told by how loudness moves.

An echo is the agent's voice later and quieter. mu-law bytes are logarithmic, so being quieter only shifts their mean
over 20 ms, which a correlation does not see, and being later is looked for. Tried once by hand on the simulators'
speech, echoes 6 to 20 dB down in noise were alike by 0.97 and more; callers who speak over the agent mostly by less
than 0.7, but by more than 0.9 now and then when all there is of them is how they begin. So nobody is taken for an echo
before there is enough of it (VOICED_FRAMES). What it is worth in a call is in docs/conversation.md, item 3.
"""

from math import sqrt

from media.engine.playback import AHEAD_BYTES, FRAME_BYTES

LONGEST_FRAMES = 100  # 2 s of the caller's side are looked at
LATEST_FRAMES = 30  # an echo comes within 0.6 s, by our clock ...
AHEAD_FRAMES = AHEAD_BYTES // FRAME_BYTES  # ... which may be behind the carrier's by so much
VOICED_FRAMES = 8
ALIKE = 0.94

_LOUDNESS = bytes(~byte & 0x7F for byte in range(256))
_FLOOR = 24  # about 46 dB below the loudest: line noise


def is_echo(heard: bytes, caller: bytes) -> bool:
    """Is `caller`, what came in lately, what the agent was `heard` to say? Both are mu-law; `heard` reaches 160 ms
    further (Playback.heard_lately)."""
    said, came = _loudness(heard), _loudness(caller)[-LONGEST_FRAMES:]
    first = next((at for at, level in enumerate(came) if level > _FLOOR), len(came))
    last = next((at for at in range(len(came), 0, -1) if came[at - 1] > _FLOOR), 0)
    came_length = len(came)
    # From a little before it begins: silence before speech is part of the likeness.
    first, last = max(0, first - 5), min(came_length, last + 5)
    voiced = came[first:last]
    if sum(level > _FLOOR for level in voiced) < VOICED_FRAMES:
        return False
    behind = came_length - last  # frames from the end of the piece to now
    best = 0.0
    for lag in range(AHEAD_FRAMES + LATEST_FRAMES + 1):
        end = len(said) - behind - lag
        if end - len(voiced) < 0:
            break
        best = max(best, _likeness(voiced, said[end - len(voiced) : end]))
    return best >= ALIKE


def _loudness(audio: bytes) -> list[float]:
    """The mean of each 20 ms, counted from the end, so that the last ones of two pieces are of one time."""
    audio = audio[len(audio) % FRAME_BYTES :]
    levels = audio.translate(_LOUDNESS)
    return [sum(levels[at : at + FRAME_BYTES]) / FRAME_BYTES for at in range(0, len(levels), FRAME_BYTES)]


def _likeness(one: list[float], other: list[float]) -> float:
    """Pearson's correlation; 0 where one of them does not move at all."""
    size = len(one)
    mean_one, mean_other = sum(one) / size, sum(other) / size
    both = sum((a - mean_one) * (b - mean_other) for a, b in zip(one, other, strict=True))
    spread = sum((a - mean_one) ** 2 for a in one) * sum((b - mean_other) ** 2 for b in other)
    return both / sqrt(spread) if spread > 0 else 0.0
