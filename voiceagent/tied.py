"""Run a command that ends with the process that started it:  python tied.py <parent pid> command arguments...

`manage.py run` stops its children in order, but when it is killed outright nobody would. Linux then sends them SIGTERM.
A script of its own, run with -I -S, because it must cost nothing: it replaces itself by the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            raise SystemExit(1)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
