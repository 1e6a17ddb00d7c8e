"""Keys the caller presses: collected until a pause or `#`, then told to the model as one text."""

QUIET_SECONDS = 1.5
LONGEST = 64  # digits in one go; nobody types more, a tone generator might


class Keypad:
    def __init__(self) -> None:
        self._digits = ""
        self._last_press = 0.0

    def press(self, digit: str, now: float) -> bool:
        """Take a key; True if the caller has finished the entry with it (`#`)."""
        self._last_press = now
        if len(self._digits) < LONGEST:
            self._digits += digit
        return digit == "#"

    def deadline(self) -> float | None:
        """When the pause after the last key has been long enough."""
        return self._last_press + QUIET_SECONDS if self._digits else None

    def take(self) -> str:
        """The text for the model; empty if no key was pressed."""
        digits, self._digits = self._digits, ""
        return f"[The caller pressed: {digits}]" if digits else ""
