"""Check the configuration and what it leads to; say how to mend each thing that is wrong."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from voiceagent.doctor import Finding, examine


class Command(BaseCommand):
    help = "Check configuration, services and numbers, and say how to mend what is wrong. Exits 1 when something is."
    requires_system_checks = []  # it reports them itself, among the rest

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for finding in examine():
            self.stdout.write(line_of(finding))
            self.stdout.flush()
            wrong += finding.wrong
        self.stdout.write(f"\n{wrong} thing(s) to mend." if wrong else "\nNothing to mend.")
        if wrong:
            raise SystemExit(1)


def line_of(finding: Finding) -> str:
    """`ok` or `WRONG`, what about, what was found, and below it what to do."""
    line = f"{'WRONG' if finding.wrong else 'ok':<6} {finding.subject:<9} {finding.text}"
    return f"{line}\n{'':<17}-> {finding.mend}" if finding.mend else line
