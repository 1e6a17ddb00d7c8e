"""The storage edge of a live call: hands each fact on, and never blocks or raises.

1. A fact goes on a bounded queue in memory; the call goes on at once.
2. One thread publishes it as a Celery task (deadline 0.5 s). After three failures in a row it leaves the broker alone
   for five seconds and tries again with one fact.
3. What the broker did not take is written directly through calls.services, with a deadline of 2 s.
4. What the database did not take either is left to the journal, to which every fact was given first: its keeper asks
   the database what is missing, and writes it. So steps 2 and 3 may lose anything, and nothing is lost.

Only what the journal does not have on the disk (it is full, say) waits in memory, in order, and is tried again after 1,
2, 4 ... 30 seconds. While the disk is sick the database is asked before the broker, which may lose what it took.

No fact is ever doubled by this: services are idempotent, so a write that came too late for its deadline, and is done
again, changes nothing. No text of a call, and no number, is logged.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import Error as DatabaseUnwell

from calls.backlog import Backlog
from calls.journal import Journal, get_journal, kinds
from calls.legs import RANKS
from calls.publishing import Breaker, BrokerUnwell, Publisher
from calls.threads import BoundedPool, PoolBusy

logger = logging.getLogger(__name__)

DIRECT_DEADLINE_SECONDS = 2.0
MAX_WAITING = 10_000
_DATABASE_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, repr=False)  # repr=False: a fact holds a caller's words
class Fact:
    """One thing to remember: the name of the service (and task), and its arguments."""

    kind: str
    arguments: dict[str, Any]
    journaled: bool = False

    @property
    def may_be_shed(self) -> bool:
        """It also comes with the call's end; the other facts come once, or are what somebody is waiting for."""
        return self.kind in kinds.REPEATED


@dataclass(slots=True)
class Counters:
    """Since the process began. `waiting`: accepted, and in neither broker nor database yet, nor left to the journal's
    keeper (`left`). For health pages."""

    published: int = 0
    direct: int = 0
    waiting: int = 0
    dropped: int = 0
    left: int = 0


