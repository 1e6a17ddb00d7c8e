"""Spoken clips of a dentist's office and its callers: G.711 mu-law, 8 kHz, mono, with the exact words of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Clip:
    """`audio` is G.711 mu-law at 8 kHz mono (8 bytes are one millisecond); `text` is what is said in it."""

    name: str
    speaker: Literal["caller", "agent"]
    text: str
    audio: bytes

    @property
    def duration_ms(self) -> int:
        return len(self.audio) // 8


@cache
def _clips() -> MappingProxyType[str, Clip]:
    entries = json.loads((HERE / "clips.json").read_text(encoding="utf-8"))
    clips = {
        entry["name"]: Clip(
            name=entry["name"],
            speaker=entry["speaker"],
            text=entry["text"],
            audio=(HERE / "clips" / f"{entry['name']}.ulaw").read_bytes(),
        )
        for entry in entries
    }
    return MappingProxyType(clips)


def all_clips() -> dict[str, Clip]:
    """Every clip by its name, in the order of clips.json."""
    return dict(_clips())


def load(name: str) -> Clip:
    """The clip of that name. Raises KeyError naming the clips there are."""
    try:
        return _clips()[name]
    except KeyError:
        raise KeyError(f"no clip {name!r}; there are: {', '.join(_clips())}") from None
