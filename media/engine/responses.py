"""One answer at a time: which response of the model is running, which were cut, and when another may be asked for.

Asking while the model answers is an error (`conversation_already_has_active_response`), so a wish waits until it is
quiet. A model that answers by itself when the caller has stopped is asked only after a tool has run or keys were
pressed; a caller who is speaking, or has just stopped, gets its own answer then, which includes what it was about.

What is wished for is either an answer, or a sentence to be said word for word. One whose response fails, or whose
session is lost before it was said, is asked for again as what it was.
"""

from media.engine.commands import Respond, Say

OWN_ANSWER_SECONDS = 2.0  # after the caller has stopped: how long the model's own answer is waited for
MAX_FAILURES = 2  # answers that failed one after another and are asked for again
RETRY_SECONDS = 0.5


class Responses:
    def __init__(self, *, answers_itself: bool) -> None:
        self.active: str | None = None
        self._answers_itself = answers_itself
        self._asked: Say | Respond | None = None  # for, and neither begun nor refused
        self._last_asked: Say | Respond | None = None
        self._active_says: Say | None = None  # the running response is to say this
        self._wanted = False  # an answer
        self._sentence: Say | None = None  # wanted, before any answer
        self._said_again = False  # ... which was asked for before, and perhaps refused
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
        """Is an answer, or a sentence, running, on its way, or wanted?"""
        return self.active is not None or self._asked is not None or self._wanted or self._sentence is not None

    @property
    def on_its_way(self) -> bool:
        """Was something asked for that has not begun?"""
        return self._asked is not None

    @property
    def sentence_owed(self) -> bool:
        """Is a sentence wanted, asked for, or running?"""
        return self._sentence is not None or isinstance(self._asked, Say) or self._active_says is not None

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

    def want(self) -> None:
        self._wanted, self._again = True, False

    def want_said(self, text: str) -> None:
        self._sentence, self._said_again = Say(text), False

    def drop_sentence(self) -> None:
        """Its moment is over."""
        self._sentence = None

    def ask(self, now: float, *, sentences_only: bool = False) -> list[Say | Respond]:
        """What to ask the model for now, if anything; it is counted as asked for."""
        if self.active is not None or self._asked is not None or self.expected(now) or now < self._not_before:
            return []
        if self._sentence is not None:
            self._asked, self._sentence, self._said_again = self._sentence, None, False
        elif self._wanted and not sentences_only:
            self._asked, self._wanted = Respond(), False
        else:
            return []
        self._last_asked = self._asked
        return [self._asked]

    def deadline(self, now: float) -> float | None:
        """When a wish need no longer wait: for the model's own answer, or before it is tried again."""
        if not self._wanted and self._sentence is None:
            return None
        waits = [until for until in (self._own_answer_until, self._not_before) if until is not None and until > now]
        return max(waits, default=None)

    def started(self, response_id: str) -> bool:
        """A response begins. True if it was cut before it began."""
        self.active = response_id
        self._active_says = self._asked if isinstance(self._asked, Say) else None
        self._asked = None
        self._own_answer_until = None
        if self._said_again:
            self._active_says, self._sentence, self._said_again = self._sentence, None, False
        if self._answers_itself or self._again:
            self._wanted = self._again = False  # this one was made from everything sent before
        if self._cut_next:
            self._cut_next = False
            self._cut.add(response_id)
            return True
        return False

    def finished(self, response_id: str, status: str, now: float) -> None:
        says = None
        if response_id == self.active:
            self.active, says, self._active_says = None, self._active_says, None
        if status == "failed" and response_id not in self._cut:
            self._want_again(says)
            self._failed(now)
        elif status == "completed":
            self._failures = 0

    def refused(self, now: float, *, answering_already: bool) -> None:
        """The model reported an error; perhaps what was asked for will not come."""
        if answering_already and self.active is not None and isinstance(self._last_asked, Respond):
            self.want()  # the running answer was begun without what this wish is about
        elif isinstance(self._asked, Say) and not self._cut_next:
            self._said_again = self._sentence is None
            self._want_again(self._asked)
            self._failed(now)
        elif isinstance(self._asked, Respond) and not self._wanted:
            self._wanted = self._again = True
            self._failed(now)
        self._asked = None
        self._cut_next = False

    def _want_again(self, says: Say | None) -> None:
        if says is None:
            self._wanted = True
        elif self._sentence is None:  # else another has taken its place
            self._sentence = says

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
        """Another session goes on: whatever was asked of the one before will not come. A sentence that nobody heard
        any of is said by the next one."""
        says = self._asked if isinstance(self._asked, Say) else self._active_says
        lost = self.active is not None or self._asked is not None
        cut = self._cut_next or self.active in self._cut
        if says is not None and not cut and not self.spoke(self.active or ""):
            self._want_again(says)
        elif lost and not isinstance(self._asked, Say):
            self._wanted = True
        self._wanted = self._wanted or self._own_answer_until is not None
        self.active = None
        self._asked = self._active_says = None
        self._own_answer_until = None
        self._caller_speaks = self._cut_next = self._again = self._said_again = False
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
        self._cut_next = self._asked is not None

    def is_cut(self, response_id: str) -> bool:
        return response_id in self._cut
