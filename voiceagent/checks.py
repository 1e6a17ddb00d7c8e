"""Configuration that cannot work is refused at start, with what is wrong and how to mend it.

Two groups. What can be told from the settings alone is looked at by every command. What the servers have to be asked
is looked at where a process starts that depends on them (`serve`, `run`, the worker), by `manage.py check --deploy` and
by `manage.py doctor`: two seconds at most, and a server that does not answer is no reason not to start.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

import redis
import structlog
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning
from django.core.management.base import SystemCheckError
from django.db import Error as DatabaseUnwell
from django.db import connection
from django.utils.module_loading import import_string

from businesses import allowed_hosts, encryption
from calls.threads import BoundedPool
from voiceagent import file_storage, prices, servers, serving

log = structlog.get_logger(__name__)

SETTINGS, SERVERS = "settings", "servers"  # the groups, as Django's tags
ASKING_SECONDS = 2.0  # of all servers: after a crash, calls wait for this process
ACCOUNT_SID = re.compile(r"AC[0-9a-f]{32}")

LONGEST_RETRY_SECONDS = 15  # calls.tasks.FactTask.retry_backoff_max; importing it here would load the models too early

# A job that is being worked on lies in the broker under the time of the machine that took it, and any other machine
# gives it out again visibility_timeout (120 s) later, by its own clock; it may take 45 s. Two machines that are this
# far from the broker in opposite directions stay within the 75 s between. (Measured at five minutes: done five times.)
CLOCK_REFUSED_SECONDS = 30.0
CLOCK_SECONDS = 2.0  # a machine that keeps its clock is far within this

# From OpenAI's deprecations page (November 2026): model -> what happens to it, and what to use.
RETIRED_MODELS = {
    "gpt-4o-realtime-preview": ("is shut down", "gpt-realtime-2.1"),
    "gpt-4o-mini-realtime-preview": ("is shut down", "gpt-realtime-2.1-mini"),
    "gpt-realtime": ("is shut down on 2027-01-20", "gpt-realtime-2.1"),
    "gpt-realtime-mini": ("is shut down on 2027-01-20", "gpt-realtime-2.1-mini"),
    "gpt-4o-transcribe": ("is shut down on 2027-02-26", "gpt-transcribe"),
    "gpt-4o-mini-transcribe": ("is shut down on 2027-02-26", "gpt-transcribe"),
    "gpt-4o": ("is shut down on 2027-01-14", "gpt-6-luna"),
    "gpt-4o-mini": ("is shut down on 2027-01-14", "gpt-6-luna"),
    "gpt-4.1": ("is shut down on 2027-01-14", "gpt-6-luna"),
    "gpt-4.1-mini": ("is shut down on 2027-01-14", "gpt-6-luna"),
    "whisper-1": ("is shut down on 2027-02-26", "gpt-transcribe"),
}

_MODELS = ("OPENAI_REALTIME_MODEL", "OPENAI_TRANSCRIPTION_MODEL", "OPENAI_ANALYSIS_MODEL")


def check_public_url(url: str) -> Iterable[CheckMessage]:
    """PUBLIC_URL is an https origin: Twilio's signatures are computed over it, and streams need wss."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        yield Error(
            f"PUBLIC_URL is {url!r}; Twilio opens media streams over TLS only.",
            hint="Set it to the address callers reach this server by, like PUBLIC_URL=https://voice.example.com",
            id="voiceagent.E001",
        )
    elif parts.path or parts.query or parts.fragment or parts.username:
        yield Error(
            f"PUBLIC_URL is {url!r}; it must be scheme and host only.",
            hint=f"Set PUBLIC_URL=https://{parts.hostname}" + (f":{parts.port}" if parts.port else ""),
            id="voiceagent.E002",
        )


