"""One fault from its first call to the verdict."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.chaos import facts, live, serve
from tests.chaos.database import Postgres, rows
from tests.chaos.faults import DidNotStrike, Fault
from tests.chaos.judge import PROMISED, Expected, Verdict, judge
from tests.chaos.rig import FAKETIME, Rig, model_facts
from tests.e2e.processes import Child, python

LEAD_SECONDS = 3.0  # of calls in good order before the fault begins
CALLS_FIRST_SECONDS = 4.0
SETTLE_SECONDS = 90.0  # the promise
EMPTY_SECONDS = 180.0  # for queues and journals to be empty too: longer than orphaned jobs stay hidden
OBVIOUS_SECONDS = 10.0


@dataclass(slots=True)
class Result:
    """What one fault did. `settled` None: not within SETTLE_SECONDS; `emptied`: when queues and journals were empty,
    None not within EMPTY_SECONDS or not waited for. Milliseconds None: not measured. `missed`: why the fault itself did
    not come about."""

    name: str
    verdict: Verdict = field(default_factory=Verdict)
    calls: int = 0
    turned_away: int = 0
    cut: int = 0
    live_turns: int = 0
    fact_turns: int = 0
    settled: float | None = None
    emptied: float | None = None
    loop_ms: float | None = None
    own_ms: float | None = None
    heard_ms: float | None = None
    under_run_ms: float | None = None
    cut_allowed: str = ""
    missed: str = ""
    left: dict[str, int] = field(default_factory=dict)
    skipped: str = ""

    @property
    def is_as_promised(self) -> bool:
        """Never by milliseconds: on a busy machine these are chance."""
        return bool(self.skipped) or (
            self.verdict.is_clean and not self.missed and (not self.cut or bool(self.cut_allowed))
        )


def reason_to_skip(fault: Fault, rig: Rig) -> str:
    if fault.needs_postgres and not isinstance(rig.database, Postgres):
        return "needs PostgreSQL 15 in /usr/lib/postgresql"
    if fault.needs_tmpfs and not rig.mounted:
        return "mounting a tmpfs is not allowed here"
    if fault.own_clock and not FAKETIME.exists():
        return "needs libfaketime (Debian: apt-get install faketime)"
    if rig.obvious and (fault.own_clock or not fault.turns):
        return "about live calls, which the obvious version does not have"
    return ""


class Trial:
    """`run` once. The load begins, then the fault, then it is healed; then everything has SETTLE_SECONDS."""

    def __init__(self, rig: Rig, fault: Fault, chance: random.Random, say: Callable[[str], None]) -> None:
        self.rig, self.fault, self._say = rig, fault, say
        self._seed = chance.getrandbits(32)
        self._folder = rig.directory
        self.result = Result(fault.name)
        self._killed_at: float | None = None

    def run(self) -> Result:
        rig, fault = self.rig, self.fault
        self._make_ready()
        facts_before = len(model_facts(rig.model_ledger))
        ledger = self._folder / f"facts-{self._seed}.jsonl"
        recording = self._start_facts(ledger)
        calls = None
        if not rig.obvious:
            script = live.SHORT_SCRIPT if fault.brief else live.SCRIPT
            calls = live.LiveCalls(rig, fault.calls, self._calls_seconds, fault.line, script)
            calls.start()
        time.sleep(CALLS_FIRST_SECONDS if fault.calls_first else LEAD_SECONDS)
        began_at = time.time()
        kills_before = len(rig.killed_at)
        try:
            fault.begin(rig)
            time.sleep(fault.hold)
        except DidNotStrike as error:
            self.result.missed = str(error)
        finally:
            fault.heal(rig)
        healed_at = time.time()
        if len(rig.killed_at) > kills_before:
            self._killed_at = rig.killed_at[-1]
        if recording is not None and fault.kills_recording:
            self._killed_at = time.time()
            recording.kill()
        self._wait_for_load(calls, recording)
        self._read_probes(began_at)
        ended_at = max(healed_at, live.ended_at(calls.ledgers) if calls is not None else 0, self._facts_ended_at)
        self._settle(self._expected(calls, facts_before, ledger), ended_at)
        return self.result

    @property
    def _calls_seconds(self) -> float:
        """Over which the calls begin."""
        fault = self.fault
        return CALLS_FIRST_SECONDS if fault.calls_first else LEAD_SECONDS + fault.takes + fault.hold

    def _make_ready(self) -> None:
        """As many web processes and workers as the fault needs."""
        rig, fault = self.rig, self.fault
        if rig.obvious:
            return
        wanted = [f"web-{number}" for number in range(1, fault.webs + 1)]
        for name in wanted:
            clock = rig.clock_of_its_own() if fault.own_clock == name else {}
            rig.start_web(name, **dict(fault.web_settings), **clock)
        for name in [name for name in rig.webs if name not in wanted]:
            rig.stop_web(name)
        if fault.own_clock.startswith("worker"):
            rig.start_worker(fault.own_clock, **rig.clock_of_its_own())
            rig.keeper.children[fault.own_clock].wait_for_output(" ready.")
        elif "worker-2" in rig.keeper.kept:
            rig.keeper.stop("worker-2")

    def _read_probes(self, began_at: float) -> None:
        """Of each web process: one of them is the busiest."""
        if not self.rig.obvious:
            gaps = [serve.longest(self.rig.probe(f"web-{n}"), began_at, time.time()) for n in range(1, 3)]
            self.result.loop_ms, self.result.own_ms = (max(which) for which in zip(*gaps, strict=True))

    def _child(self, name: str, *arguments: str) -> Child:
        niced = ["nice", "-n", "10"] if name == "facts" else []
        return Child(f"{name}-{self._seed}", [*niced, *python(*arguments)], self.rig.environment, self._folder)

    def _start_facts(self, ledger: Path) -> Child | None:
        self._facts_ended_at = 0.0
        if not self.fault.turns:
            return None
        businesses = ",".join(str(number) for number in self.rig.businesses)
        seconds = LEAD_SECONDS + self.fault.takes + self.fault.hold
        options = ["--ledger", str(ledger), "--turns", str(self.fault.turns), "--seconds", str(seconds)]
        options += ["--seed", str(self._seed), "--businesses", businesses]
        options += ["--obvious"] if self.rig.obvious else []
        child = self._child("facts", "-m", "tests.chaos.facts", *options)
        child.wait_for_output("ready")
        return child

    def _wait_for_load(self, calls: live.LiveCalls | None, recording: Child | None) -> None:
        if calls is not None:
            calls.wait(180)
        if recording is not None:
            recording.process.wait(facts.CLOSE_SECONDS + 60)
            self._facts_ended_at = time.time()

    def _expected(self, calls: live.LiveCalls | None, facts_before: int, ledger: Path) -> list[Expected]:
        result, recorded = self.result, facts.read(ledger, self._killed_at if self.fault.kills_recording else None)
        result.fact_turns = sum(len(call.turns) for call in recorded)
        spoken: list[Expected] = []
        if calls is not None:
            killed_at = self._killed_at if self.fault.kills else None
            spoken = live.expected(self.rig, calls.ledgers, facts_before, killed_at)
            away = [ledger for ledger in calls.ledgers if not live.was_taken(ledger)]
            result.calls, result.turned_away = len(calls.ledgers), len(away)
            cut = [ledger for ledger in calls.ledgers if live.was_cut(ledger)]
            result.cut = len(cut) + (0 if self.fault.may_turn_away else len(away))
            for call in cut + ([] if self.fault.may_turn_away else away):
                self._say(f"  cut: {call.call_sid} {call.ended_by} {call.end_detail} {call.failures} {call.complaints}")
            result.live_turns = sum(len(call.turns) for call in spoken)
            result.cut_allowed = self.fault.may_cut
            result.heard_ms = live.latest_hearing_ms(self.rig, calls.ledgers, facts_before)
            result.under_run_ms = live.longest_under_run_ms(calls.ledgers)
        return spoken + recorded

    def _settle(self, expected: list[Expected], ended_at: float) -> None:
        """Look until everything is as promised, or the time is over."""
        sids = [call.call_sid for call in expected]
        result = self.result
        found, changed_at = self._found(), ended_at
        while True:
            looked_at = time.time()
            try:
                result.verdict = judge(expected, rows(self.rig.database, sids, obvious=self.rig.obvious))
            except psycopg.OperationalError as error:
                result.verdict = Verdict(lost=len(sids), examples=[f"the database does not answer: {error}"])
            if result.verdict.is_clean:
                result.settled = max(0.0, looked_at - ended_at)
                break
            if self._found() != found:
                found, changed_at = self._found(), looked_at
            # Nothing of the obvious version tries again later than this: its waiting would only cost time.
            given_up = self.rig.obvious and looked_at - max(changed_at, ended_at) > OBVIOUS_SECONDS
            if given_up or looked_at - ended_at > SETTLE_SECONDS:
                break
            time.sleep(0.5)
        self._empty(ended_at)

    def _empty(self, ended_at: float) -> None:
        """Look until queues and journals are empty, or the time is over; the short run only looks once."""
        result = self.result
        while True:
            result.left = self.rig.left_over()
            if not any(result.left.values()):
                result.emptied = max(0.0, time.time() - ended_at)
                return
            if self.fault.brief or self.rig.obvious or time.time() - ended_at > EMPTY_SECONDS:
                return
            time.sleep(0.5)

    def _found(self) -> tuple[int, ...]:
        return tuple(getattr(self.result.verdict, name) for name in PROMISED)


def main_say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
