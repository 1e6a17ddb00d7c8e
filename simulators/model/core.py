"""What every part of a session shares: the wire, the ledger, ids, waits, and the faults that strike it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

from simulators.model.config import default_session
from simulators.model.conversation import Conversation
from simulators.model.faults import Faults
from simulators.model.ledger import Ledger
from simulators.model.oracle import Refusal
from simulators.model.settings import ModelSettings
from simulators.model.usage import Meter

Event = dict[str, Any]
GARBAGE: tuple[str | bytes, ...] = ('{"type": "response.', "[]", "null", '"text"', "", b"\x00\xff", "{}", '{"type": 7}')


class Timer(Protocol):
    def cancel(self) -> None: ...


class Wire(Protocol):
    """The connection as a session sees it. Nothing blocks; frames leave in order; nothing leaves after a close."""

    def send(self, frame: str | bytes) -> None: ...
    def close(self, code: int, reason: str = "") -> None: ...
    def abort(self) -> None: ...
    def later(self, seconds: float, what: Callable[[], None]) -> Timer: ...


class Core:
    """One per session. `config` is the session object of the wire; `over` means nothing is sent or done any more."""

    def __init__(
        self, settings: ModelSettings, faults: Faults, ledger: Ledger, wire: Wire, model: str, number: int
    ) -> None:
        self.settings, self.faults, self.ledger, self.wire = settings, faults, ledger, wire
        # Two runs with one seed are the same; two sessions of a run are not.
        self.chance = random.Random(None if settings.seed is None else f"{settings.seed}/{number}")
        self.session_id, self.conversation_id = self.new_id("sess"), self.new_id("conv")
        lasts = settings.session_seconds if settings.announced_seconds is None else settings.announced_seconds
        self.config = default_session(self.session_id, model, int(time.time() + lasts))
        self.conversation, self.meter = Conversation(), Meter()
        self.over = self.silent = False

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{self.chance.getrandbits(96):024x}"

    def note(self, kind: str, **fields: Any) -> None:
        self.ledger.add(kind, self.session_id, **fields)

    def keep_audio(self, item_id: str, audio: bytes) -> None:
        """Put the sound of an item, as far as it was generated, beside the ledger."""
        folder = self.settings.audio
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{item_id}.audio").write_bytes(audio)

    def complain(self, code: str, message: str, event_type: str) -> None:
        """The client did something wrong to which the real server would say nothing."""
        self.note("complaint", code=code, message=message, param=None, event_type=event_type)

    def emit(self, event: Event) -> None:
        """Send a server event."""
        if self.over or self.silent:
            return
        if self.faults.has("extra-fields"):
            event = {**event, "x_new": {"list": [1, None, "two"]}, "obfuscation": "abcdefgh"}
        self.wire.send(json.dumps({"event_id": self.new_id("event"), **event}))

    def later(self, seconds: float, what: Callable[[], object]) -> Timer:
        """Do it after a while, unless the session is over by then."""

        def unless_over() -> None:
            if not self.over:
                what()

        return self.wire.later(seconds * self.settings.time_scale, unless_over)

    def after(self, milliseconds: float | None, what: Callable[[], object]) -> None:
        """Now, or later if a fault says so."""
        if milliseconds is None:
            what()
        else:
            self.later(milliseconds / 1000, what)

    def close(self, code: int, reason: str = "") -> None:
        self.over = True
        self.wire.close(code, reason)

    def abort(self) -> None:
        self.over = True
        self.wire.abort()

    def error(self, code: str, message: str) -> None:
        """An error event that answers no client event."""
        self.emit({"type": "error", "error": error_body(Refusal(code, message), None)})

    def mishap(self, response: int) -> None:
        """Faults that strike in the middle of the Nth response."""
        if self.faults.has("unknown-events", response):
            self.emit({"type": "response.mood.updated", "response_id": "resp_unknown", "mood": {"calm": 0.7}})
            self.emit({"type": "conversation.item.annotated", "item_id": "item_unknown", "content_index": 0})
        if self.faults.has("garbage", response):
            for frame in GARBAGE:
                self.wire.send(frame)
        code = self.faults.text("error", "server_error", response)
        if code is not None:
            self.error(code, f"Simulated {code}.")
        status = self.faults.number("close", 1011, response)
        if status is not None:
            self.close(int(status), "simulated")
        if self.faults.has("abort", response):
            self.abort()


def error_body(refusal: Refusal, event_id: str | None) -> dict[str, Any]:
    """The `error` of an error event."""
    kind = "server_error" if refusal.code == "server_error" else "invalid_request_error"
    return {
        "type": kind,
        "code": refusal.code,
        "message": refusal.message,
        "param": refusal.param,
        "event_id": event_id,
    }
