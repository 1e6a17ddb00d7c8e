"""What the engine wants done. The bridge performs every command, in order, at once."""

from dataclasses import dataclass

from media.engine.config import PastItem
from media.engine.events import Usage

# --- To the speech model: the port's operations (protocols, gpt-live §18) ------------------------------------


@dataclass(frozen=True, slots=True)
class ForwardAudio:
    payload: str


@dataclass(frozen=True, slots=True)
class Greet:
    """Say this first, word for word."""

    text: str


@dataclass(frozen=True, slots=True)
class RecallConversation:
    """This was said in the call before; know it, and do not answer it."""

    items: tuple[PastItem, ...]


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer now, from the conversation as it stands."""


@dataclass(frozen=True, slots=True)
class CancelResponse:
    response_id: str


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """The caller heard only this much of the item."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class SendToolResult:
    tool_call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class SendUserText:
    """Something the caller did without speaking (keys pressed), as text."""

    text: str


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """The line went dead in mid-sentence: take what the caller said so far, no more audio is coming."""


@dataclass(frozen=True, slots=True)
class CloseModel:
    """End the model's session; nothing more is wanted of it."""


# --- To the carrier ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlayAudio:
    payload: str


@dataclass(frozen=True, slots=True)
class SendMark:
    name: str


@dataclass(frozen=True, slots=True)
class ClearPlayback:
    """Throw away what the carrier has not played yet. Goes out before anything queued."""


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Close the carrier's socket; Twilio goes on with the `action` after <Connect>."""


# --- To the rest of the house --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunTool:
    tool_call_id: str
    name: str
    arguments: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange. Times are the engine's clock (monotonic seconds); the bridge turns them into wall time."""

    index: int
    revision: int
    user_text: str
    bot_reply: str
    heard_text: str
    generated_ms: int
    heard_ms: int
    interrupted: bool
    started: float
    ended: float
    reply_ms: int | None = None  # from the end of the caller's speech to the first audio of the answer that was sent
    reply_heard_ms: int | None = None  # ... and to the first that was heard, as far as marks tell


@dataclass(frozen=True, slots=True)
class SaveTurn:
    turn: Turn


@dataclass(frozen=True, slots=True)
class FinishCall:
    """The call is over: write the record. `turns` holds all of them, in order, last revisions.

    status: Twilio's word ("completed", "failed"; "in-progress" when only the stream is over);
    ended_reason: a value of calls.models.EndedReason; counters: what was counted on the way (interruptions, ...).
    """

    status: str
    ended_reason: str
    turns: tuple[Turn, ...]
    counters: dict[str, int]
    usage: Usage = Usage()


ModelCommand = (
    ForwardAudio
    | Greet
    | RecallConversation
    | Respond
    | CancelResponse
    | TruncateItem
    | SendToolResult
    | SendUserText
    | CommitAudio
    | CloseModel
)
CarrierCommand = PlayAudio | SendMark | ClearPlayback | CloseStream
Command = ModelCommand | CarrierCommand | RunTool | SaveTurn | FinishCall
