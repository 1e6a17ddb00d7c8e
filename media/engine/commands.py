"""What the engine wants done. The bridge performs every command, in order, at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from media.engine.config import PastItem
from media.engine.events import Usage

# --- To the speech model: the port's operations (protocols, gpt-live §18) ------------------------------------


@dataclass(frozen=True, slots=True)
class ForwardAudio:
    payload: str


@dataclass(frozen=True, slots=True)
class Say:
    """Say this now, word for word."""

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
class SendNote:
    """Something the model has to know, said by nobody (what a tool answered that an earlier session had asked)."""

    text: str


@dataclass(frozen=True, slots=True)
class ReplaceItem:
    """What the model has as text was not said to its end: put `text` in its place, under another name."""

    item_id: str
    new_id: str
    text: str


@dataclass(frozen=True, slots=True)
class DropItem:
    """That was nobody's words (a cough, an echo): forget it."""

    item_id: str


@dataclass(frozen=True, slots=True)
class OpenModel:
    """Open another session. `replace`: the present one is of no more use, and is closed now; else it goes on until
    SwitchModel. The first session of a call is opened without being asked for."""

    replace: bool


@dataclass(frozen=True, slots=True)
class SwitchModel:
    """The fresh session takes over; everything after this goes to it."""


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """The line went dead in mid-sentence: take what the caller said so far, no more audio is coming."""


@dataclass(frozen=True, slots=True)
class CloseModel:
    """End the model's session; nothing more is wanted of it."""


# --- To the carrier ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlayAudio:
    audio: bytes


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
    """`secrets`: the digits that the caller has typed in secret so far, by the handles that arguments may have."""

    tool_call_id: str
    name: str
    arguments: str
    timeout_seconds: float
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class GiveDigits:
    """What the tool that waits for secret digits is told: their handle and how many they are; none, if none came."""

    tool_call_id: str
    handle: str = ""
    count: int = 0


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
    usage: Usage = field(default_factory=Usage)


ModelCommand = (
    ForwardAudio
    | Say
    | RecallConversation
    | Respond
    | CancelResponse
    | TruncateItem
    | SendToolResult
    | SendUserText
    | SendNote
    | ReplaceItem
    | DropItem
    | CommitAudio
    | CloseModel
)
CarrierCommand = PlayAudio | SendMark | ClearPlayback | CloseStream
SessionCommand = OpenModel | SwitchModel
Command = ModelCommand | SessionCommand | CarrierCommand | RunTool | GiveDigits | SaveTurn | FinishCall
