"""What must not be lost until the database has it: one append-only file for each call and process (docs/journal.md)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from django.conf import settings

from calls.journal.journal import Journal
from calls.journal.keeper import Keeper

__all__ = ["Journal", "Keeper", "get_journal"]

_journal: Journal | None = None
_lock = threading.Lock()


def get_journal() -> Journal:
    """The journal of this process. Made at the first use, when the keeper is started too."""
    global _journal
    with _lock:
        if _journal is None:
            _journal = Journal(Path(settings.JOURNAL_DIR), max_bytes=settings.JOURNAL_MAX_BYTES)
            _journal.start()
            Keeper(_journal).start()
        return _journal


def reason() -> str:
    """Why facts of this process may not be safe (Journal.reason); empty when they are, or none was journaled yet."""
    journal = _journal
    return journal.reason if journal is not None else ""


def _forget_after_fork() -> None:
    """Threads do not survive a fork, and a lock may have been held by one."""
    global _journal, _lock
    if _journal is not None:
        _journal.forget_after_fork()
    _journal = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
