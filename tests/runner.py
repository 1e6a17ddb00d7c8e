"""The test runner: a private Valkey around the suite, and a last word on what was skipped."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import sys
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import hypothesis
from django.conf import settings
from django.core.cache import caches
from django.test import runner as django_runner
from django.test.runner import DiscoverRunner, ParallelTestSuite

from voiceagent.valkey import PrivateValkey


def skip_summary(reasons: list[str]) -> list[str]:
    """Lines that say how many tests were skipped, and why; a reason says how to switch its tests on."""
    if not reasons:
        return ["Nothing was skipped."]
    return [f"Skipped {number}: {reason}" for reason, number in sorted(Counter(reasons).items())]


# Most of the suite's time is real calls that take their real time, so its processes mostly wait: `--parallel 3` on two
# cores. Where Python would start them from a server process (3.14), fork: they must find what the first one has set up.
if sys.platform == "linux":
    multiprocessing.set_start_method("fork", force=True)

# Generated tests take the time they take; how long depends on what else the machine does.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")


def neighbour(redis_url: str, distance: int) -> str:
    """The URL of the database so many numbers after the one in this URL (redis://host:6379/9, 1 -> .../10;
    unix://path?db=0, 1 -> ...?db=1)."""
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        number = int(dict(parse_qsl(parts.query)).get("db", "0"))
        return parts._replace(query=f"db={number + distance}").geturl()
    return parts._replace(path=f"/{int(parts.path.strip('/') or 0) + distance}").geturl()


def init_worker(*arguments: Any) -> None:
    """Django's start of a parallel process; and on a shared Redis a database of its own.

    The workers that its end-to-end tests start would take another process's jobs otherwise.
    """
    django_runner._init_worker(*arguments)  # type: ignore[attr-defined]
    number: int = django_runner._worker_id  # type: ignore[attr-defined]
    if url := os.environ.get("REDIS_URL"):
        os.environ["REDIS_URL"] = neighbour(url, number)
    # Tests clear the cache, and must not clear another process's.
    caches.settings["default"]["LOCATION"] = neighbour(settings.REDIS_URL, number)
    with contextlib.suppress(AttributeError):  # the first process may have used it before the fork
        del caches["default"]


class Suite(ParallelTestSuite):
    """The classes that place real calls come first: they mostly wait, and the others fill the time."""

    init_worker = init_worker  # Django takes it as a plain function, too


class Runner(DiscoverRunner):
    """Django's runner, on files and a Valkey that are gone afterwards (manage.py chose the place for them)."""

    parallel_test_suite = Suite

    def setup_test_environment(self, **kwargs: Any) -> None:
        super().setup_test_environment(**kwargs)
        # Requests that are refused on purpose are not worth a line each; a test that wants one asks with assertLogs.
        logging.getLogger().setLevel(logging.WARNING)
        for name in ("django.request", "django_structlog"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def setup_databases(self, **kwargs: Any) -> Any:
        """Make the copies for parallel processes after the write-ahead log is in the file, which alone is copied."""
        processes, self.parallel = self.parallel, 0
        try:
            old = super().setup_databases(**kwargs)
        finally:
            self.parallel = processes
        for connection, _name, is_first in old if processes > 1 else []:
            if connection.vendor == "sqlite":
                with connection.cursor() as cursor:
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for number in range(1, processes + 1) if is_first else ():
                connection.creation.clone_test_db(suffix=str(number), verbosity=0)
        return old

    def run_tests(self, test_labels: list[str], **kwargs: Any) -> int:
        server = None
        if settings.EMBEDDED_REDIS:
            server = PrivateValkey(settings.VAR_DIR, dies_with_me=True).acquire()
        try:
            return super().run_tests(test_labels, **kwargs)
        finally:
            if server is not None:
                server.release()
            if settings.VAR_DIR.name.startswith("test-"):
                shutil.rmtree(settings.VAR_DIR, ignore_errors=True)

    def suite_result(self, suite: Any, result: Any, **kwargs: Any) -> int:
        for line in skip_summary([reason for _, reason in result.skipped]):
            sys.stderr.write(f"{line}\n")
        return super().suite_result(suite, result, **kwargs)
