"""A process that asks for the same calls as its like, and dials what waits, as a worker does but without pauses, until
it is stopped: `python -m tests.outbound.dialling_process AGENT_ID NUMBER...`.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta

import django


def main(agent_id: int, numbers: list[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")
    django.setup()

    from django.db import DatabaseError

    from businesses.models import Agent
    from calls import one_at_a_time
    from calls.heartbeats import database_now
    from outbound import dialler, services, tasks

    # So that a test of what dies needs seconds. The order stays: a lease outlives a hand-over, a submission a lease.
    one_at_a_time.LEASE, dialler.SUBMISSION_LOST = timedelta(seconds=6), timedelta(seconds=8)
    dialler.NOT_THERE = timedelta(seconds=5)
    agent = Agent.objects.get(pk=agent_id)
    for number in numbers:
        services.place_call(agent=agent, to=number, key=number, now=database_now())
    os.write(1, b"dials\n")
    while True:
        try:
            dialler.reconcile(database_now())
            dialler.run(database_now)
        except DatabaseError as error:
            tasks._pass_over(error)
        time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
