"""Every setting of voiceagent, read from the environment (and `.env`); `.env.example` explains each variable.

Unset, everything has a default that works on one machine without any service: SQLite, a private Valkey, a simulated
model.
"""

from pathlib import Path

import environ
from celery.schedules import crontab
from csp.constants import NONE, SELF

from voiceagent import embedded, file_storage, logs, prices
from voiceagent.broker import broker_url

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.FileAwareEnv()  # FileAwareEnv: NAME_FILE may name a file that holds the value (container secrets)
environ.Env.read_env(env.str("VOICEAGENT_ENV_FILE", default=str(BASE_DIR / ".env")))

# --- Where this server keeps its own files -------------------------------------------------------------------
VAR_DIR = Path(env.str("VOICEAGENT_VAR", default=str(BASE_DIR / "var"))).resolve()

# Off also here: error pages would show what callers said.
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or embedded.secret("secret_key", VAR_DIR)
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])  # old keys, while one is being replaced
# Fernet keys, newest first, for the secrets of HTTP tools in the database; empty: one derived from SECRET_KEY.
SECRETS_KEYS = env.list("SECRETS_KEYS", default=[])

# --- The public address: what Twilio calls, and what its signatures are computed over ------------------------
DEMONSTRATION_URL = "https://voiceagent.localhost"
PUBLIC_URL = env.str("PUBLIC_URL", default=DEMONSTRATION_URL).rstrip("/")
IS_PUBLIC = PUBLIC_URL.startswith("https://") and PUBLIC_URL != DEMONSTRATION_URL
ALLOWED_HOSTS = [
    *("localhost", "127.0.0.1", "[::1]", embedded.host_of(PUBLIC_URL)),
    *env.list("ALLOWED_HOSTS", default=[]),
]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
APPEND_SLASH = False  # a redirect would turn Twilio's POST into a GET without its parameters

# --- Twilio --------------------------------------------------------------------------------------------------
TWILIO_ACCOUNT_SID = env.str("TWILIO_ACCOUNT_SID", default="")
# Several tokens, comma separated, while one is being rotated; the first is used for REST.
TWILIO_AUTH_TOKENS = env.list("TWILIO_AUTH_TOKEN", default=[])
# With neither, only the simulated carrier on this machine can call: it signs with this random account.
TWILIO_IS_SIMULATED = not TWILIO_ACCOUNT_SID and not TWILIO_AUTH_TOKENS
if TWILIO_IS_SIMULATED:
    TWILIO_ACCOUNT_SID = embedded.demo_account_sid(VAR_DIR)
    TWILIO_AUTH_TOKENS = [embedded.secret("twilio_auth_token", VAR_DIR)]
# Of the addresses we name in TwiML: two retries, after whatever went wrong, within Twilio's 15 s.
TWILIO_CONNECTION_OVERRIDES = env.str("TWILIO_CONNECTION_OVERRIDES", default="rc=2&rp=all&ct=2000&rt=5000")
TWILIO_API_URL = env.str("TWILIO_API_URL", default="").rstrip("/")  # empty: api.twilio.com
RECONCILE_CALLS = env.bool("RECONCILE_CALLS", default=not TWILIO_IS_SIMULATED)
RECONCILE_HOUR = env.int("RECONCILE_HOUR", default=3)  # UTC

# --- The speech model ----------------------------------------------------------------------------------------
OPENAI_API_KEY = env.str("OPENAI_API_KEY", default="")
# Set by `manage.py run` when it starts the simulated model: pages and logs then say so.
MODEL_IS_SIMULATED = env.bool("MODEL_IS_SIMULATED", default=False)
OPENAI_BASE_URL = env.str("OPENAI_BASE_URL", default="https://api.openai.com/v1")
OPENAI_REALTIME_MODEL = env.str("OPENAI_REALTIME_MODEL", default="gpt-realtime-2.1")
# gpt-4o(-mini)-transcribe and whisper-1 shut down on 2027-02-26 (protocols, openai-realtime B7).
OPENAI_TRANSCRIPTION_MODEL = env.str("OPENAI_TRANSCRIPTION_MODEL", default="gpt-transcribe")
# Reads calls that are over, for businesses that want it (docs/after-the-call.md).
OPENAI_ANALYSIS_MODEL = env.str("OPENAI_ANALYSIS_MODEL", default="gpt-6-luna")
# Greeting and the sentences for bad moments, in the agent's own voice, rendered before any call (media/clips.py).
RENDER_CLIPS = env.bool("RENDER_CLIPS", default=True)
# What calls cost, computed when they end. The file's prices go before the built-in ones (voiceagent/prices.py).
SPEECH_PRICES_FILE = env.str("SPEECH_PRICES_FILE", default="")
SPEECH_PRICES = prices.table(SPEECH_PRICES_FILE)

