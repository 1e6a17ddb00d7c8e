"""What `manage.py doctor` looks at: one function for each question, findings in words, nothing raised.

Everything it needs is on this machine or in its own settings; it contacts neither Twilio nor OpenAI.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core.checks import WARNING, CheckMessage, run_checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from businesses import stored_secrets
from businesses.models import PhoneNumber
from voiceagent import checks, running, servers
from voiceagent.celery import app

TIMEOUT_SECONDS = servers.TIMEOUT_SECONDS
QUEUES = ("high", "default")


@dataclass(frozen=True)
class Finding:
    """One answer. `wrong` findings say in `mend` what to do; others may carry a remark there."""

    subject: str
    text: str
    wrong: bool = False
    mend: str = ""


def configuration() -> Iterator[Finding]:
    """The system checks: what can be told from the settings alone."""
    problems = list(_problems("settings", run_checks()))
    yield from problems or [Finding("settings", "nothing contradictory")]


def _problems(subject: str, messages: Iterable[CheckMessage]) -> Iterator[Finding]:
    for message in messages:
        if message.level >= WARNING:
            yield Finding(subject, f"{message.id}: {message.msg}", True, message.hint or "")


def database() -> Iterator[Finding]:
    """Reachable, and migrated."""
    try:
        connection.ensure_connection()
        plan = MigrationExecutor(connection)
        missing = plan.migration_plan(plan.loader.graph.leaf_nodes())
    except DatabaseError as error:
        yield Finding(
            "database", f"{connection.vendor} does not answer: {one_line(error)}", True, "Check DATABASE_URL."
        )
        return
    if missing:
        yield Finding("database", f"{len(missing)} migrations are not applied", True, "Run: manage.py migrate")
    else:
        yield Finding("database", f"{connection.vendor}, migrated")


def broker() -> Iterator[Finding]:
    """Answers, drops nothing, keeps its data."""
    mend = "Start the system: make run" if settings.EMBEDDED_REDIS else "Check REDIS_URL."
    try:
        info = servers.broker_info()
    except redis.RedisError as error:
        yield Finding("broker", f"does not answer: {one_line(error)}", True, mend)
        return
    yield from broker_findings(info)


def broker_findings(info: dict[str, object]) -> Iterator[Finding]:
    """What the server says about itself (the command INFO)."""
    policy = str(info.get("maxmemory_policy", "unknown"))
    yield from _problems("broker", checks.check_broker(info))
    if not info.get("maxmemory"):
        yield Finding("broker", "has no memory limit of its own", mend="Set maxmemory below what the machine has.")
    elif _number(info, "used_memory") > 0.8 * _number(info, "maxmemory"):
        yield Finding("broker", "its memory is nearly full", True, "Raise maxmemory, or see which queue grows.")
    yield Finding("broker", f"answers, {policy}, {_number(info, 'used_memory') // 2**20} MiB used")


def workers() -> Iterator[Finding]:
    """A living worker on each queue."""
    try:
        replies = app.control.inspect(timeout=TIMEOUT_SECONDS).active_queues() or {}
    except (OSError, redis.RedisError, app.connection_for_read().recoverable_connection_errors) as error:
        yield Finding("workers", f"cannot be asked: {one_line(error)}", True, "The broker comes first.")
        return
    served = {queue["name"] for queues in replies.values() for queue in queues}
    for queue in QUEUES:
        if queue in served:
            yield Finding("workers", f"queue {queue} is served")
        else:
            command = "celery -A voiceagent worker -Q high,default"
            yield Finding("workers", f"nobody serves queue {queue}", True, f"Start: {command}")
    if "offline" not in served:
        yield Finding(
            "workers", "nobody serves queue offline", mend="For analyses: celery -A voiceagent worker -Q offline"
        )


def public_address() -> Iterator[Finding]:
    """Whether PUBLIC_URL leads here. Only the form is certain: reaching oneself from inside may be impossible."""
    if not settings.IS_PUBLIC:
        yield Finding("address", "PUBLIC_URL is the demonstration's; only simulated calls can arrive", mend=GOING_LIVE)
        return
    parts = urlsplit(settings.PUBLIC_URL)
    request = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        request.request("GET", "/healthz")
        answer = request.getresponse()
        is_ours = answer.status == 200 and answer.read(16) == b"ok"
    except (OSError, http.client.HTTPException) as error:
        text = f"{settings.PUBLIC_URL}/healthz is not reached from here: {one_line(error)}"
        yield Finding("address", text, True, "Check DNS, TLS and the proxy. " + GOING_LIVE)
        return
    finally:
        request.close()
    if is_ours:
        yield Finding("address", f"{settings.PUBLIC_URL} leads to a server of this kind")
    else:
        text = f"{settings.PUBLIC_URL}/healthz answers {answer.status}, and not as this server does"
        yield Finding("address", text, True, "The proxy must pass every path to this server.")


def web() -> Iterator[Finding]:
    """The web process of this checkout, when `make run` started it."""
    found = running.read_running(settings.VAR_DIR)
    if found is None:
        yield Finding("web", "`make run` is not active in this folder")
    elif running.is_healthy(found.port, TIMEOUT_SECONDS):
        yield Finding("web", f"answers at {found.address}")
    else:
        yield Finding("web", f"does not answer at {found.address}", True, f"See {settings.VAR_DIR}/log/web.log")


def twilio() -> Iterator[Finding]:
    if settings.TWILIO_IS_SIMULATED:
        yield Finding("twilio", "simulated: no TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN", mend=GOING_LIVE)
    else:
        tokens = len(settings.TWILIO_AUTH_TOKENS)
        yield Finding("twilio", f"account ...{settings.TWILIO_ACCOUNT_SID[-4:]}, {tokens} auth token(s)")


def model() -> Iterator[Finding]:
    if settings.MODEL_IS_SIMULATED or not settings.OPENAI_API_KEY:
        yield Finding("model", "simulated: no OPENAI_API_KEY", mend="Write OPENAI_API_KEY=... into .env")
    else:
        yield Finding("model", f"{settings.OPENAI_REALTIME_MODEL} at {settings.OPENAI_BASE_URL}")


def clocks() -> Iterator[Finding]:
    """This machine's clock against the broker's and the database's."""
    for name, ask in (("broker", servers.broker_clock), ("database", servers.database_clock)):
        try:
            ahead = ask()
        except (redis.RedisError, DatabaseError):
            continue  # said above already
        fits = Finding("clock", f"the {name}'s is within {checks.CLOCK_SECONDS:.0f} s")
        yield from list(_problems("clock", checks.check_clock(name, ahead))) or [fits]


