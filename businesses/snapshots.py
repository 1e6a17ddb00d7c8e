"""What a live call knows of its agent: a frozen copy, so that an edit never changes a call in progress."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AgentSnapshot:
    """One published agent version with what it needs of its business; safe to cache for ever by version_id."""

    version_id: int
    business_id: int
    business_name: str
    agent_name: str
    instructions: str
    greeting: str
    voice: str
    language: str  # BCP 47, e.g. "en" or "de-CH"
    model: str  # empty: settings.OPENAI_REALTIME_MODEL
    transcription_model: str  # empty: settings.OPENAI_TRANSCRIPTION_MODEL
    turn_detection: dict[str, Any]  # the `turn_detection` object of an OpenAI Realtime session
    max_call_seconds: int
    tools: tuple[str, ...] = field(default=())  # names out of media.tools
