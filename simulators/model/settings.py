"""What a simulated model server can be told: timing, faults, dialogue."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from simulators.model.dialogue import Dialogue
from simulators.model.faults import Fault

MODELS = frozenset({
    "gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-2", "gpt-realtime-2.1", "gpt-realtime-2.1-mini",
    "gpt-realtime-mini",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Times are in seconds or milliseconds as named. `time_scale` multiplies every wait: 0.1 is ten times as fast."""

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str | None = None  # None: any non-empty bearer token is right
    models: frozenset[str] = MODELS
    ledger: Path | None = None
    seed: int | None = None  # None: every run differs (ids, chunk sizes, delays)
    dialogue: Dialogue = field(default_factory=Dialogue.load)
    session_seconds: float = 3600.0
    time_scale: float = 1.0
    pace: float = 5.0  # audio is generated this many times faster than it plays
    first_audio_ms: int = 150  # from response.created to the first output
    chunk_ms: tuple[int, int] = (100, 400)
    transcription_ms: tuple[int, int] = (100, 400)  # from committed to transcription completed
    late_deltas: int = 1  # audio deltas still in flight after a cancel
    faults: tuple[Fault, ...] = ()
    fault_sessions: frozenset[int] | None = None  # which connections have the faults, counted from 1; None: every one
