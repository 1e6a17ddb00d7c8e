"""What can happen to a call. Past tense, frozen, one class for each fact; the engine's only input.

Audio is headerless G.711 mu-law at 8 kHz (160 bytes = 20 ms). The caller's stays base64 and is not decoded on its way;
the agent's is bytes, since it is cut into frames and may have to be played again from any place.
"""

from dataclasses import dataclass, field

# --- From the carrier ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallerAudio:
    payload: str


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """Twilio's `start`, already authorised by the consumer."""

    stream_sid: str


@dataclass(frozen=True, slots=True)
class MarkReached:
    """A mark came back: all audio before it was played, or was thrown away by a clear."""

    name: str


@dataclass(frozen=True, slots=True)
class DtmfPressed:
    digit: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """Twilio's `stop`: the caller hung up, or new instructions replaced the stream."""


@dataclass(frozen=True, slots=True)
class CarrierClosed:
    """The socket closed, with or without `stop` before."""


@dataclass(frozen=True, slots=True)
class CallCompleted:
    """The carrier's status callback said that the call is over."""


@dataclass(frozen=True, slots=True)
class UnknownCarrierEvent:
    """A message of a kind nobody has heard of; counted, never an error (Twilio may add kinds at any time)."""

    type: str


# --- From the speech model -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelReady:
    """A session is configured and can take over. `expires_at`: None if the model did not say; unix seconds on the wire,
    which the bridge turns into the engine's clock."""

    session_id: str
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class ModelAudio:
    response_id: str
    item_id: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class CallerSpeechStarted:
    item_id: str  # of the caller's item to come


@dataclass(frozen=True, slots=True)
class CallerSpeechStopped:
    item_id: str


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item joined the conversation after `previous_item_id` (None: the first, or not said)."""

    item_id: str
    role: str  # "user", "assistant", "system", or "" for function calls and their outputs
    previous_item_id: str | None = None
    text: str = ""  # what the item already says when it was written, not spoken (keys pressed)


@dataclass(frozen=True, slots=True)
class CallerTranscribed:
    item_id: str
    text: str
    usage: "Usage" = field(default_factory=lambda: Usage())


@dataclass(frozen=True, slots=True)
class CallerTranscriptFailed:
    item_id: str
    code: str


@dataclass(frozen=True, slots=True)
class AgentTextDelta:
    response_id: str
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentTextDone:
    response_id: str
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentAudioDone:
    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model wants a tool run; `arguments` is the JSON text it wrote. Only complete calls are reported."""

    response_id: str
    item_id: str
    tool_call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    response_id: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, of one response or of a call. `cached_tokens` are part of `input_tokens`, and each kind of audio is part
    of what it is named after; the rest is text. What is transcribed is another model's: by tokens, by time, or both."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cached_audio_tokens: int = 0
    transcription_input_tokens: int = 0
    transcription_audio_tokens: int = 0  # of the input
    transcription_output_tokens: int = 0
    transcription_ms: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class ResponseFinished:
    """`status`: completed, cancelled, failed or incomplete; `reason` names why when it is not completed."""

    response_id: str
    status: str
    reason: str = ""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class ModelError:
    """An error event. `fatal`: the session is of no more use. `permanent`: nor would another one be.

    `benign`: nothing was refused that matters (cancelling what had ended by itself, truncating what is gone).
    `answering_already`: an answer was asked for while one was running; it is to be asked for again afterwards.
    """

    code: str
    fatal: bool
    benign: bool = False
    answering_already: bool = False
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class ModelClosed:
    """The model's socket is gone, or could not be opened. `code`: a close code or an error's name, for the log.

    `permanent`: trying again is useless. `fresh`: the session had not taken over the conversation yet.
    """

    code: str
    permanent: bool = False
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class UnknownModelEvent:
    """A message of a kind nobody has heard of; counted, never an error."""

    type: str


# --- From ourselves ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolFinished:
    tool_call_id: str
    output: str  # what the model is given, usually JSON
    succeeded: bool = True


@dataclass(frozen=True, slots=True)
class DigitsWanted:
    """A tool is ready to have the caller type secret digits: nothing is recorded. `ask`: what they are told."""

    tool_call_id: str
    ask: str


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """This server is stopping now, and nobody else is there to take the call: it ends at once, but waits for late
    transcripts like any other."""


@dataclass(frozen=True, slots=True)
class HandOverRequested:
    """This server is stopping, and another one is to go on with the call: our stream ends at the next good moment,
    within so many seconds. The carrier then asks elsewhere what comes next."""

    within_seconds: float


# What the stream says of itself; the audio is apart, since there is so much of it.
StreamEvent = (
    StreamStarted | MarkReached | DtmfPressed | StreamStopped | CarrierClosed | CallCompleted | UnknownCarrierEvent
)
CarrierEvent = CallerAudio | StreamEvent
# What is said: everything from the model that belongs to the conversation, not to the session that carries it.
ConversationEvent = (
    ModelAudio
    | CallerSpeechStarted
    | CallerSpeechStopped
    | ItemAdded
    | CallerTranscribed
    | CallerTranscriptFailed
    | AgentTextDelta
    | AgentTextDone
    | AgentAudioDone
    | ToolCalled
    | ResponseStarted
    | ResponseFinished
)
SessionEvent = ModelReady | ModelError | ModelClosed | UnknownModelEvent
ModelEvent = ConversationEvent | SessionEvent
OwnEvent = ToolFinished | DigitsWanted | ShutdownRequested | HandOverRequested
Event = CarrierEvent | ModelEvent | OwnEvent
