"""One answer at a time: which response of the model is running, which were cut, and when another may be asked for.

Asking while the model answers is an error (`conversation_already_has_active_response`), so a wish waits until it is
quiet. A model that answers by itself when the caller has stopped is asked only after a tool has run or keys were
pressed; a caller who is speaking, or has just stopped, gets its own answer then, which includes what it was about.
"""

from enum import Enum

OWN_ANSWER_SECONDS = 2.0  # after the caller has stopped: how long the model's own answer is waited for
MAX_FAILURES = 2  # answers that failed one after another and are asked for again
RETRY_SECONDS = 0.5


class _Asked(Enum):
    NOTHING = 0
    SENTENCE = 1
    ANSWER = 2


class Responses:
    def __init__(self, *, answers_itself: bool) -> None:
        self.active: str | None = None
        self._answers_itself = answers_itself
        self._asked = _Asked.NOTHING  # asked for, and neither begun nor refused
        self._last_asked = _Asked.NOTHING
        self._wanted = False
        self._again = False  # what is wanted was asked for before, and perhaps refused
        self._not_before = 0.0
        self._failures = 0
        self._caller_speaks = False
        self._own_answer_until: float | None = None
        self._cut: set[str] = set()
        self._cut_next = False  # what was asked for is of no use any more
        self._spoke: set[str] = set()

    @property
    def busy(self) -> bool:
        """Is an answer running, on its way, or wanted?"""
        return self.active is not None or self._asked is not _Asked.NOTHING or self._wanted

    @property
    def on_its_way(self) -> bool:
        """Was something asked for that has not begun?"""
        return self._asked is not _Asked.NOTHING

    @property
    def sentence_on_its_way(self) -> bool:
        return self._asked is _Asked.SENTENCE

    @property
    def caller_speaks(self) -> bool:
        return self._caller_speaks

    @property
    def failing(self) -> bool:
        """Did too many answers fail, one after another?"""
        return self._failures > MAX_FAILURES

    def expected(self, now: float) -> bool:
        """Is the caller speaking, or has just stopped, so that an answer will come?"""
        return self._caller_speaks or (self._own_answer_until is not None and now < self._own_answer_until)

    def sentence_asked(self) -> None:
        self._asked = self._last_asked = _Asked.SENTENCE

    def want(self) -> None:
        self._wanted, self._again = True, False

    def may_ask(self, now: float) -> bool:
        """Is an answer wanted, and is now the time to ask? The one who is told so asks; it is counted as done."""
        if not self._wanted or self.active is not None or self._asked is not _Asked.NOTHING or self.expected(now):
            return False
        if now < self._not_before:
            return False
        self._wanted = False
        self._asked = self._last_asked = _Asked.ANSWER
        return True

    def deadline(self, now: float) -> float | None:
        """When a wish need no longer wait: for the model's own answer, or before it is tried again."""
        if not self._wanted:
            return None
        waits = [until for until in (self._own_answer_until, self._not_before) if until is not None and until > now]
        return max(waits, default=None)

    def started(self, response_id: str) -> bool:
        """A response begins. True if it was cut before it began."""
        self.active = response_id
        self._asked = _Asked.NOTHING
        self._own_answer_until = None
        if self._answers_itself or self._again:
            self._wanted = self._again = False  # this one was made from everything sent before
        if self._cut_next:
            self._cut_next = False
            self._cut.add(response_id)
            return True
        return False

    def finished(self, response_id: str, status: str, now: float) -> None:
        if response_id == self.active:
            self.active = None
        if status == "failed" and response_id not in self._cut:
            self._wanted = True
            self._failed(now)
        elif status == "completed":
            self._failures = 0

    def refused(self, now: float, *, answering_already: bool) -> None:
        """The model reported an error; perhaps what was asked for will not come."""
        if answering_already and self.active is not None and self._last_asked is _Asked.ANSWER:
            self.want()  # the running answer was begun without what this wish is about
        elif self._asked is _Asked.ANSWER and not self._wanted:
            self._wanted = self._again = True
            self._failed(now)
        self._asked = _Asked.NOTHING
        self._cut_next = False

    def _failed(self, now: float) -> None:
        self._failures += 1
        self._not_before = now + RETRY_SECONDS * self._failures

    def caller_started(self) -> None:
        self._caller_speaks = True

    def caller_paused(self) -> None:
        """The caller has stopped, and that needs no answer, or not yet."""
        self._caller_speaks = False

    def caller_stopped(self, now: float) -> None:
        """The caller has stopped and is to be answered."""
        self._caller_speaks = False
        if self._answers_itself:
            self._own_answer_until = now + OWN_ANSWER_SECONDS
        else:
            self.want()

    def model_changed(self) -> None:
        """Another session goes on: whatever was asked of the one before will not come. A sentence had its moment."""
        asked = self.active is not None or self._asked is _Asked.ANSWER
        self._wanted = self._wanted or asked or self._own_answer_until is not None
        self.active = None
        self._asked = _Asked.NOTHING
        self._own_answer_until = None
        self._caller_speaks = self._cut_next = self._again = False
        self._failures = 0
        self._not_before = 0.0

    def drop_wish(self) -> None:
        self._wanted = False

    def note_audio(self, response_id: str) -> None:
        self._spoke.add(response_id)

    def spoke(self, response_id: str) -> bool:
        return response_id in self._spoke

    def cut(self, response_id: str) -> None:
        self._cut.add(response_id)

    def cut_next(self) -> None:
        """What was asked for and has not begun is to be cut when it does."""
        self._cut_next = self._asked is not _Asked.NOTHING

    def is_cut(self, response_id: str) -> bool:
        return response_id in self._cut