def numbers() -> Iterator[Finding]:
    """Each active number must lead to an agent that can speak."""
    try:
        active = list(PhoneNumber.objects.filter(is_active=True).select_related("agent", "business"))
        silent = [number for number in active if number.agent.published_version() is None]
    except DatabaseError:
        return  # said above already
    if not active:
        yield Finding("numbers", "there is none to call", True, "Add one in admin, with a business and an agent.")
    for number in silent:
        text = f"{number.number}: agent {number.agent.name} has no published version"
        yield Finding("numbers", text, True, "Publish a version of it in admin.")
    for number in active:
        if not number.business.is_active:
            text = f"{number.number}: {number.business.name} is not active, so calls are refused"
            yield Finding("numbers", text, True, "Activate the business, or deactivate the number.")
    if active and not silent:
        yield Finding("numbers", f"{len(active)} active, each with an agent that can speak")


def secrets() -> Iterator[Finding]:
    """Each stored secret must be readable with the keys there are."""
    try:
        problems = list(_problems("secrets", checks.check_secrets(stored_secrets.unreadable())))
    except DatabaseError:
        return  # said above already
    except ValueError:
        return  # a key that is none: the settings' finding says which
    yield from problems or [Finding("secrets", "none is stored that cannot be read")]


GOING_LIVE = "docs/going-live.md says how."
QUESTIONS: list[Callable[[], Iterator[Finding]]] = [
    *(configuration, database, broker, workers, web, public_address, twilio, model, clocks, numbers, secrets),
]


def examine() -> Iterator[Finding]:
    """Every finding, in the order in which one would mend them."""
    for question in QUESTIONS:
        yield from question()


def one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _number(info: dict[str, object], name: str) -> int:
    value = info.get(name, 0)
    return value if isinstance(value, int) else 0
