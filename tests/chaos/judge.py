"""What should be in the database against what is: pure, so that its own tests can show that it sees every fault.

What should be there comes from ledgers that the product never touches: the simulated carrier's and the simulated
model's, or the file of the facts load. What is there is read with plain SQL (tests/chaos/database.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

TERMINAL = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said. `promised` False: the process was killed before it could be written down; it may be missing.

    `or_else`: what may stand in its place: the process was killed while it handed over a correction.
    """

    user_text: str
    bot_reply: str
    promised: bool = True
    or_else: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """One call by the ledgers. `business_id` 0: not known. `whole`: no part of it was killed, so it must be complete.

    `exact`: every turn stands at its index; else (several streams of one call, each with a block of indices of its own)
    the order of the indices counts.
    """

    call_sid: str
    business_id: int
    turns: Mapping[int, Turn]
    whole: bool = True
    exact: bool = True


@dataclass(frozen=True, slots=True)
class TurnRow:
    turn_index: int
    user_text: str
    bot_reply: str
    heard_text: str = ""
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class CallRow:
    call_sid: str
    business_id: int
    status: str
    is_complete: bool
    transcript: str
    turns: tuple[TurnRow, ...]  # in the order in which they are shown


@dataclass(slots=True)
class Verdict:
    """How many of each. All have to be 0."""

    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    wrong_text: int = 0
    wrong_business: int = 0
    unfinalized: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not any(getattr(self, name) for name in PROMISED)

    def add(self, other: Verdict) -> None:
        for name in PROMISED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.examples += other.examples

    def note(self, name: str, call_sid: str, number: int, detail: str) -> None:
        """Count, and keep where. The detail never quotes what was said."""
        if number:
            setattr(self, name, getattr(self, name) + number)
            self.examples.append(f"{name} {number}: {call_sid} {detail}")


PROMISED = tuple(item.name for item in fields(Verdict) if item.name != "examples")


def judge(expected: Iterable[Expected], rows: Iterable[CallRow]) -> Verdict:
    verdict = Verdict()
    found: dict[str, list[CallRow]] = {}
    for row in rows:
        found.setdefault(row.call_sid, []).append(row)
    for call in expected:
        mine = found.get(call.call_sid, [])
        if not mine:
            verdict.note("lost", call.call_sid, max(1, _promised(call)), "has no row")
            continue
        verdict.note("doubled", call.call_sid, len(mine) - 1, "rows too many")
        _judge_call(call, mine[0], verdict)
    return verdict


def _promised(call: Expected) -> int:
    return sum(turn.promised for turn in call.turns.values())


def _judge_call(call: Expected, row: CallRow, verdict: Verdict) -> None:
    sid = call.call_sid
    foreign = bool(call.business_id) and row.business_id != call.business_id
    verdict.note("wrong_business", sid, int(foreign), f"is business {row.business_id}'s")
    if row.status not in TERMINAL:
        verdict.note("unfinalized", sid, 1, f"is {row.status}")
    elif call.whole and not row.is_complete:
        verdict.note("unfinalized", sid, 1, f"{row.status}, but not complete: {len(row.turns)} of {len(call.turns)}")
    elif row.is_complete and row.transcript != rendered(row.turns):
        verdict.note("wrong_text", sid, 1, "its transcript is not its turns")
    said = [(turn.user_text, turn.bot_reply) for turn in row.turns]
    wanted = [(turn.user_text, turn.bot_reply) for _, turn in sorted(call.turns.items())]
    if call.exact:
        _judge_places(call, row, verdict)
    else:
        missing = Counter(wanted) - Counter(said)
        spare = sum(not turn.promised for turn in call.turns.values())
        verdict.note("lost", sid, max(0, missing.total() - spare), "turns")
        # What was being said when its process was killed may stand there as far as it was known.
        strange = [turn for turn in said if turn not in set(wanted)]
        verdict.note("wrong_text", sid, max(0, len(strange) - spare), "turns")
    repeated = Counter(said) - Counter(wanted)
    verdict.note("doubled", sid, sum(number for turn, number in repeated.items() if turn in set(wanted)), "turns")
    # Each in its first place, whatever is missing or doubled: is what remains still in the order of the ledger?
    common = [turn for turn in dict.fromkeys(said) if turn in set(wanted)]
    right = [turn for turn in dict.fromkeys(wanted) if turn in set(common)]
    verdict.note("out_of_order", sid, sum(a != b for a, b in zip(common, right, strict=True)), "turns")


def _judge_places(call: Expected, row: CallRow, verdict: Verdict) -> None:
    by_index: dict[int, TurnRow] = {}
    for stands in row.turns:
        by_index.setdefault(stands.turn_index, stands)
    known = {(turn.user_text, turn.bot_reply) for turn in call.turns.values()}
    lost = wrong = 0
    for index, turn in call.turns.items():
        stored = by_index.pop(index, None)
        if stored is None:
            lost += turn.promised
        elif (stored.user_text, stored.bot_reply) == turn.or_else:
            continue
        elif (stored.user_text, stored.bot_reply) != (turn.user_text, turn.bot_reply):
            # Another turn's text in this place is a matter of order, and counted there.
            wrong += turn.promised and (stored.user_text, stored.bot_reply) not in known
    wrong += sum((extra.user_text, extra.bot_reply) not in known for extra in by_index.values())
    verdict.note("lost", call.call_sid, lost, f"turns of {len(call.turns)}")
    verdict.note("wrong_text", call.call_sid, wrong, "turns")


def rendered(turns: Iterable[TurnRow]) -> str:
    """The transcript of turns, of a cut answer what was heard: written here anew, so as not to share a mistake."""
    lines = []
    for turn in turns:
        lines += [f"Caller: {' '.join(turn.user_text.split())}"] if turn.user_text.strip() else []
        said = " ".join((turn.heard_text if turn.interrupted else turn.bot_reply).split())
        lines += [f"Agent: {said}"] if said else []
    return "\n".join(lines)
