"""A process that journals one call after the other until it is killed: `python -m tests.calls.journaling_process DIR`.

It says on its standard output how many turns are on the disk for sure.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django

BATCH = 7


def main(directory: str, business_id: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")
    django.setup()

    from calls.journal import kinds
    from calls.journal.journal import Journal
    from tests.calls.support import CALL_SID, a_turn

    journal = Journal(Path(directory))
    index = 0
    while True:
        for _ in range(BATCH):
            journal.append(kinds.TURN, {"call_sid": CALL_SID, "business_id": business_id, **a_turn(index)})
            index += 1
        # Only every other group is waited for, so that the kill comes in the middle of a write too.
        if index % (2 * BATCH) == 0 and journal.flush(10):
            os.write(1, b"%d\n" % index)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
