"""How many turns one worker process stores in a second, beside a bare INSERT loop on the same PostgreSQL server."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from bench.system import System

SERVER = "postgres://postgres@127.0.0.1:5432"
_TURNS = "calls_conversationturn"
_PLAIN_TURNS = "plain_turn"
TURNS = 2000
BATCHES = (20, 100)  # turns of one call, which the fact of its end carries
LEFT_TURNS, LEFT_CALLS = 20, 500  # in the journals of a process that died
FACTS = 40
WAIT_SECONDS = 120.0
USER = "Could you tell me whether you have got a table for four on Friday evening?"
REPLY = "Certainly. On Friday we have got a table for four at seven, and another one at half past eight."

# Run by the product's own shell: the jobs as the product queues them.
_CALLS = """
from calls import tasks
from businesses.models import Business
business = Business.objects.first().pk
sids = ["CA%032x" % number for number in range({first}, {first} + {calls})]
for sid in sids:
    tasks.create_call_log.delay(sid, business, "+15550200001", "+15550100100", "inbound")
"""
_ONE_BY_ONE = """
for number in range({turns}):
    tasks.save_conversation_turn.delay(
        sids[number % len(sids)], business, {user!r}, {reply!r}, number // len(sids), heard_text={reply!r},
        generated_ms=4000, heard_ms=4000)
"""
# A task of Celery's own that adds up its arguments, of which there are none: what a job costs before it does anything.
_NOTHING = """
from voiceagent.celery import app
for _ in range({turns}):
    app.send_task("celery.accumulate", queue="default", ignore_result=True)
