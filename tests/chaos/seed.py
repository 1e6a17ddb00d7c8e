"""Businesses for the load, run once in a process of its own: `python -m tests.chaos.seed COUNT` prints their ids.

One number for each business and one call at a time for each number: so the model's ledger, which knows a session's
instructions, says whose session it was, without any id of the product's.
"""

from __future__ import annotations

import json
import os
import sys

GREETING = "Line {} here."  # short: it is spoken at 60 ms a character
INSTRUCTIONS = "You answer the phone of chaos line {}."


def number_of(line: int) -> str:
    return f"+1555010{line:04d}"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from businesses.models import Agent, AgentVersion, Business, PhoneNumber

    call_command("migrate", verbosity=0, interactive=False)
    ids = []
    for line in range(int(sys.argv[1])):
        business = Business.objects.create(name=f"Chaos line {line}", time_zone="UTC", language="en")
        agent = Agent.objects.create(business=business, name="Robin")
        AgentVersion.objects.create(
            agent=agent,
            number=1,
            instructions=INSTRUCTIONS.format(line),
            greeting=GREETING.format(line),
            voice="marin",
            language="en",
            tools=["end_call"],
        ).publish()
        PhoneNumber.objects.create(number=number_of(line), business=business, agent=agent)
        ids.append(business.pk)
    sys.stdout.write(json.dumps(ids) + "\n")


if __name__ == "__main__":
    main()