class Recorder:
    """One for each process, from `get_recorder()`. The facts may be handed over from any thread or event loop."""

    def __init__(
        self,
        *,
        publisher: Publisher | None = None,
        journal: Journal | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._publisher = publisher or Publisher()
        self._journal = journal
        self._breaker = Breaker()
        self._database = Breaker(limit=1, pause=_DATABASE_PAUSE_SECONDS)  # for what the journal holds anyway
        self._pool = BoundedPool("record-directly", threads=4, queued=1)
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._incoming: deque[Fact] = deque()
        self._backlog: Backlog[Fact] = Backlog()
        self._in_hand = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._published = self._direct = self._dropped = self._left = 0

    def create_call_log(
        self,
        *,
        call_sid: str,
        business_id: int,
        from_number: str,
        to_number: str,
        direction: str,
        stream_sid: str = "",
        status: str = "in-progress",
        account_sid: str = "",
        agent_version_id: int | None = None,
        occurred_at: str = "",
        owner_boot_id: str = "",
        stream_number: int = 0,
        recording_consent: str = "",
    ) -> None:
        self._accept(
            "create_call_log",
            call_sid=call_sid,
            business_id=business_id,
            from_number=from_number,
            to_number=to_number,
            direction=direction,
            stream_sid=stream_sid,
            status=status,
            account_sid=account_sid,
            agent_version_id=agent_version_id,
            occurred_at=occurred_at or _now(),
            owner_boot_id=owner_boot_id,
            stream_number=stream_number,
            recording_consent=recording_consent,
        )

    def save_conversation_turn(
        self,
        *,
        call_sid: str,
        business_id: int,
        user_text: str,
        bot_reply: str,
        turn_index: int,
        revision: int = 0,
        heard_text: str = "",
        generated_ms: int = 0,
        heard_ms: int = 0,
        interrupted: bool = False,
        started_at: str = "",
        ended_at: str = "",
        reply_ms: int | None = None,
        reply_heard_ms: int | None = None,
    ) -> None:
        self._accept(
            "save_conversation_turn",
            call_sid=call_sid,
            business_id=business_id,
            user_text=user_text,
            bot_reply=bot_reply,
            turn_index=turn_index,
            revision=revision,
            heard_text=heard_text,
            generated_ms=generated_ms,
            heard_ms=heard_ms,
            interrupted=interrupted,
            started_at=started_at,
            ended_at=ended_at,
            reply_ms=reply_ms,
            reply_heard_ms=reply_heard_ms,
        )

    def save_tool_use(
        self,
        *,
        call_sid: str,
        business_id: int,
        tool_call_id: str,
        name: str,
        arguments: str = "",
        output: str = "",
        state: str = "started",
        started_at: str = "",
        ended_at: str = "",
    ) -> None:
        self._accept(
            "save_tool_use",
            call_sid=call_sid,
            business_id=business_id,
            tool_call_id=tool_call_id,
            name=name,
            arguments=arguments,
            output=output,
            state=state,
            started_at=started_at,
            ended_at=ended_at,
        )

    def save_message(
        self,
        *,
        call_sid: str,
        business_id: int,
        key: str,
        text: str,
        caller_name: str = "",
        callback_number: str = "",
        taken_at: str = "",
    ) -> None:
        self._accept(
            "save_message",
            call_sid=call_sid,
            business_id=business_id,
            key=key,
            text=text,
            caller_name=caller_name,
            callback_number=callback_number,
            taken_at=taken_at or _now(),
        )

    def save_recording(
        self,
        *,
        call_sid: str,
        business_id: int,
        recording_sid: str,
        state: str,
        channels: int = 1,
        started_at: str = "",
        duration_seconds: int | None = None,
        consent: str = "",
    ) -> None:
        self._accept(
            "save_recording",
            call_sid=call_sid,
            business_id=business_id,
            recording_sid=recording_sid,
            state=state,
            channels=channels,
            started_at=started_at,
            duration_seconds=duration_seconds,
            consent=consent,
        )

    def save_leg(
        self,
        *,
        call_sid: str,
        business_id: int,
        key: str,
        state: str,
        kind: str = "",
        target_name: str = "",
        number: str = "",
        leg_sid: str = "",
        reason: str = "",
        briefing: str = "",
        asked_at: str = "",
        answered_at: str = "",
        ended_at: str = "",
        duration_seconds: int | None = None,
    ) -> None:
        """Whoever tells of an answer, or an end, without a time means now."""
        has_answered, has_ended = state in ("answered", "accepted"), RANKS[state] >= RANKS["refused"]
        self._accept(
            "save_leg",
            call_sid=call_sid,
            business_id=business_id,
            key=key,
            state=state,
            kind=kind,
            target_name=target_name,
            number=number,
            leg_sid=leg_sid,
            reason=reason,
            briefing=briefing,
            asked_at=asked_at,
            answered_at=answered_at or (_now() if has_answered else ""),
            ended_at=ended_at or (_now() if has_ended else ""),
            duration_seconds=duration_seconds,
        )

    def finalize_call_log(
        self,
        *,
        call_sid: str,
        business_id: int,
        status: str,
        duration_seconds: int,
        transcript: str,
        recording_url: str = "",
        ended_reason: str = "",
        turns: Sequence[dict[str, Any]] = (),
        ended_at: str = "",
        model_session_id: str = "",
        interruptions: int = 0,
        stream_number: int = 0,
        model: str = "",
        counters: Mapping[str, int] | None = None,
        usage: Mapping[str, int] | None = None,
        tool_uses: Sequence[Mapping[str, Any]] = (),
        messages: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """`turns`, `tool_uses`, `messages`: all of the stream, each with the arguments of save_conversation_turn,
        save_tool_use or save_message but the first two."""
        self._accept(
            "finalize_call_log",
            call_sid=call_sid,
            business_id=business_id,
            status=status,
            duration_seconds=duration_seconds,
            transcript=transcript,
            recording_url=recording_url,
            ended_reason=ended_reason,
            turns=[dict(turn) for turn in turns],
            ended_at=ended_at or _now(),
            model_session_id=model_session_id,
            interruptions=interruptions,
            stream_number=stream_number,
            model=model,
            counters=dict(counters or {}),
            usage=dict(usage or {}),
            tool_uses=[dict(use) for use in tool_uses],
            messages=[dict(message) for message in messages],
        )

    def apply_call_status(
        self,
        *,
        call_sid: str,
        business_id: int,
        status: str,
        sequence_number: int,
        duration_seconds: int | None = None,
        occurred_at: str = "",
    ) -> None:
        self._accept(
            "apply_call_status",
            call_sid=call_sid,
            business_id=business_id,
            status=status,
            sequence_number=sequence_number,
            duration_seconds=duration_seconds,
            occurred_at=occurred_at or _now(),
        )

    def counters(self) -> Counters:
        with self._changed:
            return Counters(self._published, self._direct, self._waiting(), self._dropped, self._left)

    def close(self, timeout: float) -> bool:
        """Hand on what waits, for up to `timeout` seconds. Return whether nothing is left that would be lost with the
        process. A later fact starts anew."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._backlog.relax()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting() == 0, max(0.0, deadline - time.monotonic()))
            left = self._waiting()
            self._closing = left == 0
            thread = self._thread
        if thread is not None and left == 0:
            thread.join(max(0.0, deadline - time.monotonic()))
        on_disk = self._journal is not None and self._journal.flush(max(0.1, deadline - time.monotonic()))
        if left and not on_disk:
            logger.error("facts of calls were not stored at the end of the process", extra={"facts": left})
        return left == 0 or on_disk

    def _accept(self, kind: str, /, **arguments: Any) -> None:
        fact = Fact(kind, arguments, self._journal is not None and self._journal.append(kind, arguments))
        with self._changed:
            # Turns leave room for the facts that nothing else would repair: these have as much again.
            limit = self._max_waiting if fact.may_be_shed else 2 * self._max_waiting
            accepted = self._waiting() < limit
            if accepted:
                self._incoming.append(fact)
                self._ensure_thread()
                self._changed.notify_all()
            elif not fact.journaled:
                self._dropped += 1
        if accepted:
            return
        if fact.journaled:
            self._leave(fact)
        else:
            logger.error("a fact of a call was dropped: too many wait", extra=_identity(fact))

    def _leave(self, fact: Fact) -> None:
        """To the journal's keeper, who then does not wait for the broker's word to come true."""
        assert self._journal is not None, "it has the fact"
        self._left += 1
        self._journal.not_taken(fact.arguments["call_sid"])

    def _is_safe(self, fact: Fact) -> bool:
        """Whether the fact is on the disk, or will be in a moment."""
        return fact.journaled and self._journal is not None and self._journal.healthy

    def _waiting(self) -> int:
        return len(self._incoming) + len(self._backlog) + self._in_hand

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._closing = False
            self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            fact, has_waited = job
            stored = self._hand_on(fact)
            if not stored and self._is_safe(fact):
                self._leave(fact)
                stored = True
            with self._changed:
                if stored:
                    self._backlog.relax()
                else:
                    self._backlog.put(fact, first=has_waited)
                    self._backlog.postpone(time.monotonic(), hurry=self._closing)
                self._in_hand = 0
                self._changed.notify_all()
        self._publisher.close()

    def _next(self) -> tuple[Fact, bool] | None:
        """Wait for a fact, and whether it comes from the backlog, which goes first. None: closed, and nothing is left.

        While the database is away new facts still try the broker, and queue up behind the others if it is away too.
        """
        with self._changed:
            while True:
                now = time.monotonic()
                if self._backlog and self._backlog.is_due(now):
                    self._in_hand = 1
                    return self._backlog.take(), True
                if self._incoming and self._backlog and self._breaker.is_open(now):
                    self._backlog.put(self._incoming.popleft(), first=False)
                    continue
                if self._incoming:
                    self._in_hand = 1
                    return self._incoming.popleft(), False
                if self._closing and not self._backlog:
                    self._thread = None  # decided under the lock: a fact that comes now starts a new thread
                    return None
                self._changed.wait(self._backlog.pause(now))

    def _hand_on(self, fact: Fact) -> bool:
        """Return whether the broker or the database has the fact."""
        if fact.journaled and not self._is_safe(fact) and self._write_directly(fact):
            return True
        if not self._breaker.is_open(time.monotonic()):
            try:
                self._publisher.publish(fact.kind, fact.arguments)
            except BrokerUnwell as error:
                self._breaker.failed(time.monotonic())
                logger.warning("broker did not take a fact", extra=_identity(fact) | {"error": str(error)})
            else:
                self._breaker.succeeded()
                self._published += 1
                return True
        if self._is_safe(fact) and self._database.is_open(time.monotonic()):
            return False
        return self._write_directly(fact)

    def _write_directly(self, fact: Fact) -> bool:
        from calls import services  # the models need a configured Django, this module may be imported before

        write = getattr(services, fact.kind)
        try:
            self._pool.run(lambda: write(**fact.arguments), DIRECT_DEADLINE_SECONDS)
        except (DatabaseUnwell, TimeoutError, PoolBusy) as error:
            logger.warning("database did not take a fact", extra=_identity(fact) | {"error": type(error).__name__})
            self._database.failed(time.monotonic())
            return False
        except Exception as error:  # noqa: BLE001 - the edge: a fact that cannot be written must not stop the others
            logger.error("a fact of a call was dropped", extra=_identity(fact) | {"error": type(error).__name__})
            self._dropped += 1
            return True
        self._database.succeeded()
        self._direct += 1
        return True


_recorder: Recorder | None = None
_recorder_lock = threading.Lock()


def get_recorder() -> Recorder:
    """The recorder of this process."""
    global _recorder
    with _recorder_lock:
        if _recorder is None:
            _recorder = Recorder(journal=get_journal())
        return _recorder


def _forget_after_fork() -> None:
    """Threads do not survive a fork, and a lock may have been held by one."""
    global _recorder, _recorder_lock
    _recorder = None
    _recorder_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _identity(fact: Fact) -> dict[str, Any]:
    return {"fact": fact.kind, "call_sid": fact.arguments["call_sid"], "turn_index": fact.arguments.get("turn_index")}
