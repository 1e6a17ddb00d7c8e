"""Place a simulated call to the running system and print what is said: `make call`."""

from __future__ import annotations

import secrets
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from businesses.models import PhoneNumber
from voiceagent import running
from voiceagent.demonstration import CallFailed, Carrier, follow


class Command(BaseCommand):
    help = "Place a simulated call to the running system, and print its transcript as it is logged."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", default="", help="Number to call (default: the first active one).")
        parser.add_argument("--from", dest="from_number", default="", help="Number of the caller.")
        parser.add_argument("--script", default="demo", help="What the caller does; see simulators.carrier.")
        parser.add_argument("--port", type=int, default=0, help="Where the server listens (default: where it runs).")

    def handle(self, *args: Any, to: str, from_number: str, script: str, port: int, **options: Any) -> None:
        port = port or self.find_port()
        if not running.is_healthy(port):
            raise CommandError(f"Nothing answers at http://{running.HOST}:{port}. Start it first: make run")
        number = self.find_number(to)
        # 555-0100 to 555-0199 are numbers that belong to nobody.
        from_number = from_number or f"+1555010{110 + secrets.randbelow(90)}"
        carrier = Carrier(port, from_number, number.number, script)
        try:
            call = follow(carrier, number.agent.name, self.say)
        except CallFailed as error:
            raise CommandError(f"The call failed: {error}") from error
        except KeyboardInterrupt:
            raise CommandError("Hung up.") from None
        finally:
            carrier.hang_up()
        address = reverse("admin:calls_calllog_change", args=[call.pk])
        self.say(f"\nThe call took {call.duration_seconds} s and is logged, with {call.turns.count()} turns:")
        self.say(f"http://{running.HOST}:{port}{address}")

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def find_port(self) -> int:
        found = running.read_running(settings.VAR_DIR)
        if found is not None:
            return found.port
        wanted = running.wanted_port()
        return int(wanted) if wanted.isdigit() else running.DEFAULT_PORT

    def find_number(self, to: str) -> PhoneNumber:
        numbers = PhoneNumber.objects.filter(is_active=True).select_related("agent")
        number = numbers.filter(number=to).first() if to else numbers.first()
        if number is None:
            raise CommandError(f"There is no active number {to}".rstrip() + ". Add one in admin, or start: make run")
        return number
