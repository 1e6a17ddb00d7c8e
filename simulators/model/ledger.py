"""What the simulator said, heard and objected to: one JSON object per fact, in memory and, if asked, in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

Fact = dict[str, Any]


class Ledger:
    """Facts in their order. Each has `n` (1, 2, ...), `at` (unix seconds), `fact` (its kind) and `session_id`."""

    def __init__(self, path: Path | None = None) -> None:
        self.facts: list[Fact] = []
        self._file: IO[str] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")

    def add(self, kind: str, session_id: str, **fields: Any) -> Fact:
        fact: Fact = {
            "n": len(self.facts) + 1,
            "at": round(time.time(), 3),
            "fact": kind,
            "session_id": session_id,
            **fields,
        }
        self.facts.append(fact)
        if self._file is not None:
            self._file.write(json.dumps(fact, ensure_ascii=False) + "\n")
            self._file.flush()
        return fact

    def of(self, kind: str, session_id: str | None = None) -> list[Fact]:
        """All facts of one kind, of one session or of all."""
        return select(self.facts, kind, session_id)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read(path: Path) -> list[Fact]:
    """The facts of a ledger file, with later truncations entered into what was said."""
    facts: list[Fact] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    cuts = {
        (fact["session_id"], fact["item_id"]): fact["audio_end_ms"] for fact in facts if fact["fact"] == "truncated"
    }
    for fact in facts:
        if fact["fact"] == "said":
            fact["truncated_at_ms"] = cuts.get((fact["session_id"], fact["item_id"]))
    return facts


def select(facts: Iterable[Fact], kind: str, session_id: str | None = None) -> list[Fact]:
    return [fact for fact in facts if fact["fact"] == kind and session_id in (None, fact["session_id"])]
