"""Celery's way to the dialler and to a machine that listens. Results and logs hold ids and codes, never a number."""

from __future__ import annotations

import logging

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import Error as DatabaseError
from django.db import connections
from kombu.exceptions import OperationalError

from calls import heartbeats
from calls.away import is_away
from calls.carriers import twilio_dialling
from calls.carriers.answers import CarrierUnreachable
from outbound import dialler, services, states
from outbound.models import OutboundCall

logger = logging.getLogger(__name__)

LOOK_AROUND_SECONDS = 5.0
_MESSAGE_TRIES = 3


@shared_task(name="outbound.tasks.dial", queue="high", ignore_result=True)  # type: ignore[untyped-decorator]
def dial() -> None:
    """Hand the next waiting call to the carrier. Asked for by whoever places a call, by the run before, and by beat."""
    try:
        done = dialler.run(heartbeats.database_now)
    except DatabaseError as error:
        _pass_over(error)
        return
    if done.next_in is not None:
        dial.apply_async(countdown=done.next_in, expires=done.next_in + LOOK_AROUND_SECONDS)


@shared_task(name="outbound.tasks.look_around", queue="high", ignore_result=True)  # type: ignore[untyped-decorator]
def look_around() -> None:
    """Find out about calls whose outcome is not known, and dial what waits. By beat."""
    try:
        now = heartbeats.database_now()
        dialler.reconcile(now)
        services.follow_log(now)
    except SoftTimeLimitExceeded:
        logger.warning("asking about calls took too long, and goes on the next time")
    except DatabaseError as error:
        _pass_over(error)
        return
    dial()


@shared_task(name="outbound.tasks.leave_message", queue="high", ignore_result=True, bind=True)  # type: ignore[untyped-decorator]
def leave_message(self: Task, outbound_id: int) -> None:
    """A machine has answered, and listens now: leave the message, or hang up."""
    now = heartbeats.database_now()
    call = OutboundCall.objects.select_related("business").get(pk=outbound_id)
    if call.call_sid is None or not services.message_begun(call, now):
        return
    text = call.message if call.answered_by in states.MACHINES_THAT_LISTEN else ""
    version = call.agent.published_version()
    language = version.language if version is not None else call.business.language
    try:
        taken = twilio_dialling.say_to_machine_and_hang_up(call.call_sid, text, language)
    except CarrierUnreachable as error:
        services.message_not_left(call, now)
        logger.warning("no message left on a machine", extra={"call_sid": call.call_sid, "error": str(error)})
        if self.request.retries < _MESSAGE_TRIES:
            raise self.retry(countdown=1, exc=error) from None
        return
    left_message = bool(text) and taken
    if not left_message:
        services.message_not_left(call, now)
    services.ended_by_machine(call, left_message=left_message)


def ask_to_dial() -> bool:
    """Let a worker dial soon. Without a broker beat's next look does it."""
    try:
        dial.apply_async(expires=LOOK_AROUND_SECONDS, retry=False)
    except (OperationalError, OSError):
        return False
    return True


def _pass_over(error: DatabaseError) -> None:
    if not is_away(error):
        raise error
    logger.warning("nothing is dialled: the database is away", extra={"error": type(error).__name__})
    connections.close_all()
