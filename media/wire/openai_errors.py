"""What the error codes of OpenAI Realtime mean for a call (protocols, openai-realtime B6)."""

from enum import Enum

from media.engine.events import ModelError


class ErrorClass(Enum):
    FATAL = "the session is of no more use"
    TURN = "an answer failed, the session goes on"
    RECOVERABLE = "refused, and can be asked again or left"
    BENIGN = "nothing was lost"
    OURS = "a mistake of ours"
    UNKNOWN = "not in the facts sheet: the session goes on unless the socket closes"


ERRORS = {
    "session_expired": ErrorClass.FATAL,
    "beta_api_shape_disabled": ErrorClass.FATAL,
    "invalid_api_key": ErrorClass.FATAL,
    "insufficient_quota": ErrorClass.FATAL,
    "credit_balance_exhausted": ErrorClass.FATAL,
    "model_not_found": ErrorClass.FATAL,
    "rate_limit_exceeded": ErrorClass.TURN,
    "server_error": ErrorClass.TURN,
    "conversation_already_has_active_response": ErrorClass.RECOVERABLE,
    "input_audio_buffer_commit_empty": ErrorClass.RECOVERABLE,
    "item_truncate_invalid_item_id": ErrorClass.RECOVERABLE,
    "invalid_value": ErrorClass.RECOVERABLE,  # usually: truncated beyond the end
    "response_cancel_not_active": ErrorClass.BENIGN,
    "unknown_parameter": ErrorClass.OURS,
    "missing_required_parameter": ErrorClass.OURS,
    "invalid_event": ErrorClass.OURS,
}

# What was refused is over and done with: cut what had ended by itself, committed what was empty.
_TOO_LATE = frozenset(
    {
        "response_cancel_not_active",
        "item_truncate_invalid_item_id",
        "invalid_value",
        "input_audio_buffer_commit_empty",
    }
)


def error_event(code: str) -> ModelError:
    """What an error code means for the call; codes nobody has heard of are survived."""
    kind = ERRORS.get(code, ErrorClass.UNKNOWN)
    return ModelError(
        code,
        fatal=kind is ErrorClass.FATAL,
        benign=code in _TOO_LATE,
        answering_already=code == "conversation_already_has_active_response",
    )
