"""The same suite on real servers: `make test-services`.

REDIS_URL and DATABASE_URL name them; without, the standard local ports are tried. The Redis database and the three
after it (one for each parallel process) must be empty, and are emptied afterwards. In PostgreSQL only databases made
for this run are used.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import redis

from tests.runner import neighbour

TREE = Path(__file__).resolve().parent.parent
LOCAL_REDIS = "redis://127.0.0.1:6379"
LOCAL_POSTGRESQL = "postgres://postgres@127.0.0.1:5432"
TRIED_DATABASES = (8, 12, 4)
USED_DATABASES = 4  # of the first process, and of up to three parallel ones


class Missing(Exception):
    """A server that the suite needs is not there. The message says which."""


def databases(url: str) -> list[str]:
    return [neighbour(url, number) for number in range(USED_DATABASES)]


def are_empty(urls: list[str]) -> bool:
    """Raise Missing when the server does not answer."""
    try:
        for url in urls:
            with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
                if client.dbsize():
                    return False
    except redis.RedisError as error:
        raise Missing(f"Redis does not answer at {urls[0].rpartition('@')[2]}: {error}") from error
    return True


def find_redis() -> str:
    """The URL of the first of four empty databases; raise Missing."""
    given = os.environ.get("REDIS_URL", "")
    candidates = [given] if given else [f"{LOCAL_REDIS}/{number}" for number in TRIED_DATABASES]
    for url in candidates:
        if are_empty(databases(url)):
            return url
    tried = ", ".join(url.rpartition("@")[2] for url in candidates)
    raise Missing(f"No four empty Redis databases in a row, from {tried} on")


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
        for url in databases(services["REDIS_URL"]):
            with redis.Redis.from_url(url) as client:
                client.flushdb()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
