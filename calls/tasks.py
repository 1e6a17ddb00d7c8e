"""Celery's way into calls.services: each task is one call of the service of its name.

What a task leaves behind (results, logs, events) holds the CallSid, the business's id and the turn's index, and nothing
that was said or dialled. An error's own text may quote a row, so it never leaves this module: tasks raise errors that
carry only the name of what happened.
"""

from __future__ import annotations

import inspect
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Task, shared_task
from celery.app.trace import get_actual_ignore_result
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections

from calls import dead_letters, ended_jobs, heartbeats, reaper, reconciliation, services
from calls.away import is_away
from calls.carriers import twilio_rest
from calls.carriers.answers import CarrierUnreachable
from calls.journal import replay

logger = logging.getLogger(__name__)

_HERE = Path(__file__).parent
_IDENTITY = ("call_sid", "business_id", "turn_index")


class StorageUnavailable(Exception):
    """The database did not answer; the task will be run again. The message is the name of the database's error."""


class FactFailed(Exception):
    """The task failed for another reason than the database's absence. The message names the error and its place."""


class FactTask(Task):  # type: ignore[misc]
    """A task about one call. Results and events show its ids instead of its arguments; it is retried without end while
    the database is away. Anything else may fail it five times, the death of its worker among it; then it is a dead
    letter (calls.dead_letters), so that a poisonous one does not go round for ever.

    With `ignore_result` only what went wrong keeps a result: a failure, a try in vain, and then how that ended. What
    went well at once is counted (calls.ended_jobs)."""

    acks_late = True
    reject_on_worker_lost = True
    time_limit = 30
    soft_time_limit = 20
    autoretry_for = (StorageUnavailable,)
    retry_backoff = True
    retry_backoff_max = 15  # below the broker's visibility timeout, with the time limit added
    retry_jitter = True
    max_retries = None
    store_errors_even_if_ignored = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What a worker runs. Not Celery's own: that one would hide the delivery behind a request of its own."""
        request = self.request
        if request.called_directly:
            return self.run(*args, **kwargs)
        if (request.delivery_info or {}).get("redelivered"):
            failures = dead_letters.count_failure(request.id)
            if failures >= dead_letters.MAX_DELIVERIES:
                raise self._bury(args, kwargs, "WorkerLost", failures)
        try:
            return self.run(*args, **kwargs)
        except FactFailed as error:
            failure = error
        failures = dead_letters.count_failure(request.id)
        if failures >= dead_letters.MAX_DELIVERIES:
            raise self._bury(args, kwargs, str(failure), failures)
        raise self.retry(exc=failure, countdown=failures)

    def _bury(self, args: Sequence[Any], kwargs: dict[str, Any], reason: str, failures: int) -> Exception:
        """Keep the task as a dead letter. Return what it then ends with; while the database is away, a retry."""
        arguments = inspect.signature(self.run).bind_partial(*args, **kwargs).arguments
        try:
            dead_letters.bury(
                self.request.id, self.name.rpartition(".")[2], arguments, reason=reason, deliveries=failures
            )
        except DatabaseError as error:  # any: its text may quote the row
            unavailable = StorageUnavailable(type(error).__name__)
            connections.close_all()
        else:
            return FactFailed(f"{reason}, {failures} times: a dead letter now")
        return cast("Exception", self.retry(exc=unavailable, countdown=self.retry_backoff_max, throw=False))

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: dict[str, Any] | None = None, **options: Any
    ) -> Any:
        shown = {name: value for name, value in (kwargs or {}).items() if name in _IDENTITY}
        # A positional argument has no name here to tell an id from a sentence.
        options["argsrepr"] = "()" if not args else f"({len(args)} not shown)"
        options["kwargsrepr"] = repr(shown)
        if options.get("retries"):
            options["ignore_result"] = False  # or it would be shown as waiting for its next try for ever
        return super().apply_async(args, kwargs, **options)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Let the stored result say which queue the task came by, when it was sent (time.time) and how often it was
        tried in vain; django-celery-results keeps `meta`."""
        self.request.meta = {
            "queue": (self.request.delivery_info or {}).get("routing_key", ""),
            "sent_at": getattr(self.request, "sent_at", None),
            "retries": self.request.retries,
        }

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        request = self.request
        if get_actual_ignore_result(self, request):
            queue = (request.delivery_info or {}).get("routing_key", "")
            ended_jobs.tally.succeeded(queue, getattr(request, "sent_at", None), time.time())


def _task(name: str, *, queue: str, ignore_result: bool = False) -> Callable[[Callable[..., str]], FactTask]:
    """Celery's own decorator, typed."""
    task = shared_task(base=FactTask, name=name, queue=queue, ignore_result=ignore_result)
    return cast("Callable[[Callable[..., str]], FactTask]", task)


