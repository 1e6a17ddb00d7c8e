"""Clips that this process has read from the database, so that a call does not read a few hundred kB again."""

from __future__ import annotations

import threading
from datetime import datetime

from businesses.snapshots import SpokenClip

MAX_VERSIONS = 500  # of about 200 kB each

State = tuple[int, datetime]  # how many clips the version had, and when the newest was rendered
Clips = dict[str, SpokenClip]


class ClipMemory:
    """The clips of the versions read last, as long as they are what the database has. Thread-safe."""

    def __init__(self, limit: int = MAX_VERSIONS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[State, Clips]] = {}

    def recall(self, version_id: int, state: State) -> Clips | None:
        """None: not read yet, or in another state."""
        with self._lock:
            known, clips = self._kept.get(version_id, (None, None))
            return clips if known == state else None

    def keep(self, version_id: int, state: State, clips: Clips) -> None:
        with self._lock:
            self._kept.pop(version_id, None)
            while len(self._kept) >= self._limit:
                del self._kept[next(iter(self._kept))]
            self._kept[version_id] = (state, clips)
