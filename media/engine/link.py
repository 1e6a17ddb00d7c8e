"""The model's session over the life of a call: opened, renewed before it expires, replaced when it is lost.

A fresh session takes over at once when there is no other, else in a pause, so that nobody hears it. One that cannot be
opened is tried again, unless that is useless, until the call has been without a model for too long.
"""

from media.engine.commands import Command, OpenModel, SwitchModel
from media.engine.config import CallConfig
from media.engine.deadlines import Deadline, Deadlines

RETRY_SECONDS = 0.3  # doubled with each try
AGAIN_SECONDS = 30.0  # after a renewal that failed while the session goes on
MAX_LOSSES = 2  # sessions lost one after another, with no answer between: the next would be as well
MARGIN_OF_LIFE = 0.25  # of a session that lives shortly: how much of its time is left for a pause to come


class ModelLink:
    def __init__(self, config: CallConfig, deadlines: Deadlines, now: float) -> None:
        self.up = False  # a session carries the conversation
        self.refused = False  # trying again is useless
        self.given_up = False  # ... and is not done any more
        self._fresh = False  # one is ready to take over
        self.opening = True  # one is asked for, and neither ready nor refused
        self._expires_at: float | None = None
        self._tries = 0
        self._losses = 0
        self._config = config
        self._deadlines = deadlines
        deadlines.set(Deadline.MODEL_READY, now + config.model_timeout_seconds)

    @property
    def worn_out(self) -> bool:
        """Were so many sessions lost without one answer that it is of no use to open another?"""
        return self._losses > MAX_LOSSES

    def answered(self) -> None:
        """The model gave an answer: it works."""
        self._losses = 0

    def ready(self, expires_at: float | None) -> None:
        """A fresh session can take over."""
        self.opening, self._fresh, self._expires_at = False, True, expires_at
        self._deadlines.drop(Deadline.MODEL_RETRY)

    def may_switch(self, *, pause: bool) -> bool:
        return self._fresh and (pause or not self.up)

    def switch(self, now: float) -> list[Command]:
        self.up, self._fresh, self._tries = True, False, 0
        self._deadlines.drop(Deadline.MODEL_READY)
        self._deadlines.set(Deadline.RENEWAL, self._renewal(now))
        return [SwitchModel()]

    def lost(self, *, fresh: bool, permanent: bool, now: float) -> list[Command]:
        """A session is gone: the one that carries the conversation, or (`fresh`) one that was to."""
        if fresh:
            self.opening = self._fresh = False
            if self.up:
                self._deadlines.set(Deadline.RENEWAL, now + AGAIN_SECONDS)
            else:
                self.refused = permanent
                self._deadlines.set(Deadline.MODEL_RETRY, now + RETRY_SECONDS * 2**self._tries)
                self._tries += 1
            return []
        self.refused = permanent
        return self.replace(now)

    def replace(self, now: float) -> list[Command]:
        """The session is of no more use: another one, now."""
        if self.up:
            self.up = False
            self._losses += 1
            self._deadlines.drop(Deadline.RENEWAL)
            self._deadlines.set(Deadline.MODEL_READY, now + self._config.model_timeout_seconds)
        return [] if self._fresh or self.opening else self._open(replace=True)

    def retry(self) -> list[Command]:
        return [] if self._fresh or self.opening else self._open(replace=not self.up)

    def renew(self) -> list[Command]:
        """The session expires before long: have another one ready."""
        return [] if self._fresh or self.opening else self._open(replace=False)

    def give_up(self) -> None:
        self.up = self.opening = self._fresh = False
        self.given_up = True
        for name in (Deadline.MODEL_READY, Deadline.MODEL_RETRY, Deadline.RENEWAL):
            self._deadlines.drop(name)

    def _open(self, *, replace: bool) -> list[Command]:
        self.opening = True
        return [OpenModel(replace)]

    def _renewal(self, now: float) -> float | None:
        if self._expires_at is None:
            return None
        life = max(0.0, self._expires_at - now)
        return self._expires_at - min(self._config.session_margin_seconds, life * MARGIN_OF_LIFE)
