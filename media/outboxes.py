"""What waits to be sent in one call, one outbox for each direction, each with a bound and an answer to "it is full"."""

import asyncio
from collections import deque

from media.engine.commands import CarrierCommand, ClearPlayback, CloseStream, ForwardAudio, ModelCommand, PlayAudio

BYTES_PER_MS = 8  # G.711 at 8 kHz: one byte a sample


def audio_ms(payload: str) -> int:
    """Return how long base64 audio plays, without decoding it."""
    return (len(payload) * 3 // 4 - payload[-2:].count("=")) // BYTES_PER_MS


class ModelOutbox:
    """Commands for the model. Of caller audio at most `max_audio_ms` waits; the oldest is dropped first.

    A model that reads too slowly hears a gap then, but never answers what was said long ago. Other commands are few
    (bounded by what the engine has to say) and are never dropped.
    """

    def __init__(self, max_audio_ms: int = 5000) -> None:
        self.dropped_ms = 0
        self._max_audio_ms = max_audio_ms
        self._audio_ms = 0
        self._waiting: deque[ModelCommand] = deque()
        self._filled = asyncio.Event()
        # Does nothing wait, and is nothing being sent? Kept, not found: every frame asks for it.
        self.idle = True

    def put(self, command: ModelCommand) -> None:
        self.idle = False
        if isinstance(command, ForwardAudio):
            self._audio_ms += audio_ms(command.payload)
        self._waiting.append(command)
        while self._audio_ms > self._max_audio_ms:
            self._drop_oldest_audio()
        self._filled.set()

    async def get(self) -> ModelCommand:
        while not self._waiting:
            self.idle = True
            self._filled.clear()
            await self._filled.wait()
        command = self._waiting.popleft()
        if isinstance(command, ForwardAudio):
            self._audio_ms -= audio_ms(command.payload)
        return command

    def put_back(self, command: ModelCommand) -> None:
        """Of what was taken out and could not be sent only the caller's audio still counts."""
        if isinstance(command, ForwardAudio):
            self.idle = False
            self._audio_ms += audio_ms(command.payload)
            self._waiting.appendleft(command)

    def keep_audio_only(self) -> None:
        self._waiting = deque(command for command in self._waiting if isinstance(command, ForwardAudio))

    def _drop_oldest_audio(self) -> None:
        for index, command in enumerate(self._waiting):
            if isinstance(command, ForwardAudio):
                del self._waiting[index]
                self._audio_ms -= audio_ms(command.payload)
                self.dropped_ms += audio_ms(command.payload)
                return


class CarrierOutbox:
    """Commands for the carrier, at most `max_commands`; a socket that takes no more is a lost stream."""

    def __init__(self, max_commands: int = 500) -> None:
        self._max_commands = max_commands
        self._waiting: deque[CarrierCommand] = deque()
        self._filled = asyncio.Event()
        self.idle = True  # nothing waits, and nothing is being sent

    def put(self, command: CarrierCommand) -> bool:
        """Return False, and keep the command out, when the outbox is full. Closing always fits."""
        if isinstance(command, ClearPlayback):
            self._forget_audio()
            self._waiting.appendleft(command)
        elif len(self._waiting) >= self._max_commands and not isinstance(command, CloseStream):
            return False
        else:
            self._waiting.append(command)
        self.idle = False
        self._filled.set()
        return True

    async def get(self) -> CarrierCommand:
        while not self._waiting:
            self.idle = True
            self._filled.clear()
            await self._filled.wait()
        return self._waiting.popleft()

    def _forget_audio(self) -> None:
        # Marks stay: sent after the clear they come back at once, as Twilio does with those it holds itself.
        self._waiting = deque(
            command for command in self._waiting if not isinstance(command, PlayAudio | ClearPlayback)
        )
