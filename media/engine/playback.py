"""What the caller has heard: the carrier's playback, kept in books.

The model speaks faster than real time and the carrier plays at exactly 8,000 bytes a second, so audio sent says
little about audio heard. A mark behind every 180 ms of audio comes back when all before it has been played:
heard is what was sent less what is still unplayed. Between two marks the clock interpolates, but never past the
next mark that is still out.

After a `clear` the carrier returns *all* pending marks at once (Twilio, Media Streams messages): they say
nothing about hearing. So a clear forgets the marks that are out, and a mark nobody remembers counts for
nothing.

All audio goes through `receive` and comes out of it (or, once output is paced, of `tick`) as commands;
positions are bytes since the beginning of the call.
"""

from collections import deque
from dataclasses import dataclass

from media.engine.commands import PlayAudio, SendMark

BYTES_PER_SECOND = 8000
BYTES_PER_MS = 8
MARK_BYTES = 1440  # 180 ms; a multiple of 3, so that base64 can be cut there (1440 bytes are 1920 characters)


def audio_bytes(payload: str) -> int:
    """How many bytes a base64 text stands for, without decoding it."""
    return len(payload) * 3 // 4 - payload[-2:].count("=")


@dataclass(slots=True)
class SpokenItem:
    """One piece of the agent's speech. Sizes in bytes of mu-law, times in seconds of the engine's clock."""

    item_id: str
    response_id: str
    started: float
    ended: float
    received: int = 0  # what the model generated, played or not
    sent: int = 0
    heard: int = 0
    complete: bool = False  # the model has nothing to add
    cut: bool = False  # the rest will never be played

    @property
    def received_ms(self) -> int:
        return self.received // BYTES_PER_MS

    @property
    def heard_ms(self) -> int:
        return self.heard // BYTES_PER_MS

    @property
    def wholly_heard(self) -> bool:
        return self.complete and self.heard == self.received


