#!/usr/bin/env python
"""Django's command line for voiceagent."""

import os
import sys
import tempfile
from pathlib import Path

SERVICES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "PUBLIC_URL")


def shield_tests() -> None:
    """Give a test run files and a Valkey of its own, and nobody's keys: it must not touch a running server's.

    Before settings are read, because the addresses in them follow from the var directory.
    """
    for name in SERVICES:
        os.environ.pop(name, None)
    os.environ["VOICEAGENT_ENV_FILE"] = os.devnull
    var_dir = Path(__file__).resolve().parent / "var"
    var_dir.mkdir(mode=0o700, exist_ok=True)
    os.environ["VOICEAGENT_VAR"] = tempfile.mkdtemp(prefix="test-", dir=var_dir)


def main() -> None:
    if sys.argv[1:2] == ["test"]:
        shield_tests()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            "Django is not installed in this Python. Run `make run` once, or activate: . .venv/bin/activate"
        ) from error
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
