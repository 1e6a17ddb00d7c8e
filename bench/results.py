"""Results as files: every run, and on what machine, when, with which versions and by which command it was made."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import processor, versions
from bench.system import REPOSITORY

RESULTS = Path(__file__).resolve().parent / "results"


def save(name: str, command: str, content: dict[str, Any]) -> Path:
    """Write what was measured beside its circumstances; return the file."""
    result = {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            "cores": os.cpu_count(),
            "processor": processor(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_before": os.getloadavg()[1],
        },
        "versions": versions(),
        **content,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(_without_nan(result), indent=1) + "\n")
    return path


def commit() -> str:
    """The commit that was measured; "+": with changes that are in none."""
    try:
        head = _git("rev-parse", "--short", "HEAD").strip()
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(inner) for inner in value]
    return value