def check_twilio(account_sid: str, tokens: list[str]) -> Iterable[CheckMessage]:
    """Both or neither; with one alone every call would be refused."""
    if bool(account_sid) != bool(tokens):
        missing = "TWILIO_AUTH_TOKEN" if account_sid else "TWILIO_ACCOUNT_SID"
        yield Error(
            f"Twilio is half configured: {missing} is not set.",
            hint="Set both, from the Twilio console's first page. Or neither, for simulated calls only.",
            id="voiceagent.E003",
        )
    if account_sid and not ACCOUNT_SID.fullmatch(account_sid):
        yield Error(
            "TWILIO_ACCOUNT_SID does not look like an account: AC and 32 hex digits.",
            hint="Copy it from the Twilio console's first page. An API key (SK...) is something else.",
            id="voiceagent.E004",
        )


def check_models(names: dict[str, str]) -> Iterable[CheckMessage]:
    """`names`: setting -> model. A retired model would be refused in the middle of the first call."""
    for setting, name in names.items():
        for retired, (when, instead) in RETIRED_MODELS.items():
            if name == retired or name.startswith(f"{retired}-20"):  # dated snapshots
                yield Warning(f"{setting} is {name}, which {when}.", hint=f"Use {instead}.", id="voiceagent.W001")


def check_prices(path: str) -> Iterable[CheckMessage]:
    """`path`: SPEECH_PRICES_FILE. With another table than the one that was meant, every call's cost would be wrong."""
    try:
        if path:
            prices.load(path)
    except prices.BadPrices as error:
        yield Error(
            f"SPEECH_PRICES_FILE is {path}: {error}.",
            hint="Mend the file, as .env.example shows it, or unset the variable: then OpenAI's list prices hold.",
            id="voiceagent.E011",
        )


def check_secret_key(key: str, *, is_public: bool) -> Iterable[CheckMessage]:
    """Stream tickets and sessions are signed with it."""
    if is_public and (len(key) < 32 or len(set(key)) < 8 or key.startswith("django-insecure-")):
        yield Error(
            "SECRET_KEY is too short or too simple for a server on the internet.",
            hint="Leave it unset (one is made and kept in var/), or make one: openssl rand -hex 32",
            id="voiceagent.E005",
        )


def check_secrets_keys(keys: Sequence[str]) -> Iterable[CheckMessage]:
    """The message names the places of the keys, never a key."""
    for place in encryption.unusable_keys(keys):
        yield Error(
            f"SECRETS_KEYS: key number {place} is no Fernet key (32 bytes in url-safe base64).",
            hint="Make one: openssl rand -base64 32 | tr '+/' '-_'",
            id="voiceagent.E012",
        )


def check_secrets(unreadable: Iterable[str]) -> Iterable[CheckMessage]:
    """`unreadable`: where secrets are that none of the keys decrypts, like "HTTP tool 3". Calls go on without those."""
    if places := list(unreadable):
        yield Warning(
            f"None of this server's keys decrypts the secret of: {', '.join(places)}. Calls do without these tools.",
            hint="Add the key they were encrypted with at the end of SECRETS_KEYS (or an old SECRET_KEY to "
            "SECRET_KEY_FALLBACKS) and run: manage.py rotate_secrets. Or enter the secrets in admin again and publish.",
            id="voiceagent.W004",
        )


def check_tool_hosts(entries: Sequence[str], *, allow_local: bool, is_public: bool) -> Iterable[CheckMessage]:
    """An entry that allows nothing would be found out by a caller."""
    for entry in entries:
        address = allowed_hosts.literal(entry)
        problem = allowed_hosts.problem(entry)
        if address is not None and not address.is_global and not (allow_local and address.is_loopback):
            problem = "is no public address, and so is never asked"
        if problem:
            yield Error(
                f"HTTP_TOOL_HOSTS: {entry!r} {problem}.",
                hint="List hosts, like HTTP_TOOL_HOSTS=api.example.com,.example.org (which is every name below it).",
                id="voiceagent.E013",
            )
    if allow_local and is_public:
        yield Warning(
            "HTTP_TOOLS_ALLOW_LOCAL is on while PUBLIC_URL names a public server: agents may reach services of this "
            "machine that HTTP_TOOL_HOSTS names.",
            hint="Remove HTTP_TOOLS_ALLOW_LOCAL from the environment or .env.",
            id="voiceagent.W005",
        )


