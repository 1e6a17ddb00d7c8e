"""What webhooks ask of the process that has the live calls: their own, or the one beside it.

With another one (voiceagent.serving.beside) each question goes through the function that `is_elsewhere` was given, and
an answer that does not come is assumed.

Times are seconds of time.monotonic, which all processes of a machine share.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from businesses.snapshots import AgentSnapshot
from calls import admission, doors, live_calls, model_health
from calls.live_calls import AskedTransfer

logger = logging.getLogger(__name__)

Ask = Callable[[str, Sequence[Any]], Any]  # name and arguments, for JSON; raises OSError when no answer comes

_ask: Ask | None = None


def is_elsewhere(ask: Ask | None) -> None:
    """Another process has the live calls, and is asked by this function. None: this one has them."""
    global _ask
    _ask = ask


def answer(name: str, arguments: Sequence[Any]) -> Any:
    """What another process asks: this one has the calls. Raise KeyError, TypeError: no such question."""
    return _QUESTIONS[name](*arguments)


def admit(
    call_sid: str, business_id: int, now: float, *, max_calls: int | None = None, live_calls: Collection[str] = ()
) -> str:
    """Take a place for the call and return "", or return why there is none (Admission.admit)."""
    return str(_asked("admit", admission.LOOP_LATE, call_sid, business_id, now, max_calls, sorted(live_calls)))


def call_over(call_sid: str) -> None:
    """The carrier says that the call is over: its place is free, and its agent, if it has one, is told."""
    _asked("call_over", None, call_sid)


def ended_reason(call_sid: str, stream_number: int) -> str:
    """How that stream ended; empty when it is not known here."""
    return str(_asked("ended_reason", "", call_sid, stream_number))


def transfer(call_sid: str) -> AskedTransfer | None:
    """Whom the call is to be put through to; None when it is not known here."""
    asked = _asked("transfer", None, call_sid)
    return AskedTransfer(*asked) if asked else None


def may_try(model: str, now: float) -> bool:
    """May a call be given to the model (model_health.Breaker.may_try)?"""
    return bool(_asked("may_try", True, model, now))


def is_refused(model: str) -> bool:
    """Did the model say itself that trying again is useless?"""
    return bool(_asked("is_refused", False, model))


def expect(agent: AgentSnapshot) -> None:
    """A call of this agent is about to come: let its door know the agent, so that it need not look for rows."""
    # 200 kB of sentences in its own voice are not sent again for every call.
    if not doors.remembers(agent) and _asked("expect", False, agent):
        doors.remember(agent)


def _asked(name: str, otherwise: Any, *arguments: Any) -> Any:
    if _ask is None:
        return answer(name, arguments)
    try:
        return _ask(name, arguments)
    except OSError as error:
        logger.error("the process with the calls does not answer", extra={"what": name, "error": type(error).__name__})
        return otherwise


def _admit(call_sid: str, business_id: int, now: float, max_calls: int | None, live_calls: Sequence[str]) -> str:
    return admission.admit(call_sid, business_id, now, max_calls=max_calls, live_calls=live_calls)


def _call_over(call_sid: str) -> None:
    live_calls.notify_completed(call_sid)
    admission.call_over(call_sid)


def _expect(agent: AgentSnapshot | dict[str, Any]) -> bool:
    doors.remember(msgspec.convert(agent, AgentSnapshot))  # from another process it comes as what JSON has
    return True


def _transfer(call_sid: str) -> tuple[str, int] | None:
    asked = live_calls.transfer(call_sid)
    return (asked.key, asked.target_id) if asked is not None else None


_QUESTIONS: dict[str, Callable[..., Any]] = {
    "admit": _admit,
    "call_over": _call_over,
    "ended_reason": lambda call_sid, number: live_calls.ended_reason(call_sid, number),
    "transfer": _transfer,
    "may_try": lambda model, now: model_health.may_try(model, now),
    "is_refused": lambda model: model_health.is_refused(model),
    "expect": _expect,
}
