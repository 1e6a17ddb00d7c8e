"""The page "Jobs" of admin, in a terminal."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from console import collect, text, verdicts
from console.verdicts import Level


class Command(BaseCommand):
    help = "Say how queues, workers and web processes are, and what to do. Exits 1 when something is wrong."
    requires_system_checks = []  # for when things are wrong

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="The same for a program; times are seconds.")

    def handle(self, *args: Any, **options: Any) -> None:
        figures = collect.collect()
        advice = verdicts.judge(figures, collect.limits())
        if options["json"]:
            self.stdout.write(json.dumps(text.as_json(figures, advice), indent=2, default=str))
        else:
            for line in text.lines(figures, advice):
                self.stdout.write(line)
        if verdicts.overall(advice) is Level.BAD:
            raise SystemExit(1)
