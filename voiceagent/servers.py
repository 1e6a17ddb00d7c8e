"""What the broker and the database say of themselves: asked when a process starts, and by `manage.py doctor`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import redis
from django.conf import settings
from django.db import connection

TIMEOUT_SECONDS = 3.0


def broker() -> redis.Redis:
    """A connection with a deadline. To be closed."""
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )


def broker_info() -> dict[str, Any]:
    """The answer to INFO. Raise redis.RedisError."""
    with broker() as client:
        return cast("dict[str, Any]", client.info())


def broker_clock() -> float:
    """Seconds that the broker's clock is ahead of this machine's. Raise redis.RedisError."""
    return _ahead(_broker_time)


def database_clock() -> float:
    """Seconds that the database's clock is ahead of this machine's. Raise django.db.Error."""
    return _ahead(_database_time)


def _ahead(ask: Callable[[], float]) -> float:
    """Against the middle of the question: exact to half the time that the answer took."""
    before = time.time()
    theirs = ask()
    return theirs - (before + time.time()) / 2


def _broker_time() -> float:
    with broker() as client:
        client.ping()  # connecting must not count as the clock's
        seconds, microseconds = cast("tuple[int, int]", client.time())
    return float(seconds) + float(microseconds) / 1e6


def _database_time() -> float:
    if connection.vendor != "postgresql":
        return time.time()  # SQLite has this machine's clock
    from calls.one_at_a_time import session_of_its_own  # models: this module is imported while they load

    # Not of the pool: a worker asks before it forks, and children must not share a connection.
    with session_of_its_own() as session, session.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        return float(cursor.fetchone()[0])