# --- How a call sounds -----------------------------------------------------------------------------------------
# A caller who waits for an answer: after so many seconds something fills the silence, another session of the model is
# opened, the call goes to a person.
DEAD_AIR_SECONDS = tuple(env.list("DEAD_AIR_SECONDS", cast=float, default=[2.0, 4.2, 5.2]))
AUDIO_AHEAD_SECONDS = env.float("AUDIO_AHEAD_SECONDS", default=2.0)  # so far before it plays the agent's audio is sent

# --- Tools that agents ask over HTTP (docs/tools.md) ----------------------------------------------------------
# The hosts that they may ask: nothing, until somebody names one.
HTTP_TOOL_HOSTS = [host.strip().lower() for host in env.list("HTTP_TOOL_HOSTS", default=[])]
# For tests and demonstrations: hosts on that list may be addresses of this machine, and are asked without TLS.
HTTP_TOOLS_ALLOW_LOCAL = env.bool("HTTP_TOOLS_ALLOW_LOCAL", default=False)

# --- Storage and jobs ----------------------------------------------------------------------------------------
REDIS_URL = env.str("REDIS_URL", default="")
EMBEDDED_REDIS = not REDIS_URL
if EMBEDDED_REDIS:
    REDIS_URL = embedded.redis_url(VAR_DIR)

# Files that are kept: recordings. By default in a directory that web and offline worker share; FILE_STORAGE may name
# another storage of Django's, and FILE_STORAGE_OPTIONS what it is made with, as JSON.
MEDIA_ROOT = Path(env.str("MEDIA_ROOT", default="") or VAR_DIR / "media").resolve()
FILE_STORAGE = env.str("FILE_STORAGE", default="") or "django.core.files.storage.FileSystemStorage"
FILE_STORAGE_OPTIONS = env.str("FILE_STORAGE_OPTIONS", default="") or "{}"
FILE_UPLOAD_PERMISSIONS, FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o600, 0o700  # callers' voices are in them

DATABASES = {"default": embedded.database(env, VAR_DIR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "daphne",
    "voiceagent",  # before admin: its templates replace some of admin's
    "voiceagent.admin_config.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_structlog",
    "django_celery_results",
    "businesses",
    "calls",
    "outbound",
    "media",
    "console",
    "analysis",
]

MIDDLEWARE = [
    "voiceagent.health.HealthMiddleware",  # first: it answers when everything behind it hangs
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
]

TEST_RUNNER = "tests.runner.Runner"
ROOT_URLCONF = "voiceagent.urls"
ASGI_APPLICATION = "voiceagent.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
# --- Static files: collected and hashed where `staticfiles/` exists (the image), else straight from the packages ---
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles" if (BASE_DIR / "staticfiles").is_dir() else None
STATIC_IS_COLLECTED = STATIC_ROOT is not None and not DEBUG
WHITENOISE_USE_FINDERS = not STATIC_IS_COLLECTED
WHITENOISE_MIMETYPES = {".wav": "audio/wav"}  # its own list does not know it, and Twilio plays no octet-stream
STORAGES = {
    "default": {"BACKEND": FILE_STORAGE, "OPTIONS": file_storage.options(FILE_STORAGE_OPTIONS) or {}},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_IS_COLLECTED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- Security ------------------------------------------------------------------------------------------------
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
SESSION_COOKIE_AGE = 8 * 3600  # a working day
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_PUBLIC
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=30 * 24 * 3600) if IS_PUBLIC else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = False  # this server does not speak for its whole domain
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if IS_PUBLIC else None
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# W008: the proxy in front speaks TLS; a redirect from here would break Twilio's POST. W005, W021: see HSTS above.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
# Nothing inline and nothing from elsewhere, on any page: Django admin works under it as it is.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
        "media-src": [SELF, "blob:"],
    }
}

# --- Logging -------------------------------------------------------------------------------------------------
LOG_FORMAT = env.str("LOG_FORMAT", default="console" if EMBEDDED_REDIS else "json")
LOGGING = logs.logging_config(LOG_FORMAT, env.str("LOG_LEVEL", default="INFO"))

# For pages that show what happens now. The media stream's consumer has none: the default layer closes live sockets when
# Redis restarts (docs/decisions.md).
CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
}

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},  # a hung server must not hang its callers
    }
}