"""
# Queued by the product's own Celery, for a worker that is none of the product's.
_PLAIN = """
from voiceagent.celery import app
for number in range({turns}):
    app.send_task("plain.save_turn", ["CA%032x" % (number % 100), number // 100, {user!r}, {reply!r}, {reply!r}],
                  queue="celery")
"""
_BATCHES = """
for sid in sids:
    turns = [dict(turn_index=number, user_text={user!r}, bot_reply={reply!r}, heard_text={reply!r}, generated_ms=4000,
                  heard_ms=4000) for number in range({batch})]
    tasks.finalize_call_log.delay(sid, business, "completed", 60, "", turns=turns)
"""
# What a process journaled that was killed when neither broker nor database took anything.
_LEFT = """
import os
from businesses.models import Business
from calls.journal import get_journal
business = Business.objects.first().pk
journal, at = get_journal(), "2026-11-26T12:00:00+00:00"
for number in range(80000, 80000 + {calls}):
    call = dict(call_sid="CA%032x" % number, business_id=business)
    journal.append("create_call_log", dict(
        **call, from_number="+15550200001", to_number="+15550100100", direction="inbound", occurred_at=at))
    turns = [dict(turn_index=place, user_text={user!r}, bot_reply={reply!r}, heard_text={reply!r}, generated_ms=4000,
                  heard_ms=4000, started_at=at) for place in range({turns})]
    for turn in turns:
        journal.append("save_conversation_turn", dict(**call, **turn))
    journal.append("finalize_call_log", dict(
        **call, status="completed", duration_seconds=60, transcript="", ended_at=at, turns=turns))
    if number % 100 == 0:
        journal.flush(10)
assert journal.flush(10)
os._exit(0)
"""
_FACTS = """
import time
from calls.recorder import get_recorder
recorder = get_recorder()
for number in range({facts}):
    print("saved", number, time.time(), flush=True)
    recorder.save_conversation_turn(call_sid=sids[0], business_id=business, user_text={user!r}, bot_reply={reply!r},
                                    turn_index=number)
    time.sleep(0.25)
recorder.close(5)
"""


@dataclass(frozen=True, slots=True)
class Written:
    """Rows a second; `to_bare`: as a share of what the bare loop manages."""

    what: str
    per_second: float
    to_bare: float


@contextlib.contextmanager
def system(server: str = SERVER) -> Iterator[tuple[System, str]]:
    """The product on a PostgreSQL database of its own, dropped afterwards; and that database's address."""
    name = "bench_writes_" + secrets.token_hex(4)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as database:
        database.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = f"{server}/{name}"
    try:
        with System({"DATABASE_URL": url, "LOG_LEVEL": "WARNING"}) as started:
            yield started, url
    finally:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as database:
            database.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def measure(started: System, url: str) -> list[Written]:
    """The bare loop, the worker with nothing to do, one by one, with what a call's end carries, and with journals."""
    with psycopg.connect(url, autocommit=True) as database:
        bare = _bare(database)
        started.manage("shell", "-c", _NOTHING.format(turns=TURNS))
        nothing = _drained(started.worker(), lambda: TURNS - started.jobs_left(), TURNS)
        started.make_plain_table()
        started.manage("shell", "-c", _PLAIN.format(turns=TURNS, user=USER, reply=REPLY))
        plain = _drained(started.plain_worker(), lambda: _rows(database, _PLAIN_TURNS), TURNS)
        one_by_one = _CALLS.format(first=1, calls=100) + _ONE_BY_ONE.format(turns=TURNS, user=USER, reply=REPLY)
        single = _stored(started, database, one_by_one)
        found = [
            Written("INSERT loop, a commit a row", bare, 1.0),
            Written("worker, a job that does nothing", nothing, nothing / bare),
            Written("worker, one turn a job", single, single / bare),
            Written("plain Celery, one turn a job", plain, plain / bare),
        ]
        for size in BATCHES:
            calls = _CALLS.format(first=1000 * size, calls=TURNS // size)
            batched = _stored(started, database, calls + _BATCHES.format(batch=size, user=USER, reply=REPLY))
            found.append(Written(f"worker, {size} turns a job", batched, batched / bare))
        left = _LEFT.format(calls=LEFT_CALLS, turns=LEFT_TURNS, user=USER, reply=REPLY)
        caught_up = _stored(started, database, left, LEFT_CALLS * LEFT_TURNS)
        found.append(Written(f"worker, journals of {LEFT_TURNS} turns", caught_up, caught_up / bare))
    return found


def _bare(database: psycopg.Connection) -> float:
    database.execute(
        "CREATE TABLE bare (id bigserial PRIMARY KEY, call bigint, turn int, user_text text, reply text, heard text,"
        " generated_ms int, heard_ms int, at timestamptz DEFAULT now(), UNIQUE (call, turn))"
    )
    insert = (
        "INSERT INTO bare (call, turn, user_text, reply, heard, generated_ms, heard_ms) VALUES (%s,%s,%s,%s,%s,%s,%s)"
    )
    began = time.monotonic()
    for number in range(TURNS):
        database.execute(insert, (number % 100, number // 100, USER, REPLY, REPLY, 4000, 4000))
    return TURNS / (time.monotonic() - began)


def _stored(started: System, database: psycopg.Connection, script: str, turns: int = TURNS) -> float:
    """Leave work by that script, and let a worker store its turns; turns a second."""
    before = _rows(database)
    started.manage("shell", "-c", script)
    return _drained(started.worker(), lambda: _rows(database) - before, turns)


def _drained(worker: AbstractContextManager[int], done: Callable[[], int], wanted: int) -> float:
    """Start a worker; what it does in a second, between a tenth of it and the last one."""
    with worker:
        deadline = time.monotonic() + WAIT_SECONDS
        first, begun = 0, 0.0
        while (so_far := done()) < wanted:
            if not begun and so_far >= wanted // 10:
                first, begun = so_far, time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{so_far} of {wanted} done after {WAIT_SECONDS:.0f} s")
            time.sleep(0.02)
        return (wanted - first) / (time.monotonic() - begun)


def _rows(database: psycopg.Connection, turns: str = _TURNS) -> int:
    row = database.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(turns))).fetchone()
    assert row is not None
    return int(row[0])


def fact_to_row(started: System, url: str) -> list[float]:
    """Milliseconds from a fact's way into the recorder until another connection sees its row; nothing else to do."""
    script = _CALLS.format(first=5000, calls=1) + _FACTS.format(facts=FACTS, user=USER, reply=REPLY)
    with started.worker(), psycopg.connect(url, autocommit=True) as database:
        seen: list[float] = []
        before = _rows(database)
        with started.speaking("shell", "-c", script) as output:
            saved: list[float] = []
            for text in output:
                if text.startswith("saved "):
                    saved.append(float(text.split()[2]))
                    seen.append(_until(database, before + len(saved)))
    return [(at - since) * 1000 for since, at in zip(saved[1:], seen[1:], strict=True)]  # the first connects


def _until(database: psycopg.Connection, rows: int) -> float:
    deadline = time.time() + 30
    while _rows(database) < rows:
        if time.time() > deadline:
            raise TimeoutError("a fact's row did not come")
        time.sleep(0.001)
    return time.time()
