"""What the caller has heard: the carrier's playback, kept in books.

The model speaks faster than real time and the carrier plays at exactly 8,000 bytes a second. So audio is sent a little
ahead of playback only, by absolute times, in whole frames; what was sent and not yet played is kept, because a caller
who only coughed is to hear it after all. A mark behind every 180 ms of audio comes back when all before it has been
played: heard is what was sent less what is still unplayed.

How far playback is at this moment is told by the clock: the carrier plays without a pause from where a stretch of audio
began until it runs dry. How long after us it began is told by the marks, of which some come back late: the promptest of
the last ten counts. Past a mark that should have come back the clock goes on for a quarter of a second only.

After a `clear` the carrier returns *all* pending marks at once (Twilio, Media Streams messages): they say nothing
about hearing. So a clear forgets the marks that are out, and a mark nobody remembers counts for nothing.

All audio goes through `receive` and comes out of it, of `tick` or of `resume` as commands; positions are bytes of the
carrier's line since the beginning of the call. What a clear threw away has not been on the line.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from media.engine.commands import PlayAudio, SendMark

BYTES_PER_SECOND = 8000
BYTES_PER_MS = 8
FRAME_BYTES = 160  # 20 ms: what the carrier deals in
MARK_BYTES = 9 * FRAME_BYTES  # 180 ms
SILENCE = b"\xff"
LATELY_BYTES = 24_000  # of what was heard: 3 s, to know the agent's own echo by
AHEAD_BYTES = 8 * FRAME_BYTES
REFILL_SECONDS = 0.18  # ... and this much is played before more is sent: two pieces at a time cost little more than one
DRY_SECONDS = 0.03  # shorter gaps between two pieces are the timer's
MARKS_TOLD_BY = 10
MARKS_TO_TELL = 3  # fewer may all be late
LIKELY_LATENCY_SECONDS = 0.06
LATE_MARK_SECONDS = 0.25  # a mark may be this late before the carrier is believed to have stopped playing
STALL_SECONDS = 0.1  # after what was sent has ended: an item that has not, by then, is in no hurry


@dataclass(slots=True)
class SpokenItem:
    """One piece of the agent's speech. Sizes in bytes of mu-law, times in seconds of the engine's clock."""

    item_id: str
    response_id: str  # empty: audio of our own
    started: float
    ended: float
    received: int = 0  # what the model generated, played or not
    sent: int = 0  # less what was cleared
    heard: int = 0
    complete: bool = False  # the model has nothing to add
    cut: bool = False  # the rest will never be played
    protected: int = 0  # of it, from its beginning: plays on whoever speaks
    first_sent: float | None = None
    first_heard: float | None = None

    @property
    def received_ms(self) -> int:
        return self.received // BYTES_PER_MS

    @property
    def heard_ms(self) -> int:
        return self.heard // BYTES_PER_MS

    @property
    def wholly_heard(self) -> bool:
        return self.complete and self.heard == self.received


@dataclass(slots=True)
class _Piece:
    item: SpokenItem
    audio: bytearray


class Playback:
    """The books of one call's outgoing audio. `ahead_seconds`: how far what is sent may run ahead of what is heard."""

    def __init__(self, overdue_seconds: float, ahead_seconds: float = 2.0) -> None:
        self.items: dict[str, SpokenItem] = {}
        self.underruns = 0  # the line ran dry in the middle of an item
        self.underrun_seconds = 0.0
        self._open: dict[str, SpokenItem] = {}  # neither wholly heard nor cut, in order
        self._waiting: deque[_Piece] = deque()  # received, and to be sent
        self._held = False  # nothing is sent until it is known whether the caller interrupts
        self._unplayed: deque[tuple[_Piece, int]] = deque()  # sent, and the position where it ends
        self._marks: deque[tuple[str, int]] = deque()  # out and not back: name, position
        self._marks_made = 0
        self._sent = 0
        self._unmarked = 0  # bytes sent since the last mark
        self._credited = 0  # position up to which items have been told that they were heard
        self._anchor = 0  # the position where the present stretch of audio begins ...
        self._anchor_time = 0.0  # ... and when, if the carrier plays it as soon as it is sent
        self._proven = 0  # the position of the last mark that came back
        self._lateness: deque[float] = deque(maxlen=MARKS_TOLD_BY)  # of marks, beside that
        self._latency = 0.0  # from sending something to knowing that it was heard, at best: seconds
        self._lately: deque[tuple[float, bytes, bool]] = deque()  # heard, when it ended, without a pause after the last
        self._lately_bytes = 0
        self._noted = -1  # the stretch (its anchor) that the last of these belongs to
        self._cleared = (0.0, b"")  # when, and what would have come next
        self._overdue_seconds = overdue_seconds
        self._ahead_seconds = ahead_seconds
        self._refill_seconds = min(REFILL_SECONDS, ahead_seconds / 4)

    @property
    def busy(self) -> bool:
        """Is there anything to be heard that the caller is not known to have heard?"""
        return bool(self._unplayed or self._marks or self._waiting)

    @property
    def on_the_line(self) -> bool:
        """Does the carrier hold anything that a clear would take from it?"""
        return bool(self._unplayed or self._marks)

    @property
    def model_speaks(self) -> bool:
        """Is what is to be heard the model's, and not only our own?"""
        waiting = self._waiting if self._can_send() else ()  # part of a frame is no speech: more of it must come
        return any(piece.item.response_id for piece in waiting) or any(
            piece.item.response_id for piece, _ in self._unplayed
        )

    @property
    def waiting_seconds(self) -> float:
        """Of audio that was received and is not sent."""
        return sum(len(piece.audio) for piece in self._waiting) / BYTES_PER_SECOND

    @property
    def has_open_ends(self) -> bool:
        """Is the model in the middle of an item?"""
        return any(not item.complete for item in self._open.values())

    @property
    def unfinished(self) -> int:
        """How many items are neither cut nor heard to their ends."""
        return len(self._open)

    def is_cut(self, item_id: str) -> bool:
        return self.items[item_id].cut

    def overdue(self, now: float) -> bool:
        return not self._held and self.on_the_line and now >= self._ends_at + self._overdue_seconds

    def is_protected(self, now: float) -> bool:
        """Is what plays now something that nobody may stop?"""
        self._credit(self._position(now), now)
        item = self._unplayed[0][0].item if self._unplayed else None
        return item is not None and item.heard < item.protected

    def deadline(self) -> float | None:
        """When `tick` wants to be called: to send more, to mark how far an item came that stalls, or because a mark
        that is late by this much will not come."""
        if self._held:
            return None
        if self._can_send() and self._keeps_up:
            return self._runs_dry_at - self._ahead_seconds + self._refill_seconds
        if not self.on_the_line:
            return None
        return self._ends_at + (STALL_SECONDS if self._unmarked else self._overdue_seconds)

    def all_played_by(self) -> float | None:
        """When all that is there will have been played, or given up; None: there is nothing."""
        if not self.busy:
            return None
        return self._ends_at + self.waiting_seconds + self._overdue_seconds

    def receive(
        self, response_id: str, item_id: str, audio: bytes, now: float, protected: int = 0
    ) -> list[PlayAudio | SendMark]:
        """Take audio of an item and return what is to be sent now; nothing for an item that was cut."""
        item = self._item(response_id, item_id, now)
        item.protected = max(item.protected, protected)
        item.received += len(audio)
        if item.cut:
            return []
        if item.complete:  # a server that adds to an item it had called done
            item.complete = False
            self._open[item_id] = item
        if self._waiting and self._waiting[-1].item is item:
            self._waiting[-1].audio += audio
        else:
            self._waiting.append(_Piece(item, bytearray(audio)))
        return self._pump(now)

    def refuse(self, response_id: str, item_id: str, audio: bytes, now: float) -> None:
        """Audio that must not be played: it was on its way when its response was cut."""
        item = self._item(response_id, item_id, now)
        item.received += len(audio)
        item.cut = True
        self._open.pop(item_id, None)

    def finish(self, item_id: str, now: float) -> list[PlayAudio | SendMark]:
        """The model has nothing to add to the item. Its end gets a mark of its own, so that it can be waited for."""
        item = self._open.get(item_id)
        if item is None or item.complete:
            return []
        item.complete = True
        self._close_if_heard(item, now)
        return self._pump(now) + self._mark_the_end()

    def finish_response(self, response_id: str, now: float) -> list[PlayAudio | SendMark]:
        ids = [item.item_id for item in self._open.values() if item.response_id == response_id]
        return [command for item_id in ids for command in self.finish(item_id, now)]

    def finish_all(self, now: float) -> list[PlayAudio | SendMark]:
        """Nothing will be added to anything: the model is gone. What was received is still played."""
        return [command for item_id in list(self._open) for command in self.finish(item_id, now)]

    def mark_reached(self, name: str, now: float) -> bool:
        """A mark came back. False if it counts for nothing: it was cleared, given up, or never ours."""
        if not self._marks or (name != self._marks[0][0] and all(name != out for out, _ in self._marks)):
            return False
        while True:  # marks keep their order: one that comes back vouches for those before it
            out, position = self._marks.popleft()
            if out == name:
                break
        self._credit(position, now)
        self._proven = position
        if position > self._anchor:
            late = now - self._anchor_time - (position - self._anchor) / BYTES_PER_SECOND
            self._anchor_time += min(0.0, late)  # what is proven is never too early
            self._lateness.append(max(0.0, late))
            latency = min(self._lateness)
            few = len(self._lateness) < MARKS_TO_TELL
            self._latency = min(latency, LIKELY_LATENCY_SECONDS) if few else latency
        return True

    def tick(self, now: float) -> list[PlayAudio | SendMark]:
        """Send what is due. Marks that are overdue are given up: their audio counts as played. A lost mark never keeps
        a call alive."""
        if self.overdue(now):
            self._credit(self._sent, now)
            self._forget(now)
        commands = self._pump(now) + self._mark_the_end()
        if self._unmarked and self.on_the_line and now >= self._ends_at + STALL_SECONDS:
            commands.append(self._mark())
        return commands

    def hold(self, now: float) -> None:
        """The line is being cleared: what the caller has not heard of it goes back, to be sent by `resume` or thrown
        away by `cut`. Until then nothing is sent."""
        self._credit(self._position(now), now)
        self._cleared = now, b"".join(bytes(piece.audio) for piece, _ in self._unplayed)[:AHEAD_BYTES]
        for piece, _ in reversed(self._unplayed):
            piece.item.sent -= len(piece.audio)
            self._sent -= len(piece.audio)
            if self._waiting and self._waiting[0].item is piece.item:
                self._waiting[0].audio[:0] = piece.audio
            else:
                self._waiting.appendleft(piece)
        self._forget(now)
        self._held = True

    def resume(self, now: float) -> list[PlayAudio | SendMark]:
        """Go on from where the caller left off hearing."""
        self._held = False
        self._anchor_time = now - self._latency
        return self._pump(now) + self._mark_the_end()

    def cut(self, now: float) -> list[SpokenItem]:
        """The rest will not be played. Return the items that lose something by it, in order, with what was heard."""
        self.hold(now)
        self._held = False
        self._waiting.clear()
        lost = list(self._open.values())
        for item in lost:
            item.cut = True
            item.ended = now
        self._open.clear()
        return lost

    def heard_lately(self, now: float, unsure: Sequence[int] = (0,)) -> list[bytes]:
        """The last 3 seconds of the line, with silence where nothing played; none if nothing did. To a bit further
        than now (AHEAD_BYTES): what we know of playback comes with a delay. For the same reason so many bytes of what
        was last cleared may have been heard all the same: one line for each of `unsure` that makes a difference."""
        self._credit(self._position(now), now)
        if not self._lately or self._lately[-1][0] < now - LATELY_BYTES / BYTES_PER_SECOND:
            return []
        line = self._line_until(now, LATELY_BYTES - AHEAD_BYTES)
        coming = b"".join(bytes(piece.audio) for piece, _ in self._unplayed)[:AHEAD_BYTES]
        line += coming + SILENCE * (AHEAD_BYTES - len(coming))
        lines = [bytes(line)]
        heard_until = self._lately[-1][0]
        cleared_at, cleared = self._cleared
        place = LATELY_BYTES - AHEAD_BYTES - round((now - cleared_at) * BYTES_PER_SECOND)
        for size in unsure:
            if size and heard_until <= cleared_at and 0 <= place <= LATELY_BYTES - AHEAD_BYTES - size:
                line[place : place + len(cleared[:size])] = cleared[:size]
                lines.append(bytes(line))
        return lines

    def _line_until(self, now: float, size: int) -> bytearray:
        """The last so many bytes of the line before now. A stretch of audio was played without a pause, whatever we
        thought at the time: what was last known of when it played holds for all of it."""
        pieces: list[bytes] = []
        at, goes_on, left = now, False, size
        for ended, audio, continues in reversed(self._lately):
            gap = 0 if goes_on else max(0, round((at - ended) * BYTES_PER_SECOND))
            pieces += (SILENCE * min(gap, left), audio)
            left -= gap + len(audio)
            if left <= 0:
                break
            at, goes_on = at - (gap + len(audio)) / BYTES_PER_SECOND, continues
        line = bytearray(SILENCE * max(0, left))
        for piece in reversed(pieces):
            line += piece
        return line[-size:]

    # --- Sending ---------------------------------------------------------------------------------------------

    def _item(self, response_id: str, item_id: str, now: float) -> SpokenItem:
        item = self.items.get(item_id)
        if item is None:
            item = self.items[item_id] = self._open[item_id] = SpokenItem(item_id, response_id, now, now)
        return item

    def _can_send(self) -> bool:
        """Is there a whole frame, or the end of an item?"""
        return bool(self._waiting) and (
            len(self._waiting) > 1 or self._waiting[0].item.complete or len(self._waiting[0].audio) >= FRAME_BYTES
        )

    def _pump(self, now: float) -> list[PlayAudio | SendMark]:
        commands: list[PlayAudio | SendMark] = []
        while not self._held and self._can_send() and self._keeps_up and now >= self._runs_dry_at - self._ahead_seconds:
            commands += self._send(now)
        return commands

    def _send(self, now: float) -> Iterator[PlayAudio | SendMark]:
        """The next piece: up to where a mark is due, or the item ends; else whole frames."""
        piece = self._waiting[0]
        size = min(len(piece.audio), MARK_BYTES - self._unmarked)
        if size == len(piece.audio) and not piece.item.complete and len(self._waiting) == 1:
            size -= size % FRAME_BYTES
        audio = bytes(piece.audio[:size])
        del piece.audio[:size]
        if not piece.audio:
            self._waiting.popleft()
        self._begin_or_continue(piece.item, now)
        self._sent += size
        self._unmarked += size
        piece.item.sent += size
        self._unplayed.append((_Piece(piece.item, bytearray(audio)), self._sent))
        yield PlayAudio(audio)
        if self._unmarked >= MARK_BYTES:
            yield self._mark()

    def _begin_or_continue(self, item: SpokenItem, now: float) -> None:
        dry_seconds = now - self._runs_dry_at
        if dry_seconds >= 0:
            # Silence at the other end: playback begins anew with this piece.
            self._anchor, self._anchor_time = self._sent, now
        if item.first_sent is None:
            item.first_sent = now
        elif dry_seconds > DRY_SECONDS:
            self.underruns += 1
            self.underrun_seconds += dry_seconds

    def _mark_the_end(self) -> list[PlayAudio | SendMark]:
        """A mark for the end of what is on the line, if all of it is sent and complete."""
        if self._unmarked and not self._waiting and self._unplayed and self._unplayed[-1][0].item.complete:
            return [self._mark()]
        return []

    def _mark(self) -> SendMark:
        self._marks_made += 1
        self._unmarked = 0
        name = f"m{self._marks_made}"
        self._marks.append((name, self._sent))
        return SendMark(name)

    @property
    def _keeps_up(self) -> bool:
        """Does the carrier play what it is sent? One that stands still is sent no more until its marks come back."""
        allowed = self._ahead_seconds + self._latency + LATE_MARK_SECONDS
        return self._sent - self._proven <= allowed * BYTES_PER_SECOND

    @property
    def _runs_dry_at(self) -> float:
        """When the carrier has nothing left to play, if it had what was sent at once."""
        return self._anchor_time + (self._sent - self._anchor) / BYTES_PER_SECOND

    @property
    def _ends_at(self) -> float:
        """When the end of what was sent should be known to have been heard."""
        return self._runs_dry_at + self._latency

    # --- Hearing ---------------------------------------------------------------------------------------------

    def _position(self, now: float) -> int:
        """How far playback is: by the clock, but not much further than a mark that is still out."""
        late = int(LATE_MARK_SECONDS * BYTES_PER_SECOND)
        limit = min(self._sent, self._marks[0][1] + late) if self._marks else self._sent
        by_clock = self._anchor + int((now - self._anchor_time - self._latency) * BYTES_PER_SECOND)
        return max(self._credited, min(limit, by_clock))

    def _credit(self, position: int, now: float) -> None:
        while self._unplayed and self._credited < position:
            piece, end = self._unplayed[0]
            item, reached = piece.item, min(end, position)
            size = reached - self._credited
            ended = self._played_at(reached, now)
            if item.first_heard is None:
                item.first_heard = ended - size / BYTES_PER_SECOND
            item.heard += size
            item.ended = now
            self._note_heard(bytes(piece.audio[:size]), ended)
            del piece.audio[:size]
            self._credited = reached
            if reached == end:
                self._unplayed.popleft()
            self._close_if_heard(item, now)

    def _played_at(self, position: int, now: float) -> float:
        """When playback was there, by the clock: a mark that comes back late says nothing of it."""
        if position < self._anchor:
            return now
        return min(now, self._anchor_time + self._latency + (position - self._anchor) / BYTES_PER_SECOND)

    def _note_heard(self, audio: bytes, ended: float) -> None:
        self._lately.append((ended, audio, self._noted == self._anchor))
        self._noted = self._anchor
        self._lately_bytes += len(audio)
        while self._lately_bytes > LATELY_BYTES + MARK_BYTES:
            self._lately_bytes -= len(self._lately.popleft()[1])

    def _close_if_heard(self, item: SpokenItem, now: float) -> None:
        if item.wholly_heard:
            item.ended = now
            self._open.pop(item.item_id, None)

    def _forget(self, now: float) -> None:
        """The carrier holds nothing any more that is of interest."""
        self._unplayed.clear()
        self._marks.clear()
        self._unmarked = 0
        self._credited = self._anchor = self._proven = self._sent
        self._anchor_time = now - self._latency
