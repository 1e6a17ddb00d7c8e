"""A call as it is read: its turns with their times, and of each answer what was heard and what was cut off. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Protocol

from businesses.local_time import time_of_day
from calls import streams
from calls.figures import seconds


class Turn(Protocol):
    """What of a ConversationTurn is read here."""

    turn_index: int
    user_text: str
    bot_reply: str
    heard_text: str
    generated_ms: int
    heard_ms: int
    reply_ms: int | None
    reply_heard_ms: int | None
    interrupted: bool
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn to be shown. Texts are as stored, unescaped; an empty note means there is nothing to remark."""

    index: int
    number: int  # as people count: on over all streams of the call
    is_first_of_stream: bool
    resumes: bool  # it begins a further stream of the call
    came_back: bool  # ... because nobody was reached to whom the caller was to be put through
    missing_before: int  # turns that should stand before this one and are not here
    clock: str  # time of day in the business's zone, or empty
    offset: str  # since the start of the call, m:ss, or empty
    answered: str  # how long the caller waited for the answer, or empty
    caller: str
    caller_note: str
    heard: str
    unheard: str
    agent_note: str
    interruption: str

    @property
    def is_greeting(self) -> bool:
        return self.is_first_of_stream and not self.caller


def read(
    turns: Iterable[Turn],
    started_at: datetime | None,
    zone: tzinfo,
    told: Mapping[int, int] | None = None,
    put_through: Collection[int] = (),
) -> Iterator[TurnView]:
    """Yield a view of each turn, in the order of their indices. Times are shown in `zone`; offsets count from
    `started_at`. `told`: how many turns each stream of the call said it had, as far as it did; `put_through`: those
    that were closed for a transfer."""
    told = told or {}
    stream = expected = before = 0
    for turn in turns:
        here, place = streams.stream_of(turn.turn_index), streams.place_in_stream(turn.turn_index)
        missing, resumes = 0, here != stream
        if resumes:
            had = max(expected, told.get(stream, 0))
            missing = had - expected
            before, stream, expected = before + had, here, 0
        heard, unheard = heard_and_unheard(turn)
        yield TurnView(
            index=turn.turn_index,
            number=before + place,
            is_first_of_stream=place == 0,
            resumes=resumes,
            came_back=resumes and here - 1 in put_through,
            missing_before=missing + max(place - expected, 0),
            clock=time_of_day(turn.started_at, zone),
            offset=offset(turn.started_at, started_at),
            answered=_answered(turn),
            caller=turn.user_text.strip(),
            caller_note=_caller_note(turn),
            heard=heard,
            unheard=unheard,
            agent_note=_agent_note(turn),
            interruption=_interruption(turn),
        )
        expected = place + 1


def heard_and_unheard(turn: Turn) -> tuple[str, str]:
    """Split an answer where the caller cut in. `heard_text` may differ from it in spaces only."""
    reply = turn.bot_reply.strip()
    if not turn.interrupted:
        return reply or turn.heard_text.strip(), ""
    words = [re.escape(word) for word in turn.heard_text.split()]
    if not words:
        return ("", reply) if turn.heard_ms == 0 else (reply, "")
    beginning = re.match(r"\s+".join(words), reply)
    if beginning is None:  # the two were written down differently: what was heard counts
        return turn.heard_text.strip(), ""
    return beginning.group(), reply[beginning.end() :].strip()


def minutes(seconds: int | float | None) -> str:
    """Write a length of time as m:ss, or h:mm:ss from an hour on; a hyphen for none."""
    if seconds is None:
        return "-"
    whole = max(int(seconds), 0)
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"
    return f"{rest // 60}:{rest % 60:02}"


def offset(moment: datetime | None, start: datetime | None) -> str:
    """How far into the call a moment is, as m:ss; empty when that is not known."""
    if moment is None or start is None:
        return ""
    return minutes((moment - start).total_seconds())


def _answered(turn: Turn) -> str:
    """From the end of what the caller said, which only we know of, to the answer's first sound at either end."""
    sent = "" if turn.reply_ms is None else f"answered after {seconds(turn.reply_ms)}"
    heard = "" if turn.reply_heard_ms is None else f"heard after {seconds(turn.reply_heard_ms)}"
    return ", ".join(said for said in (sent, heard) if said)


def _caller_note(turn: Turn) -> str:
    if turn.user_text.strip() or streams.place_in_stream(turn.turn_index) == 0:
        return ""
    return "No transcript of what the caller said."


def _agent_note(turn: Turn) -> str:
    if turn.bot_reply.strip() or turn.heard_text.strip():
        if turn.interrupted and turn.heard_ms and not turn.heard_text.strip():
            return "It is not known which words of this were heard."
        return ""
    if turn.generated_ms:
        return f"The agent spoke for {seconds(turn.generated_ms)}, but there is no transcript of it."
    return "The agent did not answer."


def _interruption(turn: Turn) -> str:
    if not turn.interrupted:
        return ""
    if not turn.generated_ms:
        return "Interrupted."
    if not turn.heard_ms:
        return f"Interrupted before any of its {seconds(turn.generated_ms)} was heard."
    return f"Interrupted after {seconds(turn.heard_ms)} of {seconds(turn.generated_ms)}."
