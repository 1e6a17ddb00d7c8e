"""Digits that nobody may know but where they are to go (a card number, a PIN): typed while nobody listens.

From the moment the model asks for them until its tool has its answer the model hears silence. Keys count from when the
recording is paused; what was pressed before is forgotten, since its tones are in the recording. What was typed stays
here, under a handle: the model is given the handle, and a tool gets the digits when it is run with it.
"""

from media.engine.commands import GiveDigits

FIRST_KEY_SECONDS = 20.0  # after the caller was asked
NEXT_KEY_SECONDS = 6.0  # people read their card in groups of four
TONE_SECONDS = 0.4  # the last key is told of while its tone still sounds
# Keys that count for nothing (pressed before they were asked for, or after a pause had ended the entry) may be the
# beginning or the rest of a number: so are those that follow, until none has been pressed for so long.
LATE_KEYS_SECONDS = 5.0
LONGEST = 32


class SecureInput:
    """`first`: what handles are numbered from, so that no other stream of the call has the same ones. `lost`: the
    stream before was lost while digits were typed. The rest of them may be typed now, so that no key counts until they
    are asked for anew."""

    def __init__(self, first: int = 0, *, lost: bool = False) -> None:
        self.secrets: dict[str, str] = {}
        self._first = first
        self._lost = lost
        self._tool_call_id = ""  # of the tool that wants digits
        self._asks = False  # the recording is paused, and the caller is asked or types
        self._digits = ""
        self._complete = False
        self._until: float | None = None
        self._late_until = 0.0

    @property
    def active(self) -> bool:
        """Is the model to hear nothing?"""
        return bool(self._tool_call_id)

    @property
    def asks(self) -> bool:
        """Do keys count?"""
        return self._asks

    def takes(self, now: float) -> bool:
        """Does a key that is pressed now belong to secret digits, counted or not?"""
        return self.active or self._lost or now < self._late_until

    def begin(self, tool_call_id: str) -> None:
        if not self.active:
            self._tool_call_id = tool_call_id

    def ask(self, tool_call_id: str, now: float) -> list[GiveDigits]:
        """The recording is paused. Nothing, if digits are wanted; else the tool has waited in vain."""
        if tool_call_id != self._tool_call_id or self._asks:
            return [GiveDigits(tool_call_id)]
        self._asks, self._complete, self._lost = True, False, False
        self._digits, self._until = "", now + FIRST_KEY_SECONDS
        return []

    def agent_speaks(self, now: float) -> None:
        """The caller is not expected to type before the agent has asked."""
        if self._asks and not (self._digits or self._complete):
            self._until = now + FIRST_KEY_SECONDS

    def press(self, digit: str, now: float) -> None:
        """`#` ends the entry, `*` begins it anew."""
        if self._complete:
            return
        if digit == "#":
            self._complete, self._until = True, now + TONE_SECONDS
            return
        if digit == "*":
            self._digits = ""
        elif len(self._digits) < LONGEST:
            self._digits += digit
        self._until = now + (NEXT_KEY_SECONDS if self._digits else FIRST_KEY_SECONDS)

    def ignore(self, digit: str, now: float) -> None:
        """A key that counts for nothing."""
        if digit != "#":
            self._late_until = now + LATE_KEYS_SECONDS

    def deadline(self) -> float | None:
        return self._until if self._asks else None

    def expired(self, now: float) -> list[GiveDigits]:
        """The entry has ended, or no further key was pressed."""
        if not self._complete:
            self._late_until = now + LATE_KEYS_SECONDS
        return self._give()

    def answered(self, tool_call_id: str) -> list[GiveDigits]:
        """The tool has its answer: the model may hear again."""
        if tool_call_id != self._tool_call_id:
            return []
        given = self._give() if self._asks else []
        self._tool_call_id = ""
        return given

    def call_over(self) -> list[GiveDigits]:
        given = [GiveDigits(self._tool_call_id)] if self._asks else []
        self._asks, self._digits, self._tool_call_id = False, "", ""
        self.secrets = {}
        return given

    def _give(self) -> list[GiveDigits]:
        digits, self._digits, self._asks = self._digits, "", False
        if not digits:
            return [GiveDigits(self._tool_call_id)]
        handle = f"secret-{self._first + len(self.secrets) + 1}"
        self.secrets[handle] = digits
        return [GiveDigits(self._tool_call_id, handle, len(digits))]