def check_sound(dead_air: Sequence[float], ahead: float) -> Iterable[CheckMessage]:
    if len(dead_air) != 3 or not 0 < dead_air[0] < dead_air[1] < dead_air[2]:
        yield Error(
            "DEAD_AIR_SECONDS does not name three times that grow.",
            hint="Write seconds until a filler, another session of the model, and a person, like 2.0,4.2,5.2.",
            id="voiceagent.E014",
        )
    if not 0.2 <= ahead <= 30:
        yield Error(
            f"AUDIO_AHEAD_SECONDS is {ahead}, which is not from 0.2 to 30.",
            hint="Leave it out for two seconds: less makes gaps on a busy server, more sends what may be cleared.",
            id="voiceagent.E015",
        )


def check_metrics_token(token: str) -> Iterable[CheckMessage]:
    """/metrics is open to whoever guesses it."""
    if token and (len(token) < 24 or len(set(token)) < 8):
        yield Error(
            "METRICS_TOKEN is too short or too simple: /metrics could be read by guessing it.",
            hint="Make one: openssl rand -hex 32. Or leave it unset: then there is no /metrics.",
            id="voiceagent.E016",
        )


def check_web_server(name: str) -> Iterable[CheckMessage]:
    if name not in serving.SERVERS:
        yield Error(
            f"WEB_SERVER is {name!r}.",
            hint=f"Set it to {' or '.join(serving.SERVERS)}, or leave it out.",
            id="voiceagent.E017",
        )


def check_file_storage(name: str, options: str) -> Iterable[CheckMessage]:
    """`options`: FILE_STORAGE_OPTIONS as it was set, which may name a key of somebody's: it is not repeated."""
    read = file_storage.options(options)
    if read is None:
        yield Error(
            "FILE_STORAGE_OPTIONS is no JSON object.",
            hint='Write what the storage is made with, like {"bucket_name": "recordings"}, or leave it out.',
            id="voiceagent.E018",
        )
        return
    try:
        import_string(name)(**read)
    except Exception as error:  # noqa: BLE001 - whatever it is, there is nowhere to keep recordings
        yield Error(
            f"FILE_STORAGE is {name}, which cannot be made with FILE_STORAGE_OPTIONS: {type(error).__name__}.",
            hint="Name a storage of Django's or of an installed package (.env.example), or leave both out.",
            id="voiceagent.E018",
        )


def check_debug(debug: bool, *, is_public: bool) -> Iterable[CheckMessage]:
    if debug and is_public:
        yield Error(
            "DEBUG is on while PUBLIC_URL names a public server: error pages would show what callers said.",
            hint="Remove DEBUG from the environment or .env.",
            id="voiceagent.E006",
        )


def check_redelivery(visibility_timeout: float, longest: float) -> Iterable[CheckMessage]:
    """`longest`: a job's time limit and its longest pause before a retry, in seconds, together."""
    if visibility_timeout <= longest:
        yield Error(
            f"Redis gives a job to another worker after {visibility_timeout:g} s, while it may take {longest:g} s.",
            hint=f"Set visibility_timeout in CELERY_BROKER_TRANSPORT_OPTIONS well above {longest:g}, to 120 for one.",
            id="voiceagent.E007",
        )


def check_celery(versions: dict[str, str]) -> Iterable[CheckMessage]:
    """`versions`: package -> version. A worker of 5.7 that holds a job ends when Redis restarts (docs/decisions.md)."""
    for package, version in versions.items():
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= (5, 7):
            yield Error(
                f"{package} {version} is installed: its workers end when Redis restarts.",
                hint="Install what requirements/ names: celery and kombu below 5.7.",
                id="voiceagent.E008",
            )


