"""Everything a call waits for has a name and a time; the earliest one arms the call's only timer."""

from enum import Enum


class Deadline(Enum):
    START = "start"  # the carrier's `start` did not come
    MODEL_READY = "model_ready"  # no session of the model can be had
    MODEL_RETRY = "model_retry"  # opening one failed, and is tried again
    RENEWAL = "renewal"  # the session expires before long
    MAX_DURATION = "max_duration"  # the longest call allowed
    WRAP_UP = "wrap_up"  # ... is nearly reached
    MEDIA = "media"  # no frame from the carrier
    TRANSCRIPT = "transcript"  # a caller's words are not transcribed in time
    PLAYBACK = "playback"  # audio should be played by now, and its mark did not come back
    TOOL = "tool"  # a tool does not answer
    KEYPAD = "keypad"  # no further key was pressed
    DIGITS = "digits"  # ... of digits that nobody may know
    ANSWER = "answer"  # the model did not answer the caller by itself, or is asked again
    DOUBT = "doubt"  # whether the caller interrupts has to be decided
    ECHO = "echo"  # a sound taken for an echo goes on: is it one still?
    SILENCE = "silence"  # nobody says anything
    DEAD_AIR = "dead_air"  # the caller waits for the agent
    TOOL_WAIT = "tool_wait"  # the caller waits for a tool
    GOODBYE = "goodbye"  # the goodbye takes too long
    HAND_OVER = "hand_over"  # a good moment to hand the call over was waited for long enough
    SETTLE = "settle"  # late transcripts were waited for long enough

    # Enum's own is written in Python, and these are looked up a dozen times for every event.
    __hash__ = object.__hash__


class Deadlines:
    """Named points in time, in seconds of the caller's clock. A name has one time; setting it again moves it."""

    def __init__(self) -> None:
        self._times: dict[Deadline, float] = {}

    def set(self, name: Deadline, when: float | None) -> None:
        """Wait for `when`; None: no longer wait."""
        if when is None:
            self._times.pop(name, None)
        else:
            self._times[name] = when

    def drop(self, name: Deadline) -> None:
        self._times.pop(name, None)

    def __contains__(self, name: Deadline) -> bool:
        return name in self._times

    def clear(self) -> None:
        self._times.clear()

    def earliest(self) -> float | None:
        return min(self._times.values(), default=None)

    def expire(self, now: float) -> Deadline | None:
        """Take out the earliest name whose time has come, or None."""
        if not self._times:
            return None
        name = min(self._times, key=self._times.__getitem__)
        if self._times[name] > now:
            return None
        del self._times[name]
        return name
