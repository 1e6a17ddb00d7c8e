"""What the engine is told once, at the start of a call."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What a speech model can do; the engine reads these, never a provider's name (protocols, gpt-live §18)."""

    needs_truncate: bool = True  # the client must say how much of an interrupted answer was heard
    cancels_itself: bool = True  # stops answering on its own when the caller speaks up
    has_turn_events: bool = True  # says when the caller starts and stops speaking
    realtime_paced_output: bool = False  # audio comes faster than it is spoken


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One thing the agent may do. `ends_call`: the engine itself acts on it (end_call)."""

    name: str
    timeout_seconds: float = 10.0
    ends_call: bool = False


@dataclass(frozen=True, slots=True)
class PastItem:
    """Something said in this call before: in an earlier stream of it, to another session of the model."""

    item_id: str  # ours, by which the model's echo of it is known
    role: str  # "user" or "assistant"
    text: str


@dataclass(frozen=True, slots=True)
class Clip:
    """Audio of our own (mu-law, 8 kHz), and the words in it; without words it is no speech (a tone)."""

    text: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class CallConfig:
    """Everything about one call that the engine needs; times in seconds."""

    greeting: str  # what the agent says first; in a resumed call the sentence that resumes it
    tools: dict[str, ToolSpec] = field(default_factory=dict)
    traits: ModelTraits = ModelTraits()
    max_call_seconds: float = 1800.0
    start_timeout_seconds: float = 5.0  # from accept to Twilio's `start`
    model_ready_timeout_seconds: float = 8.0  # from accept to the model's session being ready
    settle_seconds: float = 3.0  # after the stream ended: how long late transcripts are waited for
    transcript_grace_seconds: float = 5.0  # a turn waits this long for the caller's transcript, then is saved without
    goodbye_slack_seconds: float = 2.0  # a goodbye whose last mark never comes back is over this long after its audio
    first_turn_index: int = 0  # turns are numbered from here on (calls.streams)
    past: tuple[PastItem, ...] = ()
    media_timeout_seconds: float = 30.0  # no frame from the carrier for this long: the stream is lost
