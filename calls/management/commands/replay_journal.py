"""Write into the database what dead processes left in this machine's journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from calls.journal.replay import replay, write_together


class Command(BaseCommand):
    help = (
        "Write into the database what dead processes left in the journal (JOURNAL_DIR) of this machine. It is done at "
        "every start and every 30 seconds anyway; this says what was done. Safe to run at any time, and twice at once. "
        "What cannot be read is kept in JOURNAL_DIR/quarantine."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        report = replay(Path(settings.JOURNAL_DIR), together=write_together)
        self.stdout.write(f"{report}.")
        if report.waiting:
            raise CommandError("Not everything could be written: the log says why. Run it again later.")
