"""What was said in a call so far, for a process that goes on with it after its stream was lost.

Two places know: the rows, and the journals of this machine, which have what the rows do not have yet; also those of
processes that were killed a moment ago, or that still hold the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calls.journal import files, kinds, records
from calls.models import ConversationTurn

MAX_TURNS = 40  # the latest; a model that is told more forgets the beginning by itself


@dataclass(frozen=True, slots=True)
class PastTurn:
    """One turn as its caller knows it: of a cut answer only what was heard."""

    turn_index: int
    revision: int
    user_text: str
    heard_text: str


def from_rows(call_sid: str, business_id: int) -> list[PastTurn]:
    """Raise django.db.Error."""
    rows = ConversationTurn.objects.filter(call__call_sid=call_sid, call__business_id=business_id)
    fields = ("turn_index", "revision", "user_text", "bot_reply", "heard_text", "interrupted")
    return [_past(turn) for turn in rows.order_by("-turn_index").values(*fields)[:MAX_TURNS]]


def from_journals(directory: Path, call_sid: str, business_id: int) -> list[PastTurn]:
    """Raise OSError. Files are only read: whose they are does not matter, and a torn end is passed over."""
    mine = f"{files.name_for(call_sid)}."
    found: list[PastTurn] = []
    for path in files.paths(directory):
        if path.name.startswith(mine):
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # replayed meanwhile: the rows have it
                continue
            found += _turns(data, call_sid, business_id)
    return found


def merged(*sources: Iterable[PastTurn]) -> list[PastTurn]:
    """The turns in their order, each once, in its latest revision."""
    newest: dict[int, PastTurn] = {}
    for turn in (turn for source in sources for turn in source):
        old = newest.get(turn.turn_index)
        if old is None or old.revision < turn.revision:
            newest[turn.turn_index] = turn
    return [newest[index] for index in sorted(newest)][-MAX_TURNS:]


def _turns(data: bytes, call_sid: str, business_id: int) -> list[PastTurn]:
    found: list[PastTurn] = []
    for piece in records.pieces(data):
        record = piece.record
        if record is None or record.kind not in (kinds.TURN, kinds.FINALIZE):
            continue
        arguments = record.arguments
        if (arguments.get("call_sid"), arguments.get("business_id")) == (call_sid, business_id):
            found += [_past(turn) for turn in arguments.get("turns", [arguments])]
    return found


def _past(turn: Mapping[str, Any]) -> PastTurn:
    said = turn.get("heard_text", "") if turn.get("interrupted") else turn["bot_reply"]
    return PastTurn(turn["turn_index"], turn.get("revision", 0), turn["user_text"].strip(), str(said).strip())
