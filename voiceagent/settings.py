"""Every setting of voiceagent, read from the environment (and `.env`); `.env.example` explains each variable.

Unset, everything has a default that works on one machine without any service: SQLite, a private Valkey, a simulated
model.
"""

from pathlib import Path

import environ

from voiceagent import embedded

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.FileAwareEnv()  # FileAwareEnv: NAME_FILE may name a file that holds the value (container secrets)
environ.Env.read_env(env.str("VOICEAGENT_ENV_FILE", default=str(BASE_DIR / ".env")))

# --- Where this server keeps its own files -------------------------------------------------------------------
VAR_DIR = Path(env.str("VOICEAGENT_VAR", default=str(BASE_DIR / "var"))).resolve()

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or embedded.secret("secret_key", VAR_DIR)

# --- The public address: what Twilio calls, and what its signatures are computed over ------------------------
PUBLIC_URL = env.str("PUBLIC_URL", default="https://voiceagent.localhost").rstrip("/")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", embedded.host_of(PUBLIC_URL)])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
APPEND_SLASH = False  # a redirect would turn Twilio's POST into a GET without its parameters

# --- Twilio --------------------------------------------------------------------------------------------------
TWILIO_ACCOUNT_SID = env.str("TWILIO_ACCOUNT_SID", default="")
# Several tokens, comma separated, while one is being rotated; the first is used for REST.
TWILIO_AUTH_TOKENS = env.list("TWILIO_AUTH_TOKEN", default=[])

# --- The speech model ----------------------------------------------------------------------------------------
OPENAI_API_KEY = env.str("OPENAI_API_KEY", default="")
OPENAI_BASE_URL = env.str("OPENAI_BASE_URL", default="https://api.openai.com/v1")
OPENAI_REALTIME_MODEL = env.str("OPENAI_REALTIME_MODEL", default="gpt-realtime-2.1")
# gpt-4o(-mini)-transcribe and whisper-1 shut down on 2027-02-26 (protocols, openai-realtime B7).
OPENAI_TRANSCRIPTION_MODEL = env.str("OPENAI_TRANSCRIPTION_MODEL", default="gpt-transcribe")

# --- Storage and jobs ----------------------------------------------------------------------------------------
REDIS_URL = env.str("REDIS_URL", default="")
EMBEDDED_REDIS = not REDIS_URL
if EMBEDDED_REDIS:
    REDIS_URL = embedded.redis_url(VAR_DIR)

DATABASES = {"default": embedded.database(env, VAR_DIR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_structlog",
    "django_celery_results",
    "voiceagent",
    "businesses",
    "calls",
    "media",
]

MIDDLEWARE = [
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
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