def _place(error: BaseException) -> str:
    """The innermost line of this app that the error came through; further in are only libraries."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == _HERE]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _store(call_sid: str, write: Callable[[], bool], what: str) -> str:
    """Run a service and return "CAxxx turn 3", with " refused" after it when it was. Raise errors without text."""
    failure: Exception
    try:
        accepted = write()
    except Exception as error:  # noqa: BLE001 - the edge of a task: the text of the error stays here
        if isinstance(error, SoftTimeLimitExceeded) or (isinstance(error, DatabaseError) and is_away(error)):
            failure = StorageUnavailable(type(error).__name__)
            # CELERY_DB_REUSE_MAX keeps connections over tasks; this one may be dead.
            connections.close_all()
        else:
            failure = FactFailed(f"{type(error).__name__} at {_place(error)}")
            logger.error("a fact of a call failed", extra={"call_sid": call_sid, "error": str(failure)})
    else:
        return f"{call_sid} {what}" if accepted else f"{call_sid} {what} refused"
    raise failure  # outside the handler, so that no database error hangs on it as its context


@_task("calls.tasks.create_call_log", queue="high")
def create_call_log(
    call_sid: str,
    business_id: int,
    from_number: str,
    to_number: str,
    direction: str,
    stream_sid: str = "",
    *,
    status: str = "in-progress",
    account_sid: str = "",
    agent_version_id: int | None = None,
    occurred_at: str = "",
    owner_boot_id: str = "",
    stream_number: int = 0,
    recording_consent: str = "",
) -> str:
    return _store(
        call_sid,
        lambda: services.create_call_log(
            call_sid=call_sid,
            business_id=business_id,
            from_number=from_number,
            to_number=to_number,
            direction=direction,
            stream_sid=stream_sid,
            status=status,
            account_sid=account_sid,
            agent_version_id=agent_version_id,
            occurred_at=occurred_at,
            owner_boot_id=owner_boot_id,
            stream_number=stream_number,
            recording_consent=recording_consent,
        ),
        "created",
    )


@_task("calls.tasks.save_conversation_turn", queue="default", ignore_result=True)
def save_conversation_turn(
    call_sid: str,
    business_id: int,
    user_text: str,
    bot_reply: str,
    turn_index: int,
    *,
    revision: int = 0,
    heard_text: str = "",
    generated_ms: int = 0,
    heard_ms: int = 0,
    interrupted: bool = False,
    started_at: str = "",
    ended_at: str = "",
    reply_ms: int | None = None,
    reply_heard_ms: int | None = None,
) -> str:
    return _store(
        call_sid,
        lambda: services.save_conversation_turn(
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
        ),
        f"turn {turn_index}",
    )


@_task("calls.tasks.save_tool_use", queue="default", ignore_result=True)
def save_tool_use(
    call_sid: str,
    business_id: int,
    tool_call_id: str,
    name: str,
    *,
    arguments: str = "",
    output: str = "",
    state: str = "started",
    started_at: str = "",
    ended_at: str = "",
) -> str:
    return _store(
        call_sid,
        lambda: services.save_tool_use(
            call_sid=call_sid,
            business_id=business_id,
            tool_call_id=tool_call_id,
            name=name,
            arguments=arguments,
            output=output,
            state=state,
            started_at=started_at,
            ended_at=ended_at,
        ),
        "tool use",
    )


@_task("calls.tasks.save_message", queue="default")
def save_message(
    call_sid: str,
    business_id: int,
    key: str,
    text: str,
    *,
    caller_name: str = "",
    callback_number: str = "",
    taken_at: str = "",
) -> str:
    return _store(
        call_sid,
        lambda: services.save_message(
            call_sid=call_sid,
            business_id=business_id,
            key=key,
            text=text,
            caller_name=caller_name,
            callback_number=callback_number,
            taken_at=taken_at,
        ),
        "message",
    )


@_task("calls.tasks.save_recording", queue="default")
def save_recording(
    call_sid: str,
    business_id: int,
    recording_sid: str,
    state: str,
    *,
    channels: int = 1,
    started_at: str = "",
    duration_seconds: int | None = None,
    consent: str = "",
) -> str:
    return _store(
        call_sid,
        lambda: services.save_recording(
            call_sid=call_sid,
            business_id=business_id,
            recording_sid=recording_sid,
            state=state,
            channels=channels,
            started_at=started_at,
            duration_seconds=duration_seconds,
            consent=consent,
        ),
        "recording",
    )


@_task("calls.tasks.save_leg", queue="high")
def save_leg(
    call_sid: str,
    business_id: int,
    key: str,
    state: str,
    *,
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
) -> str:
    """On `high`: the carrier asks for what is in it while the caller waits."""
    return _store(
        call_sid,
        lambda: services.save_leg(
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
            answered_at=answered_at,
            ended_at=ended_at,
            duration_seconds=duration_seconds,
        ),
        "leg",
    )


@_task("calls.tasks.finalize_call_log", queue="high")
def finalize_call_log(
    call_sid: str,
    business_id: int,
    status: str,
    duration_seconds: int,
    transcript: str,
    recording_url: str = "",
    *,
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
) -> str:
    return _store(
        call_sid,
        lambda: services.finalize_call_log(
            call_sid=call_sid,
            business_id=business_id,
            status=status,
            duration_seconds=duration_seconds,
            transcript=transcript,
            recording_url=recording_url,
            ended_reason=ended_reason,
            turns=turns,
            ended_at=ended_at,
            model_session_id=model_session_id,
            interruptions=interruptions,
            stream_number=stream_number,
            model=model,
            counters=counters,
            usage=usage,
            tool_uses=tool_uses,
            messages=messages,
        ),
        "finalized",
    )


@_task("calls.tasks.apply_call_status", queue="high")
def apply_call_status(
    call_sid: str,
    business_id: int,
    status: str,
    *,
    sequence_number: int,
    duration_seconds: int | None = None,
    occurred_at: str = "",
) -> str:
    return _store(
        call_sid,
        lambda: services.apply_call_status(
            call_sid=call_sid,
            business_id=business_id,
            status=status,
            sequence_number=sequence_number,
            duration_seconds=duration_seconds,
            occurred_at=occurred_at,
        ),
        f"status {sequence_number}",
    )


@shared_task(name="calls.tasks.replay_journal", queue="high", ignore_result=True)  # type: ignore[untyped-decorator]
def replay_journal() -> None:
    """Write what dead processes left in the journal directory of this worker's machine, if it has one. By beat; what
    cannot be written now is written the next time."""
    try:
        replay.replay_here()
    except SoftTimeLimitExceeded:
        logger.warning("replaying the journal took too long, and goes on the next time")


@shared_task(name="calls.tasks.sweep_unfinished_calls", queue="high", ignore_result=True)  # type: ignore[untyped-decorator]
def sweep_unfinished_calls() -> None:
    """End the calls that nobody carries any more. By beat, and when a web process starts."""
    try:
        reaper.sweep(heartbeats.database_now())
    except SoftTimeLimitExceeded:
        logger.warning("the sweep took too long, and goes on the next time")
    except DatabaseError as error:
        if not is_away(error):
            raise
        logger.warning("no sweep: the database is away", extra={"error": type(error).__name__})
        connections.close_all()


@shared_task(  # type: ignore[untyped-decorator]
    name="calls.tasks.reconcile_calls", queue="high", soft_time_limit=100, time_limit=110, ignore_result=True
)
def reconcile_calls() -> None:
    """Record the calls that only the carrier knows. By beat, once a day.

    The time limit is below the broker's visibility timeout, or it would be delivered again while it runs.
    """
    if not settings.RECONCILE_CALLS or not twilio_rest.is_available():
        return
    now = heartbeats.database_now()
    try:
        reconciliation.reconcile(twilio_rest.calls_since(now - reconciliation.LOOK_BACK), now)
    except (CarrierUnreachable, SoftTimeLimitExceeded, DatabaseError) as error:
        if isinstance(error, DatabaseError) and not is_away(error):
            raise
        reason = str(error) if isinstance(error, CarrierUnreachable) else type(error).__name__
        # The next one looks back far enough to make up for this one.
        logger.error("the carrier's calls were not compared with ours", extra={"error": reason})
