"""Live calls under a fault, and what the carrier's and the model's ledgers say should be on record of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from simulators.carrier.carrier import Carrier
from simulators.carrier.faults import Faults as Line
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, Listen, Say, Script
from simulators.carrier.settings import Settings
from tests.chaos import seed
from tests.chaos.judge import Expected, Turn
from tests.chaos.rig import ACCOUNT_SID, PUBLIC_URL, Rig, line_of_instructions, model_facts

CALLER = "+15550199000"
SCRIPT = Script(
    "chaos",
    (Listen(600), Say("ask-hours"), Listen(600), Say("ask-saturday"), Listen(600), HangUp()),
    "caller",
)
SHORT_SCRIPT = Script("chaos-short", (Listen(600), Say("ask-hours"), Listen(600), HangUp()), "caller")
# From the end of what the model generated to the moment it has been heard and its turn written down, at most.
WRITTEN_SECONDS = 2.0

Fact = dict[str, Any]


class LiveCalls:
    """Places `count` calls evenly over `seconds`, one to each line, in a thread of its own."""

    def __init__(self, rig: Rig, count: int, seconds: float, line: Line, script: Script) -> None:
        self._settings = Settings(
            public_url=PUBLIC_URL,
            account_sid=ACCOUNT_SID,
            auth_token=rig.auth_token,
            connect_to=("127.0.0.1", rig.balancer.port),
            # As docs/going-live.md has them: asked again when a process dies while it is asked.
            voice_path="/twilio/voice/#rc=2&rp=all",
            status_path="/twilio/status/#rc=2&rp=all",
            faults=line,
            status_events=("initiated", "ringing", "answered", "completed"),
            max_call_seconds=90,
        )
        self._account = rig.carrier_account
        self._script = script
        self._count, self._gap = count, seconds / max(1, count)
        self.ledgers: list[CallLedger] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._place()), name="carrier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise AssertionError("the simulated calls do not end")

    async def _place(self) -> None:
        with Carrier(self._settings, account=self._account) as carrier:
            self.ledgers = await asyncio.gather(*(self._one(carrier, line) for line in range(self._count)))

    async def _one(self, carrier: Carrier, line: int) -> CallLedger:
        await asyncio.sleep(line * self._gap)
        return await carrier.place_call(self._script, from_=CALLER, to=seed.number_of(line))


@dataclass(frozen=True, slots=True)
class Said:
    """One exchange of a model session. `settled_at`: unix time by which it is written down at the latest."""

    user_text: str
    bot_reply: str
    settled_at: float


def was_taken(ledger: CallLedger) -> bool:
    return "Connect" in ledger.verbs


def was_cut(ledger: CallLedger) -> bool:
    """The caller did not get to the end of what he wanted."""
    return was_taken(ledger) and (bool(ledger.failures) or ledger.ended_by != "caller")


def longest_under_run_ms(ledgers: Sequence[CallLedger]) -> float:
    """The longest gap that a caller heard in the middle of the agent's speech."""
    gaps = [
        gap
        for ledger in ledgers
        for stream in ledger.streams
        for stretch in stream.stretches
        for gap in stretch.under_runs_ms
    ]
    return max(gaps, default=0.0)


def latest_hearing_ms(rig: Rig, ledgers: Sequence[CallLedger], facts_before: int) -> float:
    """How long after the end of the caller's words, by the carrier's clock, the model knew them, at most. Its own
    pause, the same in each, is in it: so the row without a fault is the measure. Calls of one stream only."""
    sessions = _sessions(model_facts(rig.model_ledger)[facts_before:])
    late = [0.0]
    for line, ledger in enumerate(ledgers):
        mine = [facts for facts in sessions.values() if _line(facts) == line]
        if len(mine) != 1 or len(ledger.streams) != 1 or not ledger.stream.opened_at:
            continue
        began = datetime.fromisoformat(ledger.stream.opened_at).timestamp()
        heard = [float(fact["at"]) for fact in mine[0] if fact["fact"] == "heard"]
        ends = [said.speech_end_ms for said in ledger.utterances if said.speech_end_ms is not None]
        late += [(at - began) * 1000 - end for at, end in zip(heard, ends, strict=False)]
    return max(late)


def expected(rig: Rig, ledgers: Sequence[CallLedger], facts_before: int, killed_at: float | None) -> list[Expected]:
    """What should be on record of the calls that were taken. `facts_before`: the model's facts of earlier faults."""
    sessions = _sessions(model_facts(rig.model_ledger)[facts_before:])
    calls = []
    for line, ledger in enumerate(ledgers):
        if was_taken(ledger):
            mine = [facts for facts in sessions.values() if _line(facts) == line]
            calls.append(_expected(ledger, rig.businesses[line], mine, killed_at))
    return calls


def _expected(ledger: CallLedger, business_id: int, sessions: list[list[Fact]], killed_at: float | None) -> Expected:
    turns: list[Turn] = []
    # A stream whose process was killed may not have come to ask the model: then there is no session of it.
    struck = killed_at is not None and (not sessions or len(ledger.streams) > len(sessions))
    for facts in sessions:
        here = killed_at is not None and facts[0]["at"] < killed_at <= _closed_at(facts) + 0.2
        struck = struck or here
        for said in exchanges(facts):
            promised = not (here and killed_at is not None and said.settled_at > killed_at)
            turns.append(Turn(said.user_text, said.bot_reply, promised))
    exact = len(sessions) == len(ledger.streams) == 1
    return Expected(ledger.call_sid, business_id, dict(enumerate(turns)), whole=not struck, exact=exact)


def exchanges(facts: Sequence[Fact]) -> list[Said]:
    """Turns out of the model's ledger: the greeting, then each utterance with what was answered to it."""
    found: list[tuple[str, list[str], float]] = []
    for fact in facts:
        if fact["fact"] == "heard":
            found.append((fact["text"], [], fact["at"]))
        elif fact["fact"] == "said":
            if not found:
                found.append(("", [], fact["at"]))
            text, answers, _ = found[-1]
            settled_at = fact["at"] + fact["generated_ms"] / 1000 + WRITTEN_SECONDS
            found[-1] = (text, [*answers, fact["text"]], settled_at)
    return [Said(text, " ".join(answers), at) for text, answers, at in found]


def _sessions(facts: list[Fact]) -> dict[str, list[Fact]]:
    sessions: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact["session_id"]:
            sessions.setdefault(fact["session_id"], []).append(fact)
    return sessions


def _line(facts: list[Fact]) -> int | None:
    for fact in facts:
        if fact["fact"] == "updated":
            return line_of_instructions(fact["config"]["instructions"])
    return None


def _closed_at(facts: list[Fact]) -> float:
    return next((float(fact["at"]) for fact in facts if fact["fact"] == "closed"), float("inf"))


def ended_at(ledgers: Sequence[CallLedger]) -> float:
    """When the last call ended, in unix seconds."""
    return max(
        (datetime.fromisoformat(ledger.ended_at).timestamp() for ledger in ledgers if ledger.ended_at), default=0
    )
