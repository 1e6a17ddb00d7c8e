"""What the engine is told once, at the start of a call."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What a speech model can do; the engine reads these, never a provider's name (protocols, gpt-live §18)."""

    needs_truncate: bool = True  # the client must say how much of an interrupted answer was heard
    cancels_itself: bool = False  # stops answering on its own when the caller speaks up
    answers_itself: bool = False  # answers on its own when the caller has stopped
    has_turn_events: bool = True  # says when the caller starts and stops speaking
    realtime_paced_output: bool = False  # audio comes no faster than it is spoken
    silence_seconds: float = 0.0  # how long the caller has been silent when the model says so


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One thing the agent may do. `ends_call`: the engine itself acts on it (end_call). `collects_digits`: while it
    runs the model hears nothing (media.engine.secure_input). `puts_through`: once it has succeeded, the stream ends
    with the agent's last words, and the carrier goes on with the call (transfer_call)."""

    name: str
    timeout_seconds: float = 10.0
    ends_call: bool = False
    collects_digits: bool = False
    puts_through: bool = False


@dataclass(frozen=True, slots=True)
class PastItem:
    """Something said in this call before: in an earlier stream of it, or to another session of the model."""

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
    # What is said in certain moments ("still_there", "silence_goodbye", "wrap_up", "filler", "apology", "greeting"): as
    # audio of our own where there is a clip, else by the model, where there is a sentence; else nothing.
    clips: dict[str, Clip] = field(default_factory=dict)
    sentences: dict[str, str] = field(default_factory=dict)
    back_channels: frozenset[str] = frozenset()  # lower-case words said while listening
    caller_speaks_first: bool = False
    protected_greeting_seconds: float = 0.0  # of the greeting: what a caller who speaks up does not stop
    silence_seconds: float = 8.0  # of both sides, until the agent asks whether the caller is still there
    caller_first_seconds: float = 4.0  # a caller who was to speak first and does not is greeted after all
    dead_air_seconds: tuple[float, float, float] = (2.0, 4.2, 5.2)  # until a filler, another session, a person
    tool_filler_seconds: float = 1.2
    tool_tone_seconds: float = 6.0
    ahead_seconds: float = 2.0  # how far audio is sent ahead of its playback
    max_call_seconds: float = 1800.0
    wrap_up_seconds: float = 30.0  # before the longest call is over, the agent says so
    start_timeout_seconds: float = 5.0  # from accept to Twilio's `start`
    model_timeout_seconds: float = 5.0  # without any session of the model: the call goes to a person
    session_margin_seconds: float = 300.0  # before a session expires another one is opened
    settle_seconds: float = 3.0  # after the stream ended: how long late transcripts are waited for
    transcript_grace_seconds: float = 5.0  # a turn waits this long for the caller's transcript, then is saved without
    goodbye_slack_seconds: float = 2.0  # a goodbye whose last mark never comes back is over this long after its audio
    first_turn_index: int = 0  # turns are numbered from here on (calls.streams)
    past: tuple[PastItem, ...] = ()
    digits_lost: bool = False  # the stream before was lost while the caller typed what nobody may have
    media_timeout_seconds: float = 30.0  # no frame from the carrier for this long: the stream is lost
