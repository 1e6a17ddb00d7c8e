"""Which errors of the database say that it is away for now, and which that it will never take this fact."""

from __future__ import annotations

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError

# By SQLSTATE, since Django's classes follow the driver's, and those put a server that only reads (25006) beside its
# own mistakes, and a row that is too large (54...) beside a server that is gone.
_CLASSES = (
    "08",  # connection
    "28",  # it does not let us in: being configured, or its password is being changed
    "40",  # deadlock, serialization
    "53",  # no disk, memory or connections left
    "55",  # locked by another
    "57",  # shut down, starting, statement cancelled
    "58",  # its disk or its files
)
_STATES = ("25006", "25P03", "25P04")  # only reads (a standby, too); ended a transaction that took too long


def is_away(error: DatabaseError) -> bool:
    """Whether the same statement may succeed later."""
    state = getattr(error.__cause__, "sqlstate", None)
    if not state:  # SQLite, or a connection that never was
        return isinstance(error, OperationalError | InterfaceError)
    return state in _STATES or state[:2] in _CLASSES
