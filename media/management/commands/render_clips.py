"""Render the sentences of agents here and now, with a line for each version."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from businesses import clips
from media import tasks


class Command(BaseCommand):
    help = (
        "Render what is due of the sentences that agents say in their own voice (greeting, filler, apology, ...). "
        "Workers do it by themselves when a version is published; this does it in the foreground, also what was tried "
        "a moment ago."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        # Not --version: that one asks for Django's.
        parser.add_argument("--agent-version", type=int, metavar="ID", help="Only this one, by its id.")
        parser.add_argument("--again", action="store_true", help="Also what is rendered already.")

    def handle(self, *args: Any, agent_version: int | None, again: bool, **options: Any) -> None:
        in_use = list(clips.versions_in_use().values_list("pk", flat=True))
        is_complete = True
        for version_id in in_use if agent_version is None else [agent_version]:
            if again:
                clips.want_again(version_id)
            self.stdout.write(f"{tasks.render_now(version_id, hurry=True)}.")
            for key, error in clips.errors(version_id).items():
                self.stdout.write(f"  {key}: {error}")
                is_complete = False
            self.stdout.flush()
        if not is_complete:
            raise CommandError("Not everything could be rendered. Workers try it again, ever more seldom.")
