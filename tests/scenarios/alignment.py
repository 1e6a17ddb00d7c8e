"""What of which sentence did the caller hear? The sound that was heard is laid beside the sound that was generated.

Nothing here trusts a clock, a mark or a name: only the bytes of both ledgers. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

WINDOW = 400  # bytes (50 ms) that tell one place in speech from every other
STEP = 80
TELLING = 12  # different values that a window needs for that: silence has one or two
BYTES_PER_MS = 8


@dataclass(slots=True)
class Sentence:
    """One item of the model's: what was generated, and what the caller heard of it. Bytes of mu-law."""

    item_id: str
    text: str
    audio: bytes
    truncated_at_ms: int | None = None
    heard_bytes: int = 0  # from its beginning to the last byte of it that was heard
    jumps: list[int] = field(default_factory=list)  # where it went on: bytes left out (above 0) or said twice (below)
    last_piece: int = -1  # of what was heard: the number of the last piece with something of it
    session_id: str = ""

    @property
    def generated_ms(self) -> float:
        return len(self.audio) / BYTES_PER_MS

    @property
    def heard_ms(self) -> float:
        return self.heard_bytes / BYTES_PER_MS

    @property
    def is_whole(self) -> bool:
        """Heard to the end of its sound: silence after the last word may be missing."""
        rest = self.audio[self.heard_bytes :]
        return len(set(rest)) <= 2 or len(rest) <= WINDOW // 2

    @property
    def truncation_error_ms(self) -> float | None:
        """What the model was told was heard, less what was; None: it was told nothing."""
        return None if self.truncated_at_ms is None else self.truncated_at_ms - self.heard_ms


@dataclass(slots=True)
class Own:
    """A clip of the product's own, played: how much of it the caller heard."""

    key: str
    audio: bytes
    heard_bytes: int
    piece: int  # the number of the piece it began in

    @property
    def is_whole(self) -> bool:
        rest = self.audio[self.heard_bytes :]
        return len(set(rest)) <= 2 or len(rest) <= WINDOW // 2


@dataclass(slots=True)
class Rest:
    """What was heard that no sentence of the model's accounts for. `strange`: bytes of sound that are nobody's."""

    own: list[Own] = field(default_factory=list)
    strange: int = 0


def align(sentences: Sequence[Sentence], pieces: Sequence[bytes], own: Mapping[str, bytes] | None = None) -> Rest:
    """Write into the sentences what was heard of each, given every gapless piece that was heard, in order.

    `own`: the product's clips, which may be played at any time.
    """
    current, clips, rest = 0, own or {}, Rest()
    for number, piece in enumerate(pieces):
        at = 0
        while at < len(piece):
            if current < len(sentences) and (run := _run(piece, at, sentences[current])):
                sentences[current].heard_bytes += run
                sentences[current].last_piece = number
                at += run
                continue
            found = _next_place(sentences, current, clips, piece, at)
            if found is None:
                rest.strange += _sound(piece[at:])
                break
            place, which, offset = found
            rest.strange += _sound(piece[at:place])
            if isinstance(which, str):
                at = place + _own(rest.own, which, clips[which], offset, piece, place, number)
                continue
            sentence = sentences[which]
            if _sound(sentence.audio[: sentence.heard_bytes]):  # silence before its first word may be anybody's
                sentence.jumps.append(offset - sentence.heard_bytes)
            sentence.heard_bytes, current, at = offset, which, place
    return rest


def _own(played: list[Own], key: str, audio: bytes, offset: int, piece: bytes, at: int, number: int) -> int:
    """Note that a clip is heard from `offset` on; return how many bytes of the piece it takes."""
    probe = Sentence("", "", audio, heard_bytes=offset)
    length = _run(piece, at, probe) or WINDOW
    last = next((one for one in reversed(played) if one.key == key), None)
    if last is not None and offset > 0 and not last.is_whole:
        last.heard_bytes = max(last.heard_bytes, offset + length)
    else:
        played.append(Own(key, audio, offset + length, number))
    return length


def _run(piece: bytes, at: int, sentence: Sentence) -> int:
    """How many bytes of the piece go on with the sentence from where it stands."""
    rest = memoryview(sentence.audio)[sentence.heard_bytes :]
    ahead = memoryview(piece)[at:]
    length = 0
    most = min(len(rest), len(ahead))
    while length < most and rest[length : length + 160] == ahead[length : length + 160]:
        length = min(most, length + 160)
    while length < most and rest[length] == ahead[length]:
        length += 1
    # Silence goes on with anything: a few bytes of it are no sign that it is this sentence.
    return length if length >= 160 or length == len(ahead) else 0


def _next_place(
    sentences: Sequence[Sentence], current: int, own: Mapping[str, bytes], piece: bytes, start: int
) -> tuple[int, int | str, int] | None:
    """(place in the piece, sentence or clip, offset in it) of the next sound that is known."""
    for at in range(start, len(piece) - WINDOW + 1, STEP):
        window = piece[at : at + WINDOW]
        if len(set(window)) < TELLING:
            continue
        best: tuple[int, tuple[int, int | str, int]] | None = None
        places: list[int | str] = [*_candidates(sentences, current), *own]
        for which in places:
            audio, stands = (own[which], 0) if isinstance(which, str) else _stands(sentences[which])
            offset = audio.find(window, stands)
            if offset < 0:
                offset = audio.find(window)
            if offset < 0:
                continue
            back = 0
            while at - back > start and offset > back and piece[at - back - 1] == audio[offset - back - 1]:
                back += 1
            length = back + _run(piece, at, Sentence("", "", audio, heard_bytes=offset))
            if best is None or length > best[0]:  # made-up speech repeats itself: the longest likeness counts
                best = (length, (at - back, which, offset - back))
        if best is not None:
            return best[1]
    return None


def _stands(sentence: Sentence) -> tuple[bytes, int]:
    return sentence.audio, sentence.heard_bytes


def _candidates(sentences: Sequence[Sentence], current: int) -> list[int]:
    """Where to look first: the sentence that goes on, unless it is over; then those after it; then itself again."""
    if current >= len(sentences):
        return []
    later = list(range(current + 1, len(sentences)))
    now = sentences[current]
    begun = _sound(now.audio[: now.heard_bytes]) > 0
    over = begun and (now.truncated_at_ms is not None or now.is_whole)
    return [*later, current] if over else [current, *later]


def _sound(piece: bytes) -> int:
    """Bytes of it that are no silence."""
    return len(piece) - piece.count(0xFF) - piece.count(0x7F)