def check_broker(info: Mapping[str, Any]) -> Iterable[CheckMessage]:
    """`info`: what the server says of itself. Policies of the name volatile-* drop only what expires: no job does."""
    policy = str(info.get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        yield Error(
            f"The broker's policy {policy} silently drops queued jobs when its memory is full.",
            hint="Set maxmemory-policy noeviction in its configuration.",
            id="voiceagent.E009",
        )
    if not info.get("aof_enabled"):
        yield Warning(
            "The broker's append-only file is off: queued jobs are lost when it restarts.",
            hint="Set appendonly yes in its configuration. Until then the journal repairs the record, but later.",
            id="voiceagent.W002",
        )


def check_clock(whose: str, ahead: float) -> Iterable[CheckMessage]:
    """`ahead`: how far that clock is ahead of this machine's, in seconds."""
    text = f"The {whose}'s clock is {ahead:+.1f} s from this machine's"
    hint = "Keep both with NTP."
    if abs(ahead) > CLOCK_REFUSED_SECONDS:
        yield Error(f"{text}: jobs would be done several times.", hint=hint, id="voiceagent.E010")
    elif abs(ahead) > CLOCK_SECONDS:
        yield Warning(f"{text}: times in the record will not fit together.", hint=hint, id="voiceagent.W003")


def check_servers(**_kwargs: Any) -> list[CheckMessage]:
    """What the broker and the database say. Whoever does not answer in time is passed over, with a line in the log."""
    questions: list[tuple[str, Callable[[], list[CheckMessage]]]] = [
        ("broker", lambda: [*check_broker(servers.broker_info()), *check_clock("broker", servers.broker_clock())]),
        ("database", lambda: [*check_clock("database", servers.database_clock())]),
        ("secrets", lambda: [*check_secrets(_unreadable_secrets())]),
    ]
    pool = BoundedPool("start-checks", threads=len(questions))
    answers = [(whom, pool.submit(ask)) for whom, ask in questions]
    give_up = time.monotonic() + ASKING_SECONDS
    messages: list[CheckMessage] = []
    for whom, answer in answers:
        try:
            messages += answer.result(max(0.0, give_up - time.monotonic()))
        except (redis.RedisError, DatabaseUnwell, OSError) as error:  # TimeoutError is an OSError
            log.warning("start_check_skipped", what=whom, error=type(error).__name__)
    return messages


def _unreadable_secrets() -> list[str]:
    from businesses import stored_secrets  # needs the models, which come after this module
    from businesses.models import HttpTool

    is_migrated = HttpTool._meta.db_table in connection.introspection.table_names()
    return list(stored_secrets.unreadable()) if is_migrated else []


def before_start(tags: Sequence[str] = (SERVERS,)) -> None:
    """Log every problem. Raise SystemCheckError, with ids and hints, when this process must not start."""
    messages = checks.run_checks(tags=tags, include_deployment_checks=True)
    for message in messages:
        tell = log.error if message.is_serious() else log.warning
        tell("start_check", id=message.id, problem=message.msg, hint=message.hint)
    serious = [message for message in messages if message.is_serious() and not message.is_silenced()]
    if serious:
        raise SystemCheckError("Not started:\n" + "\n".join(str(message) for message in serious))


def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """Every check of the settings, over those in force."""
    models = {name: getattr(settings, name) for name in _MODELS}
    return [
        *check_public_url(settings.PUBLIC_URL),
        *check_twilio(settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKENS),
        *check_models(models),
        *check_prices(settings.SPEECH_PRICES_FILE),
        *check_secret_key(settings.SECRET_KEY, is_public=settings.IS_PUBLIC),
        *check_secrets_keys(settings.SECRETS_KEYS),
        *check_tool_hosts(
            settings.HTTP_TOOL_HOSTS, allow_local=settings.HTTP_TOOLS_ALLOW_LOCAL, is_public=settings.IS_PUBLIC
        ),
        *check_sound(settings.DEAD_AIR_SECONDS, settings.AUDIO_AHEAD_SECONDS),
        *check_metrics_token(settings.METRICS_TOKEN),
        *check_web_server(settings.WEB_SERVER),
        *check_file_storage(settings.FILE_STORAGE, settings.FILE_STORAGE_OPTIONS),
        *check_debug(settings.DEBUG, is_public=settings.IS_PUBLIC),
        *check_redelivery(
            settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"],
            settings.CELERY_TASK_TIME_LIMIT + LONGEST_RETRY_SECONDS,
        ),
        *check_celery({name: metadata.version(name) for name in ("celery", "kombu")}),
    ]


def register() -> None:
    checks.register(check_settings, SETTINGS)
    checks.register(check_servers, SERVERS, deploy=True)
