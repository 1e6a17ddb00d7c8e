"""Everything that can be made to go wrong: `NAME[:argument][@N][#S]`.

N: only the Nth response (or utterance) of a session. S: only the Sth session (connection), so that the one that is
opened in its place works.
"""

from __future__ import annotations

from dataclasses import dataclass

FAULTS = {
    # the connection
    "reject": "answer the handshake with this HTTP status (401, 403, 404, 429, 500)",
    "slow-handshake": "wait this many seconds before answering the handshake",
    "fatal": "accept, send an error with this code (insufficient_quota), close with 4000",
    "silent": "accept and never send anything; @N: go silent when the Nth response starts, without closing",
    "mute": "take response.create and say nothing to it, ever; hear and transcribe on",
    "close": "close with this code (1011) in the middle of a response; @N: of the Nth",
    "abort": "drop the connection without a close frame (1006) in the middle of a response",
    "drop-after": "drop the connection without a close frame (1006) this many milliseconds after it was opened",
    # the session
    "slow-session": "wait this many milliseconds before session.created and before session.updated",
    "update-refused": "refuse every session.update with an error",
    # a response
    "slow-first-audio": "wait this many milliseconds before the first output of a response",
    "response-failed": "response.done failed with this code (rate_limit_exceeded)",
    "response-incomplete": "half the audio, then response.done incomplete for this reason (max_output_tokens)",
    "error": "send an error event with this code (server_error) in the middle of a response",
    "two-calls": "every function call of a response is made twice, with two call ids",
    "interrupted-call": "a function call is cut off in its arguments, the response is cancelled (turn_detected)",
    # the transcription of what the caller said
    "transcription-late": "it comes after this many milliseconds (3000)",
    "transcription-failed": "it fails",
    "transcription-missing": "it never comes",
    "transcription-reordered": "it comes after the next utterance's",
    # texts (POST /v1/responses); @N: only the Nth request
    "text-status": "answer with this HTTP status (429, 500, 401, 404)",
    "text-slow": "wait this many seconds before answering (60)",
    "text-broken": "a body that is no JSON at all",
    "text-garbage": "an answer that breaks off: its text is no JSON",
    "text-refusal": "the model declines",
    "text-incomplete": "half an answer, incomplete for this reason (max_output_tokens)",
    # files that are written down (POST /v1/audio/transcriptions); @N: only the Nth request
    "transcribe-status": "answer with this HTTP status (500, 429, 401, 404)",
    "transcribe-broken": "a body that is no JSON at all",
    # the wire
    "unknown-events": "events of unknown types between the deltas",
    "extra-fields": "fields nobody knows in every event",
    "garbage": "frames that are no JSON, no object, or binary, in the middle of a response",
}


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    argument: str | None = None
    turn: int | None = None
    session: int | None = None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read `NAME[:argument][@N][#S]`. Raises ValueError with the names there are."""
        head, _, session = text.partition("#")
        head, _, turn = head.partition("@")
        name, _, argument = head.partition(":")
        if name not in FAULTS:
            raise ValueError(f"no fault {name!r}; there are: {', '.join(FAULTS)}")
        if turn and not (turn.isdigit() and int(turn) > 0):
            raise ValueError(f"{text!r}: after @ comes a number from 1")
        if session and not (session.isdigit() and int(session) > 0):
            raise ValueError(f"{text!r}: after # comes a number from 1")
        return cls(name, argument or None, int(turn) if turn else None, int(session) if session else None)


class Faults:
    """The faults of one session."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self._faults = faults

    def find(self, name: str, turn: int | None = None) -> Fault | None:
        """The fault of that name that strikes now. A fault without a number strikes every turn."""
        for fault in self._faults:
            if fault.name == name and (fault.turn is None or fault.turn == turn):
                return fault
        return None

    def has(self, name: str, turn: int | None = None) -> bool:
        return self.find(name, turn) is not None

    def text(self, name: str, default: str, turn: int | None = None) -> str | None:
        """The fault's argument, `default` if it has none, None if it does not strike."""
        fault = self.find(name, turn)
        return None if fault is None else fault.argument or default

    def number(self, name: str, default: float, turn: int | None = None) -> float | None:
        text = self.text(name, str(default), turn)
        return None if text is None else float(text)
