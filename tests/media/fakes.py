"""Stand-ins for what surrounds a bridge. They keep lists of what they were given."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from businesses.snapshots import AgentSnapshot
from media.engine.commands import ModelCommand
from media.engine.config import ModelTraits
from media.engine.events import Event, ModelClosed, ModelReady
from media.realtime.base import ModelSession, ModelUnavailable
from media.record import CallRecord

CALL_SID = "CA" + "1" * 32
ACCOUNT_SID = "AC" + "2" * 32
STREAM_SID = "MZ" + "3" * 32
FRAME = base64.b64encode(b"\xff" * 160).decode()


def frame(number: int) -> str:
    """20 ms of audio that no other number gives, so that order and loss can be seen."""
    return base64.b64encode(number.to_bytes(4, "big") * 40).decode()


def agent(**changes: Any) -> AgentSnapshot:
    facts: dict[str, Any] = {
        "version_id": 7,
        "business_id": 3,
        "business_name": "Harbor Dental",
        "agent_name": "Mara",
        "instructions": "Answer briefly.",
        "greeting": "Harbor Dental, good morning.",
        "voice": "marin",
        "language": "en",
        "model": "",
        "transcription_model": "",
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 500,
        },
        "max_call_seconds": 600,
        "tools": ("end_call",),
    }
    return AgentSnapshot(**{**facts, **changes})


async def eventually(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Return the first true value of `condition`; fail when there is none within `seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (value := condition()):
        if loop.time() > deadline:
            raise AssertionError(f"not within {seconds} s")
        await asyncio.sleep(0.002)
    return value


class ListRecorder:
    """Keeps every fact, in order, as (method, facts). Refuses what would not survive JSON."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, dict[str, Any]]] = []

    def of(self, method: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.facts if name == method]

    def create_call_log(self, **facts: Any) -> None:
        self._keep("create_call_log", facts)

    def save_conversation_turn(self, **facts: Any) -> None:
        self._keep("save_conversation_turn", facts)

    def save_tool_use(self, **facts: Any) -> None:
        self._keep("save_tool_use", facts)

    def save_message(self, **facts: Any) -> None:
        self._keep("save_message", facts)

    def save_leg(self, **facts: Any) -> None:
        self._keep("save_leg", facts)

    def finalize_call_log(self, **facts: Any) -> None:
        self._keep("finalize_call_log", facts)

    def _keep(self, method: str, facts: dict[str, Any]) -> None:
        self.facts.append((method, json.loads(json.dumps(facts))))


class ListCarrier:
    """The carrier's socket; `blocked` makes it take nothing more, `broken` makes it fail."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.blocked = False
        self.broken = False

    def send_now(self, texts: Sequence[bytes]) -> bool:
        return False

    async def send_text(self, text: bytes) -> None:
        if self.broken:
            raise RuntimeError("the socket broke")
        if self.blocked:
            await asyncio.Event().wait()
        self.messages.append(json.loads(text))

    async def close_with(self, code: int) -> None:
        self.close_code = code


class FakeSession:
    """A model's session: `say` events into it, read the commands out of `commands`."""

    def __init__(self) -> None:
        self.commands: list[ModelCommand] = []
        self.closed = False
        self.send_error: Exception | None = None
        self.blocked = False
        self._said: asyncio.Queue[list[Event] | Exception] = asyncio.Queue()

    def say(self, *events: Event) -> None:
        self._said.put_nowait(list(events))

    def break_with(self, error: Exception) -> None:
        self._said.put_nowait(error)

    def of(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]

    async def events(self, at_once: Callable[[list[Event]], None] | None = None) -> AsyncIterator[list[Event]]:
        while True:
            said = await self._said.get()
            if isinstance(said, Exception):
                raise said
            yield said
            if any(isinstance(event, ModelClosed) for event in said):
                return

    def perform_now(self, command: ModelCommand) -> bool:
        return False

    def forward_now(self, payload: str) -> bool:
        return False

    async def perform(self, command: ModelCommand) -> None:
        if self.blocked:
            await asyncio.Event().wait()
        if self.send_error:
            raise self.send_error
        self.commands.append(command)

    async def close(self) -> None:
        self.closed = True


class FakeModel:
    """Opens FakeSessions, each ready at once unless `says_ready` is off, or refuses. `session` is the latest."""

    def traits(self, agent: AgentSnapshot) -> ModelTraits:
        return ModelTraits()

    def __init__(self, refusal: ModelUnavailable | None = None) -> None:
        self.session = FakeSession()
        self.refusal = refusal
        self.says_ready = True
        self.opened = 0

    async def open(self, agent: AgentSnapshot) -> ModelSession:
        self.opened += 1
        if self.refusal:
            raise self.refusal
        if self.opened > 1:
            self.session = FakeSession()
        if self.says_ready:
            self.session.say(ModelReady(f"sess_{self.opened}"))
        return self.session


def record(recorder: ListRecorder, opened_at: float) -> CallRecord:
    return CallRecord(recorder=recorder, call_sid=CALL_SID, business_id=3, agent_version_id=7, opened_at=opened_at)
