"""The test runner: a private Valkey around the suite, and a last word on what was skipped."""

from __future__ import annotations

import logging
import shutil
import sys
from collections import Counter
from typing import Any

from django.conf import settings
from django.test.runner import DiscoverRunner

from voiceagent.valkey import PrivateValkey


def skip_summary(reasons: list[str]) -> list[str]:
    """Lines that say how many tests were skipped, and why; a reason says how to switch its tests on."""
    if not reasons:
        return ["Nothing was skipped."]
    return [f"Skipped {number}: {reason}" for reason, number in sorted(Counter(reasons).items())]


class Runner(DiscoverRunner):
    """Django's runner, on files and a Valkey that are gone afterwards (manage.py chose the place for them)."""

    def setup_test_environment(self, **kwargs: Any) -> None:
        super().setup_test_environment(**kwargs)
        # Requests that are refused on purpose are not worth a line each; a test that wants one asks with assertLogs.
        logging.getLogger().setLevel(logging.WARNING)
        for name in ("django.request", "django_structlog"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

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
