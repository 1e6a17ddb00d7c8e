"""Facts without audio: threads that hand turns to a recorder, in a process that is run, and may be killed, by itself.

    python -m tests.chaos.facts --ledger FILE --turns N --seconds S --seed N --businesses 1,2,3 [--obvious]

A line goes into the ledger before a turn is handed over, and one after each fact that was. Every turn has a text of its
own; one in ten is corrected later by a higher revision; one call in four is never finalized: its turns have no second
way into the database.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tests.chaos.judge import Expected, Turn

THREADS = 8
TURNS_OF_A_CALL = 10
CLOSE_SECONDS = 60.0
HANDED_OVER_SECONDS = 0.05  # before a kill: what came later need not have reached the disk


class Takes(Protocol):
    def create_call_log(self, *args: Any, **facts: Any) -> None: ...
    def save_conversation_turn(self, *args: Any, **facts: Any) -> None: ...
    def finalize_call_log(self, *args: Any, **facts: Any) -> None: ...
    def apply_call_status(self, *args: Any, **facts: Any) -> None: ...
    def close(self, timeout: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call will be. `corrected`: the turns that get a second revision. `finalized`: or else only its turns."""

    call_sid: str
    business_id: int
    corrected: frozenset[int]
    finalized: bool


class Ledger:
    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def note(self, **fields: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"at": time.time(), **fields}) + "\n")


def read(path: Path, killed_at: float | None = None) -> list[Expected]:
    """The ledger as expectations. After a kill an ending that is not in it may have come or not, and so may the turn
    that each thread was just handing over."""
    calls: dict[str, dict[str, Any]] = {}
    begun: dict[tuple[str, int], tuple[str, str]] = {}
    for text in path.read_text().splitlines() if path.exists() else ():
        fact = json.loads(text)
        call = calls.setdefault(fact["call"], {"business": fact["business"], "turns": {}, "whole": False})
        sure = killed_at is None or fact["at"] < killed_at - HANDED_OVER_SECONDS
        if fact["fact"] == "begun":
            begun[fact["call"], fact["index"]] = (fact["user"], fact["bot"])
        elif fact["fact"] == "turn":
            del begun[fact["call"], fact["index"]]
            call["turns"][fact["index"]] = Turn(fact["user"], fact["bot"], sure)
        elif fact["fact"] == "finalized":
            call["whole"] = sure
    for (sid, index), said in begun.items():
        before = calls[sid]["turns"].get(index)
        calls[sid]["turns"][index] = replace(before, or_else=said) if before else Turn(*said, promised=False)
    return [Expected(sid, call["business"], call["turns"], whole=call["whole"]) for sid, call in calls.items()]


def run_call(takes: Takes, ledger: Ledger, plan: Plan, pause: Callable[[], None]) -> None:
    """One call from its webhook to its last status callback."""
    identity = {"call_sid": plan.call_sid, "business_id": plan.business_id}
    numbers = {"from_number": "+15550199000", "to_number": "+15550100100", "direction": "inbound"}
    takes.create_call_log(**identity, **numbers, status="in-progress")
    ledger.note(fact="call", call=plan.call_sid, business=plan.business_id)
    turns: list[dict[str, Any]] = []
    for index in range(TURNS_OF_A_CALL):
        pause()
        for revision in range(2 if index in plan.corrected else 1):
            user, bot = (f"{who} {index}.{revision} of {plan.call_sid}" for who in ("Question", "Answer"))
            turn = {"turn_index": index, "revision": revision, "user_text": user, "bot_reply": bot, "heard_text": bot}
            line = {"call": plan.call_sid, "business": plan.business_id, "index": index, "user": user, "bot": bot}
            ledger.note(fact="begun", **line)
            takes.save_conversation_turn(**identity, **turn)
            ledger.note(fact="turn", **line)
        turns.append(turn)
    if plan.finalized:
        lines = [f"Caller: {turn['user_text']}\nAgent: {turn['bot_reply']}" for turn in turns]
        ending = {"status": "completed", "duration_seconds": 30, "transcript": "\n".join(lines)}
        takes.finalize_call_log(**identity, **ending, ended_reason="caller_hung_up", turns=turns)
        ledger.note(fact="finalized", call=plan.call_sid, business=plan.business_id)
    takes.apply_call_status(**identity, status="completed", sequence_number=3, duration_seconds=30)


def plans(turns: int, businesses: list[int], chance: random.Random, *, obvious: bool) -> list[Plan]:
    """The obvious version knows no revisions, and only its finalization ends a call: it is asked for neither."""
    made = []
    for number in range(-(-turns // TURNS_OF_A_CALL)):
        corrected = frozenset(index for index in range(TURNS_OF_A_CALL) if not obvious and chance.random() < 0.1)
        sid = f"CA{chance.getrandbits(128):032x}"
        made.append(Plan(sid, chance.choice(businesses), corrected, finalized=obvious or number % 4 != 3))
    return made


def run(takes: Takes, ledger: Ledger, todo: list[Plan], seconds: float) -> None:
    """All calls, in THREADS threads, within about `seconds`."""
    lock = threading.Lock()
    gap = seconds * min(THREADS, len(todo)) / (len(todo) * TURNS_OF_A_CALL)

    def work() -> None:
        while True:
            with lock:
                if not todo:
                    return
                plan = todo.pop()
            due = time.monotonic()

            def pause() -> None:
                nonlocal due
                due += gap
                time.sleep(max(0.0, due - time.monotonic()))

            run_call(takes, ledger, plan, pause)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--businesses", required=True)
    parser.add_argument("--obvious", action="store_true")
    options = parser.parse_args()
    if options.obvious:
        from tests.chaos import obvious

        takes: Takes = obvious.BackgroundThreads()
    else:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")
        import django

        django.setup()
        from calls.recorder import get_recorder

        takes = get_recorder()
    businesses = [int(number) for number in options.businesses.split(",")]
    todo = plans(options.turns, businesses, random.Random(options.seed), obvious=options.obvious)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    run(takes, Ledger(options.ledger), todo, options.seconds)
    sys.stdout.write(f"closed: {takes.close(CLOSE_SECONDS)}\n")


if __name__ == "__main__":
    main()
