"""One answer at a time: which response of the model is running, which were cut, and when another may be asked for.

The model answers a caller by itself. Only after a tool has run, or keys were pressed, must it be asked; asking while it
answers is an error (`conversation_already_has_active_response`), so a wish waits until it is quiet. A caller who is
speaking, or has just stopped, gets the model's own answer, which then includes what the wish was about.
"""

from enum import Enum

OWN_ANSWER_SECONDS = 2.0  # after the caller has stopped: how long the model's own answer is waited for


class _Asked(Enum):
    NOTHING = 0
    GREETING = 1
    ANSWER = 2


class Responses:
    def __init__(self) -> None:
        self.active: str | None = None
        self._asked = _Asked.NOTHING  # asked for, and neither begun nor refused
        self._last_asked = _Asked.NOTHING
        self._wanted = False
        self._caller_speaks = False
        self._own_answer_until: float | None = None
        self._cut: set[str] = set()
        self._spoke: set[str] = set()

    @property
    def busy(self) -> bool:
        """Is an answer running, on its way, or wanted?"""
        return self.active is not None or self._asked is not _Asked.NOTHING or self._wanted

    def expected(self, now: float) -> bool:
        """Is the caller speaking, or has just stopped, so that the model will answer by itself?"""
        return self._caller_speaks or (self._own_answer_until is not None and now < self._own_answer_until)

    def greeting_asked(self) -> None:
        self._asked = self._last_asked = _Asked.GREETING

    def want(self) -> None:
        self._wanted = True

    def may_ask(self, now: float) -> bool:
        """Is an answer wanted, and is now the time to ask? The one who is told so asks; it is counted as done."""
        if not self._wanted or self.active is not None or self._asked is not _Asked.NOTHING or self.expected(now):
            return False
        self._wanted = False
        self._asked = self._last_asked = _Asked.ANSWER
        return True

    def deadline(self, now: float) -> float | None:
        """When a wish need no longer wait for the model's own answer."""
        until = self._own_answer_until
        return until if self._wanted and until is not None and until > now else None

    def started(self, response_id: str) -> None:
        self.active = response_id
        self._asked = _Asked.NOTHING
        self._wanted = False  # this one was made from everything sent before
        self._own_answer_until = None

    def finished(self, response_id: str) -> None:
        if response_id == self.active:
            self.active = None

    def refused(self, *, answering_already: bool) -> None:
        """The model reported an error; perhaps what was asked for will not come."""
        if answering_already and self.active is not None and self._last_asked is _Asked.ANSWER:
            self._wanted = True  # the running answer was begun without what this wish is about
        self._asked = _Asked.NOTHING

    def caller_started(self) -> None:
        self._caller_speaks = True

    def caller_stopped(self, now: float) -> None:
        if self._caller_speaks:
            self._caller_speaks = False
            self._own_answer_until = now + OWN_ANSWER_SECONDS

    def note_audio(self, response_id: str) -> None:
        self._spoke.add(response_id)

    def spoke(self, response_id: str) -> bool:
        return response_id in self._spoke

    def cut(self, response_id: str) -> None:
        self._cut.add(response_id)

    def is_cut(self, response_id: str) -> bool:
        return response_id in self._cut
