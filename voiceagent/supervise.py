"""Keep one program running, as the first process of a container:  python -m voiceagent.supervise NAME COMMAND...

A program that dies is started again, after 1, 2, 4 ... 30 s. SIGTERM is passed on; who has not ended after the grace is
killed. A module and not a command of manage.py: it needs the settings for its log, but neither apps nor a database.
"""

from __future__ import annotations

import logging.config
import os
import sys
import time

import structlog
from django.conf import settings

from voiceagent import logs
from voiceagent.supervisor import WORKER_GRACE, Child, Signals, Supervisor

TICK_SECONDS = 0.1


def main(arguments: list[str]) -> int:
    """Return the exit code: 0, or 1 when the program had to be killed."""
    if len(arguments) < 2:
        sys.stderr.write("Usage: python -m voiceagent.supervise NAME COMMAND...\n")
        return 64
    logging.config.dictConfig(settings.LOGGING)
    logs.configure_structlog()
    signals = Signals()
    supervisor = Supervisor(None, structlog.get_logger(__name__).warning)
    child = Child(arguments[0], arguments[1:], speaks_for_itself=True)
    supervisor.start(child, time.monotonic())
    while not signals.wait(TICK_SECONDS):
        supervisor.tick(time.monotonic())
        bury_orphans(child)
    return 0 if supervisor.stop([child.name], WORKER_GRACE, signals.hurry) else 1


def bury_orphans(child: Child) -> None:
    """In a container the first process inherits everybody whose parent died, and nobody else waits for them."""
    while True:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if dead is None or (child.process is not None and dead.si_pid == child.process.pid):
            return  # the child itself is the supervisor's to notice
        os.waitpid(dead.si_pid, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