# --- The journal: what must not be lost until the database has it (docs/journal.md) ---------------------------
# On a disk of this machine; web processes and workers of one machine share it.
JOURNAL_DIR = Path(env.str("JOURNAL_DIR", default="") or VAR_DIR / "journal").resolve()
JOURNAL_MAX_BYTES = env.int("JOURNAL_MAX_BYTES", default=256 * 1024 * 1024)

# --- Admission: over these, callers are forwarded, asked to hold or told politely (calls/admission.py) ---------
# One call costs about 10 ms of CPU a second: a hundred fill one core. 0: no limit.
MAX_CALLS_PER_PROCESS = env.int("MAX_CALLS_PER_PROCESS", default=100)
LOOP_LATE_MS = env.int("LOOP_LATE_MS", default=250)

# --- Outbound calls (docs/outbound.md): of all businesses together; each has its own limit beside it -----------
OUTBOUND_CALLS_AT_ONCE = env.int("OUTBOUND_CALLS_AT_ONCE", default=20)

# --- Watching (docs/jobs.md) ---------------------------------------------------------------------------------
# /metrics is there for whoever sends it as a bearer token; without it the address does not exist.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# --- Serving (voiceagent/serving): uvicorn with picows, or daphne ---------------------------------------------
WEB_SERVER = env.str("WEB_SERVER", default="uvicorn")

# --- Stopping (media/draining.py): how long a web process lets its calls go on before it hands them over ------
DRAIN_SECONDS = max(0, env.int("DRAIN_SECONDS", default=900))
# Who ends `make run` wants it to end, and nobody else is there to take the calls over.
DRAIN_SECONDS_OF_RUN = max(0, env.int("DRAIN_SECONDS", default=0))

# --- Celery: begin -------------------------------------------------------------------------------------------
CELERY_BROKER_URL = broker_url(REDIS_URL)
# The worker's. The recorder publishes over a connection of its own with a deadline of 0.5 s (calls/publishing.py).
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 120,  # above the time limit and the longest pause before a retry; the default is an hour
    "unacked_mutex_expire": 10,  # of a worker that died while it restored messages; the default is 300
    "socket_timeout": 5,  # a blocking read lasts 1 s, so this only ends reads from a server that hangs
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # the default gives up after 100
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]  # a pickle in the queue would be code to run
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SOFT_TIME_LIMIT = 20  # ends in a retry; the hard limit would lose the task
CELERY_TASK_TIME_LIMIT = 30
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 25.0  # what still runs after that goes back to the queue
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # tasks are short, and may run twice
CELERY_DB_REUSE_MAX = 10_000  # tasks before a connection is opened anew; without it each task opens one
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True  # names and ids of a task's arguments; calls.tasks leaves nothing else in them
CELERY_RESULT_EXPIRES = 7 * 24 * 3600
CELERY_TIMEZONE = "UTC"
CELERY_IMPORTS = ["calls.recording_tasks", "analysis.transcription_tasks"]  # beside each app's tasks.py
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "celerybeat-schedule")
CELERY_BEAT_SCHEDULE = {
    "celery.backend_cleanup": {"task": "celery.backend_cleanup", "schedule": crontab(hour="4", minute="0")},
    # Its answer is of no use later than the next one's.
    "sweep-unfinished-calls": {
        "task": "calls.tasks.sweep_unfinished_calls",
        "schedule": 15.0,
        "options": {"expires": 15.0},
    },
    "reconcile-calls": {
        "task": "calls.tasks.reconcile_calls",
        "schedule": crontab(hour=str(RECONCILE_HOUR), minute="20"),
    },
    # A call that is placed is dialled at once; this is for what waits, and what went wrong.
    "dial-what-waits": {"task": "outbound.tasks.look_around", "schedule": 5.0, "options": {"expires": 5}},
    # A message that waited longer would only repeat the next one. Web processes look by themselves, as often.
    "replay-journal": {"task": "calls.tasks.replay_journal", "schedule": 30.0, "options": {"expires": 30}},
    "render-missing-clips": {
        "task": "media.tasks.render_missing_clips",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "find-recordings-to-fetch": {
        "task": "calls.recording_tasks.find_recordings",
        "schedule": 10.0,
        "options": {"expires": 10.0},
    },
    "ask-for-untold-recordings": {"task": "calls.recording_tasks.ask_for_untold", "schedule": crontab(minute="35")},
    "find-messages-to-write-down": {
        "task": "analysis.transcription_tasks.find_messages",
        "schedule": 15.0,
        "options": {"expires": 15.0},
    },
    "find-calls-to-analyse": {
        "task": "analysis.tasks.find_calls",
        "schedule": 15.0,
        "options": {"expires": 15.0},
    },
}
# --- Celery: end ---------------------------------------------------------------------------------------------
