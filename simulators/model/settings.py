"""What a simulated model server can be told: timing, faults, dialogue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simulators.model.dialogue import Dialogue
from simulators.model.faults import Fault

MODELS = frozenset({
    "gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-2", "gpt-realtime-2.1", "gpt-realtime-2.1-mini",
    "gpt-realtime-mini",
})  # fmt: skip

TEXT_MODELS = frozenset({"gpt-6-luna", "gpt-6-sol", "gpt-6.1-sol", "gpt-6.2-sol", "gpt-6-astra", "gpt-5.4-mini"})


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Times are in seconds or milliseconds as named. `time_scale` multiplies every wait: 0.1 is ten times as fast."""

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str | None = None  # None: any non-empty bearer token is right
    models: frozenset[str] = MODELS
    text_models: frozenset[str] = TEXT_MODELS
    # What the text model says to an input that contains these words; to others it answers by rules (reader.py).
    text_answers: Mapping[str, Any] = field(default_factory=dict)
    ledger: Path | None = None
    audio: Path | None = None  # a folder for the sound of every item: ITEM_ID.audio
    seed: int | None = None  # None: every run differs (ids, chunk sizes, delays)
    dialogue: Dialogue = field(default_factory=Dialogue.load)
    session_seconds: float = 3600.0
    announced_seconds: float | None = None  # what `expires_at` says instead, for a session that ends before its time
    time_scale: float = 1.0
    pace: float = 5.0  # audio is generated this many times faster than it plays
    first_audio_ms: int = 150  # from response.created to the first output
    chunk_ms: tuple[int, int] = (100, 400)
    transcription_ms: tuple[int, int] = (100, 400)  # from committed to transcription completed
    late_deltas: int = 1  # audio deltas still in flight after a cancel
    faults: tuple[Fault, ...] = ()
    fault_sessions: frozenset[int] | None = None  # which connections have the faults, counted from 1; None: every one
    # Further models that this server has, by name, each with settings of its own (where it listens and writes, and
    # which key is right, say the server's): one server can then play many parts at once.
    profiles: Mapping[str, ModelSettings] = field(default_factory=dict)


def profiles(path: Path, base: ModelSettings) -> dict[str, ModelSettings]:
    """Read `{"MODEL": {"faults": ["abort@2"], "dialogue": {...}, "session_seconds": 20, ...}}` over `base`. Raises
    ValueError or TypeError that names what is wrong."""
    found = {}
    for name, changes in json.loads(path.read_text(encoding="utf-8")).items():
        fields = dict(changes)
        if "faults" in fields:
            fields["faults"] = tuple(Fault.parse(text) for text in fields["faults"])
        if "dialogue" in fields:
            fields["dialogue"] = Dialogue.of(fields["dialogue"])
        for pair in ("chunk_ms", "transcription_ms"):
            if pair in fields:
                fields[pair] = tuple(fields[pair])
        found[name] = replace(base, profiles={}, **fields)
    return found
