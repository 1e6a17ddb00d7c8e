"""The same suite on real servers: `make test-services`.

REDIS_URL and DATABASE_URL name them; without, the standard local ports are tried. The Redis database must be empty, and
is emptied afterwards; in PostgreSQL only a database made for this run is used.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import redis

TREE = Path(__file__).resolve().parent.parent
LOCAL_REDIS = "redis://127.0.0.1:6379"
LOCAL_POSTGRESQL = "postgres://postgres@127.0.0.1:5432"
TRIED_DATABASES = range(9, 16)


class Missing(Exception):
    """A server that the suite needs is not there. The message says which."""


def is_empty(url: str) -> bool:
    """Raise Missing when the server does not answer."""
    try:
        with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            return int(client.dbsize()) == 0
    except redis.RedisError as error:
        raise Missing(f"Redis does not answer at {url.rpartition('@')[2]}: {error}") from error


def find_redis() -> str:
    """The URL of an empty database; raise Missing."""
    given = os.environ.get("REDIS_URL", "")
    candidates = [given] if given else [f"{LOCAL_REDIS}/{number}" for number in TRIED_DATABASES]
    for url in candidates:
        if is_empty(url):
            return url
    raise Missing(f"No empty Redis database among {', '.join(url.rpartition('@')[2] for url in candidates)}")


def find_postgresql() -> str:
    """The DATABASE_URL to run on; raise Missing. Django makes and drops `test_` plus its name."""
    given = os.environ.get("DATABASE_URL", "")
    try:
        psycopg.connect(given or f"{LOCAL_POSTGRESQL}/postgres", connect_timeout=3).close()
    except psycopg.Error as error:
        raise Missing(f"PostgreSQL does not answer: {str(error).strip()}") from error
    return given or f"{LOCAL_POSTGRESQL}/voiceagent_{os.getpid()}"


def main(arguments: list[str]) -> int:
    try:
        services = {"REDIS_URL": find_redis(), "DATABASE_URL": find_postgresql()}
    except Missing as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    if arguments == ["--answer"]:  # only whether they are there
        return 0
    try:
        command = [sys.executable, "manage.py", "test", "--noinput", *arguments]
        return subprocess.run(command, cwd=TREE, env={**os.environ, **services}).returncode
    finally:
        with redis.Redis.from_url(services["REDIS_URL"]) as client:
            client.flushdb()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
