"""The two programs in C, built when they are needed: the load with its model, and the bare relay."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "native"
BUILT = SOURCES.parent.parent / "var" / "bench"


class NoCompiler(Exception):
    """This machine has no C compiler. The text says what to do."""


def program(name: str) -> Path:
    """The program of that name, built again when its source is newer. Raise NoCompiler."""
    source, built = SOURCES / f"{name}.c", BUILT / name
    newest = max(path.stat().st_mtime for path in (source, SOURCES / "ws.h"))
    if built.exists() and built.stat().st_mtime > newest:
        return built
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise NoCompiler("This needs a C compiler (Debian: apt-get install gcc). `python -m bench clear` needs none.")
    BUILT.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(built), str(source), "-lm"], check=True)
    return built
