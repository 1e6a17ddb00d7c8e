"""Things that could not be handed on, and wait in memory."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

_LONGEST_PAUSE_SECONDS = 30.0


class Backlog(Generic[Item]):
    """What nobody took, in order, and when the first of them is tried again."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._pause = 0.0
        self._due_at = 0.0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, *, first: bool) -> None:
        """`first`: it was taken from here, and goes back to its place."""
        if first:
            self._items.appendleft(item)
        else:
            self._items.append(item)

    def postpone(self, now: float, *, hurry: bool) -> None:
        """Something could not be stored: a longer pause for all."""
        self._pause = 0.2 if hurry else min(max(1.0, 2 * self._pause), _LONGEST_PAUSE_SECONDS)
        self._due_at = now + self._pause

    def relax(self) -> None:
        self._pause = self._due_at = 0.0

    def is_due(self, now: float) -> bool:
        return now >= self._due_at

    def take(self) -> Item:
        return self._items.popleft()

    def pause(self, now: float) -> float | None:
        """Seconds until the first of them is due; None when there is none."""
        return max(0.0, self._due_at - now) if self._items else None
