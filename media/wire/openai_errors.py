"""What the error codes of OpenAI Realtime mean for a call (protocols, openai-realtime B6)."""

from enum import Enum

from media.engine.events import ModelError


class ErrorClass(Enum):
    REFUSED = "nor would another session be of use"
    SPENT = "the session is of no more use, another one is"
    TURN = "an answer failed, the session goes on"
    RECOVERABLE = "refused, and can be asked again or left"
    BENIGN = "nothing was lost"
    OURS = "a mistake of ours"
    UNKNOWN = "not in the facts sheet: the session goes on unless the socket closes"


ERRORS = {
    "session_expired": ErrorClass.SPENT,
    "beta_api_shape_disabled": ErrorClass.REFUSED,
    "invalid_api_key": ErrorClass.REFUSED,
    "insufficient_quota": ErrorClass.REFUSED,
    "credit_balance_exhausted": ErrorClass.REFUSED,
    "model_not_found": ErrorClass.REFUSED,
    "rate_limit_exceeded": ErrorClass.TURN,
    "server_error": ErrorClass.TURN,
    "conversation_already_has_active_response": ErrorClass.RECOVERABLE,
    "input_audio_buffer_commit_empty": ErrorClass.RECOVERABLE,
    "item_truncate_invalid_item_id": ErrorClass.RECOVERABLE,
    "item_delete_invalid_item_id": ErrorClass.BENIGN,
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
        "item_delete_invalid_item_id",
        "invalid_value",
        "input_audio_buffer_commit_empty",
    }
)


def error_event(code: str) -> ModelError:
    """What an error code means for the call; codes nobody has heard of are survived."""
    kind = ERRORS.get(code, ErrorClass.UNKNOWN)
    return ModelError(
        code,
        fatal=kind in (ErrorClass.REFUSED, ErrorClass.SPENT),
        benign=code in _TOO_LATE,
        permanent=kind is ErrorClass.REFUSED,
        answering_already=code == "conversation_already_has_active_response",
    )
