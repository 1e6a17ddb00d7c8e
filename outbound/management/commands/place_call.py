"""Have an agent call somebody: `manage.py place_call +12125550123`."""

from __future__ import annotations

import secrets
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from businesses.models import Agent
from outbound import services, states, tasks, wording
from outbound.models import OutboundCall, OutboundState

_LOOK_SECONDS = 0.5


class Command(BaseCommand):
    help = "Have an agent call somebody, and say what becomes of it. A worker (and beat, for what waits) must run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("number", help="Whom to call: in E.164 form, or as dialled in the business's home country.")
        parser.add_argument("--agent", type=int, default=0, help="The agent's id (default: the only one there is).")
        parser.add_argument("--from", dest="from_number", default="", help="One of the business's own numbers.")
        parser.add_argument("--message", default="", help="Said to an answering machine after its tone.")
        parser.add_argument("--key", default="", help="Asking again with the same key places no second call.")
        parser.add_argument("--once", action="store_true", help="Do not try again when busy or not answered.")
        parser.add_argument("--follow", type=float, default=60, metavar="SECONDS", help="How long to watch (0: not).")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            call = services.place_call(
                agent=self.find_agent(options["agent"]),
                to=options["number"],
                key=options["key"] or secrets.token_hex(16),
                now=timezone.now(),
                from_number=options["from_number"],
                message=options["message"],
                tries_again=not options["once"],
            )
        except services.CannotPlace as error:
            raise CommandError(str(error)) from None
        if call.state == OutboundState.REFUSED:
            raise CommandError(f"Not called. {wording.reason(call.reason)}")
        if call.state == OutboundState.WAITING:
            tasks.ask_to_dial()
        self.follow(call, time.monotonic() + options["follow"])

    def find_agent(self, pk: int) -> Agent:
        agents = Agent.objects.select_related("business")
        found = list(agents.filter(pk=pk) if pk else agents.all()[:2])
        if not found:
            raise CommandError("There is no such agent.")
        if len(found) > 1:
            raise CommandError("There are several agents: name one with --agent.")
        return found[0]

    def follow(self, call: OutboundCall, until: float) -> None:
        said = ""
        while True:
            call.refresh_from_db()
            line = call.get_state_display() + (f": {wording.reason(call.reason)}" if call.reason else "")
            if line != said:
                self.stdout.write(line)
                said = line
            if call.state in states.ENDED or time.monotonic() > until:
                return
            time.sleep(_LOOK_SECONDS)
