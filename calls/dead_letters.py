"""Tasks that fail again and again are taken out of the queue and kept for a person, with what they carried.

The first delivery of a task costs nothing here. Counted are failures: a fact that its service could not write, and a
delivery that never came to an end (the broker gives it out again, marked; its worker died, perhaps because of it).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.cache import cache
from django.utils import timezone
from redis.exceptions import RedisError

from businesses.models import Business
from calls import facts, services
from calls.journal import kinds
from calls.models import DeadLetter

logger = logging.getLogger(__name__)

MAX_DELIVERIES = 5
_REMEMBERED_SECONDS = 24 * 3600


class NotReplayed(Exception):
    """The message is fit to be shown: it holds nothing of the payload."""


def count_failure(task_id: str) -> int:
    """One more failed delivery of this task; return how many there were. With no cache to count in, one."""
    key = f"failed-deliveries:{task_id}"
    try:
        cache.add(key, 0, _REMEMBERED_SECONDS)
        return int(cache.incr(key))
    except (RedisError, ValueError):  # ValueError: it was evicted just now
        return 1


def bury(task_id: str, kind: str, arguments: Mapping[str, Any], *, reason: str, deliveries: int) -> None:
    """Keep the task, once. Raise django.db.Error; then the task must stay in its queue."""
    payload = facts.plain(arguments)
    business_id = payload.get("business_id")
    is_id = isinstance(business_id, int) and not isinstance(business_id, bool)
    business = Business.objects.filter(pk=business_id).first() if is_id else None
    call_sid = str(payload.get("call_sid", ""))[:64]
    DeadLetter.objects.bulk_create(
        [
            DeadLetter(
                task_id=task_id[:64],
                kind=kind[:40],
                call_sid=call_sid,
                business=business,
                reason=reason[:200],
                deliveries=deliveries,
                payload=payload,
            )
        ],
        ignore_conflicts=True,
    )
    logger.error("a fact of a call became a dead letter", extra={"call_sid": call_sid, "fact": kind, "error": reason})


def replay(letter: DeadLetter) -> bool:
    """Hand the fact to its service once more. Return whether it was accepted; a refused one is kept as such, and counts
    as replayed. Raise NotReplayed when the letter has to stay."""
    if letter.kind not in kinds.ALL:
        raise NotReplayed("it is of a kind that this release does not know")
    failure = ""
    try:
        accepted: bool = getattr(services, letter.kind)(**letter.payload)
    except Exception as error:  # noqa: BLE001 - the edge: whatever made it fail before, its text stays here
        failure = type(error).__name__
    if failure:
        raise NotReplayed(f"it fails still: {failure}")
    letter.replayed_at = timezone.now()
    letter.payload = {}  # the call has it now; nobody looks here when what was said is to be erased
    letter.save(update_fields=["replayed_at", "payload"])
    return accepted
