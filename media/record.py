"""What the record is told of one call: who called whom, each turn, tool and message, and the end, in wall time.

Card numbers are masked here, before anything is handed over: journal, broker, database and logs never have them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from calls import boot, transcripts
from calls.card_numbers import masked, masked_beginning
from media.engine.call import GOES_ON, PUT_THROUGH
from media.engine.commands import FinishCall, Turn


class Recorder(Protocol):
    """The part of calls.recorder.Recorder that a live call uses. Every method answers at once and never raises."""

    def create_call_log(self, *args: Any, **facts: Any) -> None: ...

    def save_conversation_turn(self, *args: Any, **facts: Any) -> None: ...

    def save_tool_use(self, *args: Any, **facts: Any) -> None: ...

    def save_message(self, *args: Any, **facts: Any) -> None: ...

    def save_leg(self, *args: Any, **facts: Any) -> None: ...

    def finalize_call_log(self, *args: Any, **facts: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls whom, as the carrier said it in the signed webhook."""

    account_sid: str
    from_number: str
    to_number: str
    direction: str


@dataclass(slots=True)
class CallRecord:
    """Hands the facts of one call to the recorder. `opened_at` and every `now` are the loop's clock, in seconds.

    `model`: the name of the speech model, which the call's cost depends on; it may be set until the call is finished.
    """

    recorder: Recorder
    call_sid: str
    business_id: int
    agent_version_id: int
    opened_at: float
    stream_number: int = 0
    opened_wall: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: float | None = None
    ended_at: float | None = None
    model_session_id: str = ""
    model: str = ""
    finished: bool = False
    _turns: dict[int, Turn] = field(default_factory=dict, repr=False)
    # As they were handed over, by their ids: the end of the call says them all again.
    _tool_uses: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _messages: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _asked_leg: str = ""  # the key of the one that the caller is to be put through to when the stream ends

    def start(self, caller: Caller, stream_sid: str, now: float) -> None:
        self.started_at = now
        self.recorder.create_call_log(
            call_sid=self.call_sid,
            business_id=self.business_id,
            from_number=caller.from_number,
            to_number=caller.to_number,
            direction=caller.direction,
            stream_sid=stream_sid,
            status="in-progress",
            account_sid=caller.account_sid,
            agent_version_id=self.agent_version_id,
            occurred_at=self._wall(now),
            owner_boot_id=boot.boot_id(),
            stream_number=self.stream_number,
        )

    def save_turn(self, turn: Turn) -> None:
        self._turns[turn.index] = turn
        self.recorder.save_conversation_turn(
            call_sid=self.call_sid, business_id=self.business_id, **self._turn_facts(turn)
        )

    def tool_started(self, tool_call_id: str, name: str, arguments: str, now: float) -> None:
        """The model uses a tool. `arguments`: the JSON text that it wrote."""
        if tool_call_id and tool_call_id not in self._tool_uses:
            self._save_tool_use(
                {
                    "tool_call_id": tool_call_id,
                    "name": name,
                    "arguments": masked(arguments),
                    "output": "",
                    "state": "started",
                    "started_at": self._wall(now),
                    "ended_at": "",
                }
            )

    def tool_finished(self, tool_call_id: str, output: str, state: str, now: float) -> None:
        """A tool that was started has come to an end. `output`: what the model is given; `state`: a value of
        calls.models.ToolState. Also after the call was finished."""
        if use := self._tool_uses.get(tool_call_id):
            self._save_tool_use({**use, "output": masked(output), "state": state, "ended_at": self._wall(now)})

    def save_message(self, key: str, name: str, number: str, text: str, now: float) -> None:
        """The caller left a message; `key` is the tool_call_id of the tool that took it. Each key counts once."""
        if not key or key in self._messages:
            return
        message = {
            "key": key,
            "text": masked(text),
            "caller_name": masked(name),
            "callback_number": masked(number),
            "taken_at": self._wall(now),
        }
        self._messages[key] = message
        self.recorder.save_message(call_sid=self.call_sid, business_id=self.business_id, **message)

    def save_leg(
        self, key: str, kind: str, target_name: str, briefing: str, now: float, *, refused_for: str = ""
    ) -> None:
        """The agent asks for a transfer; `key` is the tool_call_id of the tool. `refused_for`: why it will not be, a
        short code. The latest one counts: a caller is put through to one only."""
        if not refused_for:
            self._give_up_leg(now)
            self._asked_leg = key
        self.recorder.save_leg(
            call_sid=self.call_sid,
            business_id=self.business_id,
            key=key,
            kind=kind,
            target_name=target_name,
            briefing=masked(briefing),
            state="refused" if refused_for else "asked",
            reason=refused_for,
            asked_at=self._wall(now),
        )

    def _give_up_leg(self, now: float) -> None:
        """Of calls.models.LegState: what was asked for is not dialled."""
        if self._asked_leg:
            self.recorder.save_leg(
                call_sid=self.call_sid,
                business_id=self.business_id,
                key=self._asked_leg,
                state="canceled",
                reason="not_put_through",
                ended_at=self._wall(now),
            )
            self._asked_leg = ""

    def stream_ended(self, now: float) -> None:
        """The call ends with its stream, not when the last late transcript is in."""
        if self.ended_at is None:
            self.ended_at = now

    def finish(self, end: FinishCall, now: float) -> None:
        if self.finished:
            return
        self.finished = True
        self.stream_ended(now)
        ended_at = self.ended_at if self.ended_at is not None else now
        turns = [self._turn_facts(turn) for turn in end.turns]
        if end.ended_reason != PUT_THROUGH:
            self._give_up_leg(now)
        for use in self._tool_uses.values():
            if use["state"] == "started":
                use.update(state="abandoned", ended_at=self._wall(now))
        self.recorder.finalize_call_log(
            call_sid=self.call_sid,
            business_id=self.business_id,
            status=end.status,
            duration_seconds=round(ended_at - self.started_at) if self.started_at is not None else 0,
            transcript=transcripts.render(turns),
            recording_url="",
            ended_reason=end.ended_reason,
            turns=turns,
            ended_at=self._wall(ended_at),
            model_session_id=self.model_session_id,
            interruptions=end.counters.get("interruptions", 0),
            stream_number=self.stream_number,
            model=self.model,
            counters=dict(end.counters),
            usage=asdict(end.usage),
            tool_uses=list(self._tool_uses.values()),
            messages=list(self._messages.values()),
        )

    def finish_abruptly(self, ended_reason: str, now: float) -> None:
        """Finish without the engine (it failed, or this task was cancelled), with the turns that were settled."""
        turns = tuple(self._turns[index] for index in sorted(self._turns))
        self.finish(FinishCall(status=GOES_ON, ended_reason=ended_reason, turns=turns, counters={}), now)

    def _save_tool_use(self, use: dict[str, Any]) -> None:
        self._tool_uses[use["tool_call_id"]] = use
        self.recorder.save_tool_use(call_sid=self.call_sid, business_id=self.business_id, **use)

    def _wall(self, at: float) -> str:
        return (self.opened_wall + timedelta(seconds=at - self.opened_at)).isoformat(timespec="milliseconds")

    def _turn_facts(self, turn: Turn) -> dict[str, Any]:
        return {
            "turn_index": turn.index,
            "revision": turn.revision,
            "user_text": masked(turn.user_text),
            "bot_reply": masked(turn.bot_reply),
            "heard_text": masked_beginning(turn.heard_text, turn.bot_reply),
            "generated_ms": turn.generated_ms,
            "heard_ms": turn.heard_ms,
            "reply_ms": turn.reply_ms,
            "reply_heard_ms": turn.reply_heard_ms,
            "interrupted": turn.interrupted,
            "started_at": self._wall(turn.started),
            "ended_at": self._wall(turn.ended),
        }
