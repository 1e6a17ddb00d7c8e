"""What a live call knows of its agent: a frozen copy, so that an edit never changes a call in progress."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SpokenClip:
    """A sentence in the agent's own voice, rendered before any call needs it: mu-law, 8 kHz, without a header."""

    text: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class HttpTool:
    """Something the agent looks up over HTTP in a call: what the model is told of it, and where it is asked."""

    name: str
    description: str
    parameters: dict[str, Any]  # JSON schema of an object
    url: str  # https, on an allowed host; {name} stands for an argument
    method: str = "POST"  # POST: the arguments as a JSON body; GET: those not in the url as a query
    secret: str = ""  # sent as "Authorization: Bearer ..."; empty: none
    timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class TransferOption:
    """Somebody whom the agent may put callers through to. The number stays with the rows."""

    id: int
    name: str
    description: str
    kind: str


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
    http_tools: tuple[HttpTool, ...] = ()
    # By what they are for: "greeting", "filler", "apology", ... (calls.phrases); none that is not rendered yet.
    clips: dict[str, SpokenClip] = field(default_factory=dict)
    caller_speaks_first: bool = False
    protected_greeting_ms: int = 0  # of the greeting: what a caller who speaks up does not stop (a legal notice)
    can_forward: bool = False  # the business has a number for calls that the agent cannot take
    silence_seconds: int = 8  # of both sides, until the agent asks whether the caller is still there
    # The one thing that is not the version's: as the business has them when a call begins (calls.doors).
    transfer_options: tuple[TransferOption, ...] = ()
