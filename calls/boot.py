"""Which life of which process this is: a new id at every start, and in every forked child."""

from __future__ import annotations

import os
import uuid

_boot_id = uuid.uuid4().hex


def boot_id() -> str:
    """32 hex digits. The process id alone would come again after a restart, on another machine at once."""
    return _boot_id


def _renew_after_fork() -> None:
    global _boot_id
    _boot_id = uuid.uuid4().hex


os.register_at_fork(after_in_child=_renew_after_fork)
