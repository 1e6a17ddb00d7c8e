"""The states of a call and the moves between them.

Two laws. Everything that decides which state a call is in is in the table below. And the table knows nothing of
events, deadlines or reasons: `call.py` decides that a move is due, this file decides whether there is such a
move.

A call has two halves that open in any order: the carrier's stream and the model's session. While one is missing
nothing is spoken but what we say ourselves, and no audio of the caller leaves. Once both are there, the call is
`TALKING` until somebody ends it, also while a session of the model is replaced by another (`link.py`).

An agent that ends the call does so in two steps. First `SAYING_GOODBYE`: the goodbye is on its way to the
caller's ear, and a caller who speaks up takes the call back to `TALKING`. Only then does the call end.

However a call ends, it goes through `SETTLING`: the stream is gone, but the model may still owe the text of
what the caller said last. `SETTLING` takes no time when nothing is owed, or when the model is gone too. `OVER`
is for good: every event after it is met with silence.
"""

from enum import Enum


class CallState(Enum):
    CONNECTING = "connecting"
    STREAM_OPEN = "stream open, model not ready"
    MODEL_OPEN = "model ready, stream not open"
    TALKING = "talking"
    SAYING_GOODBYE = "saying goodbye"
    SETTLING = "settling"
    OVER = "over"


class Move(Enum):
    STREAM_STARTED = "stream started"
    MODEL_READY = "model ready"
    MODEL_LOST = "model lost"
    AGENT_ENDS = "agent ends the call"
    CALLER_SPOKE_UP = "caller speaks up"
    ENDED = "call ends"
    SETTLED = "last transcripts came, or were waited for long enough"


INITIAL = CallState.CONNECTING

MOVES: dict[CallState, dict[Move, CallState]] = {
    CallState.CONNECTING: {
        Move.STREAM_STARTED: CallState.STREAM_OPEN,
        Move.MODEL_READY: CallState.MODEL_OPEN,
        Move.ENDED: CallState.SETTLING,
    },
    CallState.STREAM_OPEN: {
        Move.MODEL_READY: CallState.TALKING,
        Move.AGENT_ENDS: CallState.SAYING_GOODBYE,
        Move.ENDED: CallState.SETTLING,
    },
    CallState.MODEL_OPEN: {
        Move.STREAM_STARTED: CallState.TALKING,
        Move.MODEL_LOST: CallState.CONNECTING,
        Move.ENDED: CallState.SETTLING,
    },
    CallState.TALKING: {Move.AGENT_ENDS: CallState.SAYING_GOODBYE, Move.ENDED: CallState.SETTLING},
    CallState.SAYING_GOODBYE: {Move.CALLER_SPOKE_UP: CallState.TALKING, Move.ENDED: CallState.SETTLING},
    CallState.SETTLING: {Move.SETTLED: CallState.OVER},
    CallState.OVER: {},
}

LIVE = frozenset({CallState.TALKING, CallState.SAYING_GOODBYE})


class IllegalMove(Exception):
    """The engine tried a move that the table does not have: a mistake in the engine, not of the other side."""


def after(state: CallState, move: Move) -> CallState:
    """The state that `move` leads to. Raise IllegalMove when the table has no such move."""
    try:
        return MOVES[state][move]
    except KeyError:
        raise IllegalMove(f"{state.name} does not allow {move.name}") from None
