"""Work that must not be done by two processes at once, whichever database there is."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from calls.models import Lease

LEASE = timedelta(seconds=35)  # above a task's hard time limit: who has not let go by then is dead


@contextmanager
def only_one(name: str, now: datetime) -> Iterator[bool]:
    """Whether this is the only one at work under that name; if not, leave. Raise django.db.Error.

    PostgreSQL: an advisory lock of a session, which the server frees when its holder dies. Others: a row, which a dead
    holder keeps until its lease is over.
    """
    if connection.vendor == "postgresql":
        with session_of_its_own() as session, session.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [zlib.crc32(f"voiceagent.{name}".encode())])
            yield bool(cursor.fetchone()[0])
        return
    until = now + LEASE
    Lease.objects.bulk_create([Lease(name=name, until=now)], ignore_conflicts=True)
    taken = Lease.objects.filter(name=name, until__lte=now).update(until=until) == 1
    try:
        yield taken
    finally:
        if taken:  # unless the lease ran out, and somebody else has it now
            Lease.objects.filter(name=name, until=until).delete()


@contextmanager
def session_of_its_own() -> Iterator[BaseDatabaseWrapper]:
    """Not one of the pool: closing that one gives it back alive, with the lock, to whoever comes next."""
    session = connection.copy()
    options = session.settings_dict["OPTIONS"]
    session.settings_dict["OPTIONS"] = {name: value for name, value in options.items() if name != "pool"}
    try:
        yield session
    finally:
        session.close()
