"""Workers that live, as they say themselves: each writes into one hash of the broker every few seconds.

Not by `celery inspect`: an answer to that takes as long as the slowest worker may, on every load of a page.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

KEY = "voiceagent:workers"
BEAT_SECONDS = 5.0
SILENT_SECONDS = 20.0
_FORGOTTEN_SECONDS = 3600.0  # workers of containers have a new name each time


def beat(client: Any, name: str, queues: Iterable[str]) -> None:
    """Worker `name` lives and takes from these queues. By the broker's clock. Raise redis.RedisError."""
    now = clock(client)
    client.hset(KEY, name, json.dumps({"queues": sorted(queues), "seen_at": now}))
    old = [field for field, text in client.hgetall(KEY).items() if seen_at(text) < now - _FORGOTTEN_SECONDS]
    if old:
        client.hdel(KEY, *old)


def leave(client: Any, name: str) -> None:
    """The worker ends in good order. Raise redis.RedisError."""
    client.hdel(KEY, name)


def by_queue(beats: Mapping[Any, bytes | str], now: float) -> Counter[str]:
    """How many living workers take from each queue; `beats` is the hash, `now` the broker's time."""
    found: Counter[str] = Counter()
    for text in beats.values():
        if now - seen_at(text) <= SILENT_SECONDS:
            found.update(str(queue) for queue in json.loads(text)["queues"])
    return found


def seen_at(text: bytes | str) -> float:
    """Zero for what no release of ours has written."""
    try:
        return float(json.loads(text)["seen_at"])
    except (ValueError, TypeError, KeyError):
        return 0.0


def clock(client: Any) -> float:
    """The broker's time, in seconds."""
    seconds, microseconds = client.time()
    return float(seconds) + float(microseconds) / 1e6