class Playback:
    """The books of one call's outgoing audio."""

    def __init__(self, overdue_seconds: float) -> None:
        self.items: dict[str, SpokenItem] = {}
        self._open: dict[str, SpokenItem] = {}  # neither wholly heard nor cut, in order
        self._unplayed: deque[tuple[SpokenItem, int]] = deque()  # whose audio, and the position where it ends
        self._marks: deque[tuple[str, int]] = deque()  # out and not back: name, position
        self._marks_made = 0
        self._sent = 0
        self._unmarked = 0  # bytes sent since the last mark
        self._credited = 0  # position up to which items have been told that they were heard
        self._anchor = 0  # a position known to be reached ...
        self._anchor_time = 0.0  # ... at this time
        self._ends_at = 0.0  # by the clock; moved by every piece sent and every mark back
        self._overdue_seconds = overdue_seconds

    @property
    def busy(self) -> bool:
        """Is anything sent that the caller is not known to have heard?"""
        return bool(self._unplayed or self._marks)

    def is_open(self, item_id: str) -> bool:
        return item_id in self._open

    def expected_end(self) -> float:
        """When everything will have been played, if nothing goes wrong. In the past when nothing is unplayed."""
        return self._ends_at

    def deadline(self) -> float | None:
        """When `tick` wants to be called: a mark that is late by this much will not come."""
        return self._ends_at + self._overdue_seconds if self.busy else None

    def receive(self, response_id: str, item_id: str, payload: str, now: float) -> list[PlayAudio | SendMark]:
        """Take audio of an item and return what is to be sent now; nothing for an item that was cut."""
        item = self._item(response_id, item_id, now)
        item.received += audio_bytes(payload)
        if item.cut:
            return []
        if item.complete:  # a server that adds to an item it had called done
            item.complete = False
            self._open[item_id] = item
        return self._send(item, payload, now)

    def refuse(self, response_id: str, item_id: str, payload: str, now: float) -> None:
        """Audio that must not be played: it was on its way when its response was cut."""
        item = self._item(response_id, item_id, now)
        item.received += audio_bytes(payload)
        item.cut = True
        self._open.pop(item_id, None)

    def finish(self, item_id: str, now: float) -> list[PlayAudio | SendMark]:
        """The model has nothing to add to the item. Its end gets a mark of its own, so that it can be waited for."""
        item = self._open.get(item_id)
        if item is None:
            return []
        item.complete = True
        self._close_if_heard(item, now)
        return [self._mark()] if self._unmarked else []

    def finish_response(self, response_id: str, now: float) -> list[PlayAudio | SendMark]:
        ids = [item.item_id for item in self._open.values() if item.response_id == response_id]
        return [command for item_id in ids for command in self.finish(item_id, now)]

    def mark_reached(self, name: str, now: float) -> bool:
        """A mark came back. False if it counts for nothing: it was cleared, given up, or never ours."""
        if all(name != out for out, _ in self._marks):
            return False
        while True:  # marks keep their order: one that comes back vouches for those before it
            out, position = self._marks.popleft()
            if out == name:
                break
        self._credit(position, now)
        self._anchor, self._anchor_time = position, now
        self._ends_at = now + (self._sent - position) / BYTES_PER_SECOND
        return True

    def tick(self, now: float) -> list[PlayAudio | SendMark]:
        """Marks that are overdue are given up: their audio counts as played. A lost mark never keeps a call alive."""
        deadline = self.deadline()
        if deadline is not None and now >= deadline:
            self._credit(self._sent, now)
            self._forget(now)
        return []

    def cut(self, now: float) -> list[SpokenItem]:
        """The rest will not be played. Return the items that lose something by it, in order, with what was heard."""
        self._credit(self._position(now), now)
        self._forget(now)
        lost = list(self._open.values())
        for item in lost:
            item.cut = True
            item.ended = now
        self._open.clear()
        return lost

    def _item(self, response_id: str, item_id: str, now: float) -> SpokenItem:
        item = self.items.get(item_id)
        if item is None:
            item = self.items[item_id] = self._open[item_id] = SpokenItem(item_id, response_id, now, now)
        return item

    def _send(self, item: SpokenItem, payload: str, now: float) -> list[PlayAudio | SendMark]:
        if not self._marks and self._position(now) >= self._sent:
            # Silence at the other end: playback begins anew with this piece.
            self._credit(self._sent, now)
            self._anchor, self._anchor_time = self._sent, now
        self._ends_at = max(self._ends_at, now) + audio_bytes(payload) / BYTES_PER_SECOND
        commands: list[PlayAudio | SendMark] = []
        start = 0
        while start < len(payload):
            room = max(MARK_BYTES - self._unmarked, 3) // 3 * 4
            piece = payload[start : start + room]
            start += room
            size = audio_bytes(piece)
            self._sent += size
            self._unmarked += size
            item.sent += size
            self._unplayed.append((item, self._sent))
            commands.append(PlayAudio(piece))
            if self._unmarked > MARK_BYTES - 3:  # base64 cannot be cut any closer
                commands.append(self._mark())
        return commands

    def _mark(self) -> SendMark:
        self._marks_made += 1
        self._unmarked = 0
        name = f"m{self._marks_made}"
        self._marks.append((name, self._sent))
        return SendMark(name)

    def _position(self, now: float) -> int:
        """How far playback is, at most: by the clock since the last sure point, never past a mark still out."""
        limit = self._marks[0][1] if self._marks else self._sent
        by_clock = self._anchor + int((now - self._anchor_time) * BYTES_PER_SECOND)
        return max(self._credited, min(limit, by_clock))

    def _credit(self, position: int, now: float) -> None:
        while self._unplayed and self._credited < position:
            item, end = self._unplayed[0]
            reached = min(end, position)
            item.heard += reached - self._credited
            item.ended = now
            self._credited = reached
            if reached == end:
                self._unplayed.popleft()
            self._close_if_heard(item, now)

    def _close_if_heard(self, item: SpokenItem, now: float) -> None:
        if item.wholly_heard:
            item.ended = now
            self._open.pop(item.item_id, None)

    def _forget(self, now: float) -> None:
        """Whatever the carrier still holds is of no more interest."""
        self._unplayed.clear()
        self._marks.clear()
        self._unmarked = 0
        self._credited = self._anchor = self._sent
        self._anchor_time = self._ends_at = now
