"""What happened on the phone: calls, their turns, the tools used in them and the messages taken. Written only by
calls.services; that a message has been handled is said by a person, in admin."""

from calls.models.calls import (
    LIVE_STATUSES,
    TERMINAL_STATUSES,
    CallLog,
    CallLogQuerySet,
    CallStatus,
    ConversationTurn,
    Direction,
    EndedReason,
    EndSource,
)
from calls.models.parts import (
    CallLeg,
    CallMessage,
    CallMessageQuerySet,
    LegKind,
    LegState,
    MessageKind,
    Recording,
    RecordingState,
    TextState,
    ToolState,
    ToolUse,
    recording_path,
)
from calls.models.upkeep import DeadLetter, Lease, RefusedFact, SuspectCall, WebProcess

__all__ = [
    "LIVE_STATUSES",
    "TERMINAL_STATUSES",
    "CallLeg",
    "CallLog",
    "CallLogQuerySet",
    "CallMessage",
    "CallMessageQuerySet",
    "CallStatus",
    "ConversationTurn",
    "DeadLetter",
    "Direction",
    "EndSource",
    "EndedReason",
    "Lease",
    "LegKind",
    "LegState",
    "MessageKind",
    "Recording",
    "RecordingState",
    "RefusedFact",
    "SuspectCall",
    "TextState",
    "ToolState",
    "ToolUse",
    "WebProcess",
    "recording_path",
]
