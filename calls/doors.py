"""The one door through which the live call reaches the database: bounded threads, a deadline, a cache.

The audio loop never waits for a row. `admit` (and `recall`, for a resumed call) is awaited once, at the handshake, in
threads of its own: sync_to_async would share one thread with every page and every other call of the process.
`tell_ending` is awaited when the agent has ended a call, before its socket closes, `may_put_through` by a tool.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from redis.exceptions import RedisError

from businesses.models import AgentVersion
from businesses.snapshots import AgentSnapshot, TransferOption
from calls import history, live_calls, transfers
from calls.dial_policy import Verdict
from calls.history import PastTurn
from calls.stream_tickets import LIFETIME_SECONDS, Ticket
from calls.threads import BoundedPool, PoolBusy

logger = logging.getLogger(__name__)

AGENT_DEADLINE_SECONDS = 2.0
CLAIM_DEADLINE_SECONDS = 0.5
RECALL_DEADLINE_SECONDS = 1.0  # a caller who was cut off hears nothing meanwhile
TELL_DEADLINE_SECONDS = 0.3
TRANSFER_DEADLINE_SECONDS = 2.0
_PUTS_THROUGH = "transfer_call"  # the tool of that name
_MAX_AGENTS = 500  # each with up to 200 kB of sentences in its own voice

Result = TypeVar("Result")

# Pools of their own: a hung Redis must not take the threads that load agents, nor a hung database those that read.
_claims = BoundedPool("claim-ticket", threads=4)
_loads = BoundedPool("load-agent", threads=4)
_reads = BoundedPool("read-journal", threads=2)
_tells = BoundedPool("tell-ending", threads=4)
_transfers = BoundedPool("ask-transfer", threads=2)
_agents: dict[int, AgentSnapshot] = {}


class NotAdmitted(Exception):
    """The stream is not let in. `reason` is a short code, safe to log: ticket_used, no_agent or database_away."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RowsAway(Exception):
    """The database did not answer in time."""


class UsedTickets:
    """The tickets this process has let in, each until it would have expired anyway. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def claim(self, jti: str, expires_at: float, now: float) -> bool:
        """Return True the first time. `now` and `expires_at` are seconds since 1970."""
        with self._lock:
            for old in [old for old, until in self._until.items() if until < now]:
                del self._until[old]
            if jti in self._until:
                return False
            self._until[jti] = expires_at + 1
            return True


_used = UsedTickets()


async def admit(ticket: Ticket) -> AgentSnapshot:
    """Use up the ticket and return the agent that answers. Raise NotAdmitted."""
    if not await _claim(ticket):
        raise NotAdmitted("ticket_used")
    agent = _agents.get(ticket.agent_version_id)
    if agent is None:
        agent = await _load(ticket.agent_version_id)
    if agent.business_id != ticket.business_id:
        raise NotAdmitted("no_agent")
    if _PUTS_THROUGH in agent.tools:
        return replace(agent, transfer_options=await _transfer_options(ticket))
    return agent


async def may_put_through(call_sid: str, business_id: int, target_id: int) -> Verdict:
    """What the dial policy says of putting this call through to the target. Raise RowsAway."""
    try:
        return await _within(
            _transfers,
            lambda: transfers.verdict(call_sid, business_id, target_id, timezone.now()),
            TRANSFER_DEADLINE_SECONDS,
        )
    except (DatabaseError, InterfaceError, OSError, PoolBusy) as error:  # TimeoutError is an OSError
        name = type(error).__name__
    logger.warning("no word on a transfer: the database is away", extra={"call_sid": call_sid, "error": name})
    raise RowsAway


async def recall(ticket: Ticket) -> list[PastTurn]:
    """What was said in the call before this stream, as far as it can be known in time. Never raises: an agent that
    remembers less is better than a call that is lost."""
    sources = await asyncio.gather(
        _within(_loads, lambda: history.from_rows(ticket.call_sid, ticket.business_id), RECALL_DEADLINE_SECONDS),
        _within(
            _reads,
            lambda: history.from_journals(Path(settings.JOURNAL_DIR), ticket.call_sid, ticket.business_id),
            RECALL_DEADLINE_SECONDS,
        ),
        return_exceptions=True,
    )
    known: list[list[PastTurn]] = []
    for source in sources:
        if isinstance(source, BaseException):
            error = {"call_sid": ticket.call_sid, "error": type(source).__name__}
            logger.warning("a resumed call does not know all that was said", extra=error)
        else:
            known.append(source)
    return history.merged(*known)


async def tell_ending(call_sid: str, stream_number: int) -> None:
    """Let the other web processes know how the stream ended. Never raises: they find out by the row, later."""
    try:
        await _within(_tells, lambda: live_calls.share_ending(call_sid, stream_number), TELL_DEADLINE_SECONDS)
    except (RedisError, OSError, PoolBusy) as error:
        logger.warning("ending of a call not shared", extra={"call_sid": call_sid, "error": type(error).__name__})


def remember(agent: AgentSnapshot) -> None:
    """Keep the agent at hand for its calls; a published version never changes. The webhook has it first."""
    if len(_agents) >= _MAX_AGENTS:
        _agents.pop(next(iter(_agents)), None)
    _agents[agent.version_id] = agent


def remembers(agent: AgentSnapshot) -> bool:
    """Whether the agent is at hand just as it is here."""
    return _agents.get(agent.version_id) == agent


def forget_agents() -> None:
    """For tests, where ids come back."""
    _agents.clear()


async def _claim(ticket: Ticket) -> bool:
    """Single use, over all processes while Redis answers; else within this process, which is logged."""
    if not _used.claim(ticket.jti, ticket.expires_at, time.time()):
        return False
    try:
        return await _within(_claims, lambda: _claim_everywhere(ticket.jti), CLAIM_DEADLINE_SECONDS)
    except (RedisError, OSError, PoolBusy) as error:  # TimeoutError is an OSError
        logger.warning(
            "ticket claimed in this process only: the cache does not answer",
            extra={"call_sid": ticket.call_sid, "error": type(error).__name__},
        )
        return True


def _claim_everywhere(jti: str) -> bool:
    return bool(cache.add(f"stream-ticket:{jti}", 1, timeout=LIFETIME_SECONDS + 60))


async def _load(version_id: int) -> AgentSnapshot:
    try:
        agent = await _within(_loads, lambda: _snapshot(version_id), AGENT_DEADLINE_SECONDS)
    except AgentVersion.DoesNotExist:
        raise NotAdmitted("no_agent") from None
    except (DatabaseError, InterfaceError, OSError, PoolBusy) as error:
        raise NotAdmitted("database_away") from error
    remember(agent)
    return agent


async def _transfer_options(ticket: Ticket) -> tuple[TransferOption, ...]:
    """None while the database is away: an agent that cannot put anybody through is better than none."""
    try:
        return await _within(_loads, lambda: transfers.options(ticket.business_id), AGENT_DEADLINE_SECONDS)
    except (DatabaseError, InterfaceError, OSError, PoolBusy) as error:
        extra = {"call_sid": ticket.call_sid, "error": type(error).__name__}
        logger.warning("an agent does not know whom it may put callers through to", extra=extra)
        return ()


def _snapshot(version_id: int) -> AgentSnapshot:
    versions = AgentVersion.objects.select_related("agent__business").filter(published_at__isnull=False)
    return versions.get(pk=version_id).snapshot()


async def _within(pool: BoundedPool, work: Callable[[], Result], seconds: float) -> Result:
    return await asyncio.wait_for(asyncio.wrap_future(pool.submit(work)), seconds)
