"""What FILE_STORAGE_OPTIONS says of where recordings are kept. Read by the settings, so without Django."""

from __future__ import annotations

import json
from typing import Any


def options(text: str) -> dict[str, Any] | None:
    """The JSON object; None if it is none, which voiceagent.checks says."""
    try:
        read = json.loads(text)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None
