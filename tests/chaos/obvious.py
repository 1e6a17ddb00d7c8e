"""The obvious version, for comparison: plain `.delay()` from background threads, Celery's defaults, no journal.

python -m tests.chaos.obvious tables        makes its tables in DATABASE_URL
celery -A tests.chaos.obvious worker        its worker
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import psycopg
from celery import Celery

app = Celery("obvious", broker=os.environ.get("REDIS_URL", ""))

TABLES = (
    "CREATE TABLE obvious_call (call_sid text, business_id integer, status text, transcript text)",
    "CREATE TABLE obvious_turn (id {serial}, call_sid text, turn_index integer, user_text text, bot_reply text)",
)


def execute(sql: str, parameters: tuple[Any, ...] = ()) -> None:
    """One statement in a transaction and on a connection of its own."""
    url = os.environ["DATABASE_URL"]
    if url.startswith("sqlite:///"):
        with sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20) as database:
            database.execute(sql.replace("%s", "?"), parameters)
        database.close()
        return
    with psycopg.connect(url) as connection:
        connection.execute(sql, parameters)


@app.task  # type: ignore[untyped-decorator]
def create_call_log(call_sid: str, business_id: int) -> None:
    execute("INSERT INTO obvious_call VALUES (%s, %s, 'in-progress', '')", (call_sid, business_id))


@app.task  # type: ignore[untyped-decorator]
def save_conversation_turn(call_sid: str, turn_index: int, user_text: str, bot_reply: str) -> None:
    columns = "(call_sid, turn_index, user_text, bot_reply)"
    values = (call_sid, turn_index, user_text, bot_reply)
    execute(f"INSERT INTO obvious_turn {columns} VALUES (%s, %s, %s, %s)", values)


@app.task  # type: ignore[untyped-decorator]
def finalize_call_log(call_sid: str, transcript: str) -> None:
    update = "UPDATE obvious_call SET status = 'completed', transcript = %s WHERE call_sid = %s"
    execute(update, (transcript, call_sid))


class BackgroundThreads:
    """Takes what the recorder takes, and hands it on as the obvious version does: an error in a thread is nobody's."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(16)
        self._all: list[Any] = []

    def create_call_log(self, *, call_sid: str, business_id: int, **_: Any) -> None:
        self._later(lambda: create_call_log.delay(call_sid, business_id))

    def save_conversation_turn(
        self, *, call_sid: str, turn_index: int, user_text: str, bot_reply: str, **_: Any
    ) -> None:
        self._later(lambda: save_conversation_turn.delay(call_sid, turn_index, user_text, bot_reply))

    def finalize_call_log(self, *, call_sid: str, transcript: str, **_: Any) -> None:
        self._later(lambda: finalize_call_log.delay(call_sid, transcript))

    def apply_call_status(self, **_: Any) -> None:
        pass

    def close(self, timeout: float) -> bool:
        return not wait(self._all, timeout).not_done

    def _later(self, work: Callable[[], object]) -> None:
        self._all.append(self._pool.submit(work))


def make_tables() -> None:
    is_sqlite = os.environ["DATABASE_URL"].startswith("sqlite")
    serial = "integer PRIMARY KEY" if is_sqlite else "bigserial PRIMARY KEY"
    for sql in TABLES:
        execute(sql.format(serial=serial))


if __name__ == "__main__":
    if sys.argv[1:] == ["tables"]:
        make_tables()
