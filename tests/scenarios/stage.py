"""The calls, several at once; then each with its evidence before the judge."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from calls.models import CallLog
from simulators.carrier.carrier import Carrier
from simulators.carrier.faults import Faults
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import Script
from simulators.carrier.settings import Settings
from tests.scenarios import judge
from tests.scenarios.evidence import Evidence, sessions
from tests.scenarios.rig import ACCOUNT_SID, PUBLIC_URL, Rig
from tests.scenarios.scenario import Part

CALLER = "+15550100199"
RECORD_SECONDS = 30.0
LONGEST_SECONDS = 150.0
WEBS_AT_ONCE = 3  # starting one costs a core for some seconds, which the calls beside it would feel


@dataclass
class Result:
    """One part, played and judged."""

    part: Part
    faults: list[str]
    evidence: Evidence | None = None


@dataclass
class _Stage:
    rig: Rig
    tell: Callable[[str], None]
    narrate: bool
    at_once: asyncio.Semaphore
    webs: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WEBS_AT_ONCE))

    async def place(self, part: Part, after: float) -> CallLedger | Exception:
        await asyncio.sleep(after)
        if part.name in self.rig.missing:
            return LookupError(f"not there: {self.rig.missing[part.name]}")
        try:
            async with self._web(part) as port:
                for _ in range(part.scenario.rehearsals):
                    await self._call(part, port)
                ledger = await self._call(part, port)
        except Exception as error:  # noqa: BLE001 - one call that breaks must not end the others
            self.tell(f"{part.name}: broke, {error!r}")
            return error
        self.tell(f"{part.name}: {ledger.duration_seconds} s, ended by {ledger.ended_by}")
        return ledger

    @contextlib.asynccontextmanager
    async def _web(self, part: Part) -> AsyncIterator[int]:
        if not part.scenario.own_web:
            async with self.at_once:
                yield self.rig.port
            return
        async with self.webs, self.at_once, self.rig.own_web(str(part.place)) as port:
            yield port

    async def _call(self, part: Part, port: int) -> CallLedger:
        def tell(_: str, line: str) -> None:
            if self.narrate:
                self.tell(f"{part.name:40} {line}")

        settings = Settings(
            public_url=PUBLIC_URL,
            account_sid=ACCOUNT_SID,
            auth_token=self.rig.auth_token,
            connect_to=("127.0.0.1", port),
            status_path="/twilio/status/",
            faults=Faults(**part.line),
            time_scale=0.2,
            max_call_seconds=LONGEST_SECONDS,
            seed=part.place,
        )
        script = Script(part.scenario.name, part.scenario.steps, part.scenario.ends_by)
        with Carrier(settings, tell=tell) as carrier:
            return await carrier.place_call(script, from_=CALLER, to=part.number)


async def play(
    rig: Rig, parts: list[Part], at_once: int, tell: Callable[[str], None], *, narrate: bool = False
) -> list[CallLedger | Exception]:
    """Every part, those that share the web process first: starting others would be felt by their calls."""
    stage = _Stage(rig, tell, narrate, asyncio.Semaphore(at_once))
    played: dict[int, CallLedger | Exception] = {}
    for own_web in (False, True):
        chosen = [part for part in parts if part.scenario.own_web == own_web]
        # A moment apart, so that not all do the same at the same time.
        placed = await asyncio.gather(
            *(stage.place(part, 0.15 * (number % at_once)) for number, part in enumerate(chosen))
        )
        played |= {part.place: ledger for part, ledger in zip(chosen, placed, strict=True)}
    return [played[part.place] for part in parts]


def judged(rig: Rig, parts: list[Part], ledgers: list[CallLedger | Exception]) -> list[Result]:
    """Wait for the records, then look at each call."""
    deadline = time.monotonic() + RECORD_SECONDS
    for ledger in ledgers:
        while isinstance(ledger, CallLedger) and not _complete(ledger.call_sid) and time.monotonic() < deadline:
            time.sleep(0.2)
    facts = rig.facts()
    log = "".join(child.output() for child in rig.children if child.name.startswith("web"))
    results = []
    for part, ledger in zip(parts, ledgers, strict=True):
        if not isinstance(ledger, CallLedger):
            results.append(Result(part, [str(ledger) or repr(ledger)]))
            continue
        row = CallLog.objects.filter(call_sid=ledger.call_sid).first()
        turns = list(row.turns.order_by("turn_index")) if row else []
        ids = _ids(ledger, facts, part)
        mine = [fact for fact in facts if fact["session_id"] in ids]
        own, asked = rig.own.get(part.name, {}), rig.lookups.of(part.slug)
        evidence = Evidence(part, ledger, row, turns, mine, rig.audio, own, asked, log)
        results.append(Result(part, judge.faults(evidence), evidence))
    return results


def _ids(ledger: CallLedger, facts: list[dict[str, Any]], part: Part) -> set[str]:
    """Sessions of the last call of a part: those before were its rehearsals'."""
    began = datetime.fromisoformat(ledger.started_at).timestamp() - 0.05 if ledger.started_at else 0.0
    return sessions([fact for fact in facts if fact["at"] >= began], part.model)


def _complete(call_sid: str) -> bool:
    return CallLog.objects.filter(call_sid=call_sid, is_complete=True).exists()


def logs(rig: Rig) -> str:
    return "\n".join(
        f"--- {child.name}\n{child.output()[-4000:]}" for child in rig.children if child.name.startswith("web")
    )
