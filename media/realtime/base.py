"""The port every speech model is reached through. Shaped so that GPT-Live fits (protocols, gpt-live §18)."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from businesses.snapshots import AgentSnapshot
from media.engine.commands import ModelCommand
from media.engine.config import ModelTraits
from media.engine.events import Event


class ModelUnavailable(Exception):
    """The model cannot be reached or refuses us. `code` is short, safe to log; `permanent`: trying again is useless."""

    def __init__(self, code: str, *, permanent: bool) -> None:
        super().__init__(code)
        self.code = code
        self.permanent = permanent


class ModelSession(Protocol):
    """One open conversation with a speech model."""

    def events(self, at_once: Callable[[list[Event]], None] | None = None) -> AsyncIterator[list[Event]]:
        """Yield what the model says, a list for each message, until the session is over; the last is ModelClosed.

        With `at_once`, which must not raise, what the model says may go there instead, with no task in between, and
        only the end is sure to be yielded."""

    def perform_now(self, command: ModelCommand) -> bool:
        """Send one command before this returns; False, and nothing is sent, if that cannot be (a slow or a closed
        socket, a command that takes time): then `perform` is the way."""

    def forward_now(self, payload: str) -> bool:
        """`perform_now` of ForwardAudio, for 50 times a second."""

    async def perform(self, command: ModelCommand) -> None:
        """Send one command. Raise ModelUnavailable when the socket is gone."""

    async def close(self) -> None:
        """End the session; bounded, and harmless when it is over already."""


class SpeechModel(Protocol):
    """A way to open sessions."""

    def traits(self, agent: AgentSnapshot) -> ModelTraits:
        """What a session of this agent can do; known before it is open, because a call starts before."""

    async def open(self, agent: AgentSnapshot) -> ModelSession:
        """Connect and send the configuration; ModelReady comes as an event. Raise ModelUnavailable."""
