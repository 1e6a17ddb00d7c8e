"""One response of the model: its events in the documented order, as a generator that yields the seconds to wait.

A cancel stops the generator wherever it stands, closes the open item as incomplete, and leaves a few deltas in flight.
"""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from simulators.model.audio import BYTES_PER_MS, encode
from simulators.model.conversation import Conversation, Entry
from simulators.model.dialogue import FunctionCall, Line, Plan
from simulators.model.faults import Faults
from simulators.model.settings import ModelSettings
from simulators.model.usage import Meter, text_tokens

Event = dict[str, Any]
CHARACTERS_PER_MS = 1 / 15  # how fast text comes when nothing is spoken


@dataclass(frozen=True, slots=True)
class Studio:
    """What a response needs of its session."""

    emit: Callable[[Event], None]
    note: Callable[..., Any]  # a fact for the ledger: note(kind, **fields)
    sound: Callable[[bytes], None]  # audio that was sent, for the count
    keep: Callable[[str, bytes], None]  # the whole audio of an item so far: keep(item_id, audio)
    speak: Callable[[Line], None]  # what it is about to say
    mishap: Callable[[int], None]  # faults that strike in the middle of a response
    new_id: Callable[[str], str]
    chance: random.Random
    conversation: Conversation
    conversation_id: str
    meter: Meter
    settings: ModelSettings
    faults: Faults


class Response:
    """`plan` is what it will contain, `options` the response.create parameters over the session's."""

    def __init__(
        self, studio: Studio, plan: Plan, session: dict[str, Any], options: dict[str, Any], number: int
    ) -> None:
        self.id = studio.new_id("resp")
        self._studio, self._plan, self._number = studio, plan, number
        self._session = session
        self._output = {**session["audio"]["output"], **((options.get("audio") or {}).get("output") or {})}
        self._format: str = self._output["format"]["type"]
        self._modalities = options.get("output_modalities") or session["output_modalities"]
        self.in_conversation = options.get("conversation") != "none"
        self._options = options
        self._status = "in_progress"
        self._items: list[dict[str, Any]] = []
        self._open: Entry | None = None
        self._last: Entry | None = None  # the item spoken last, for deltas that come late
        self._transcript = ""
        self._pending: list[bytes] = []
        self._sound = bytearray()  # of the item spoken last
        self._generated_ms = 0
        self.spoken_ms = 0  # over all items
        self._text_tokens = self._audio_tokens = 0
        self._input_details = studio.meter.read(studio.conversation, session)

    # -- the order of events ------------------------------------------------------------------------------------------

    def steps(self) -> Generator[float]:
        """Emit everything, yielding waits in seconds."""
        faults, number = self._studio.faults, self._number
        self._emit("response.created", response=self._snapshot("in_progress", None))
        place = self._studio.chance.choice(("early", "before", "after"))
        if place == "early":
            self._rate_limits()
        wait_ms = faults.number("slow-first-audio", 3000, number)
        yield (self._studio.settings.first_audio_ms if wait_ms is None else wait_ms) / 1000
        failure = faults.text("response-failed", "rate_limit_exceeded", number)
        if failure is not None:
            self._studio.mishap(number)
            self._finish(
                "failed", error={"type": _error_type(failure), "code": failure, "message": f"Simulated {failure}."}
            )
            return
        incomplete = faults.text("response-incomplete", "max_output_tokens", number)
        yield from self._contents(half=incomplete is not None)
        if place == "before":
            self._rate_limits()
        if not self._items:
            self._studio.mishap(number)
        if incomplete is not None:
            self._finish("incomplete", reason=incomplete)
        elif any(item["status"] == "incomplete" for item in self._items):
            self._finish("cancelled", reason="turn_detected")
        else:
            self._finish("completed")
        if place == "after":
            self._rate_limits()

    def _contents(self, *, half: bool) -> Iterator[float]:
        twice = self._studio.faults.has("two-calls", self._number)
        for item in self._plan.items:
            if isinstance(item, Line):
                yield from self._say(item, half=half)
            elif not half:
                for _ in range(2 if twice else 1):
                    yield from self._call(item)
            if half:
                return

    @property
    def fruitless(self) -> bool:
        """It ended before it said anything: a caller who went on speaking, or a failure."""
        return not self._items and self._status != "completed"

    def cancel(self, reason: str) -> None:
        """Stop here: response.done cancelled. The caller throws the generator away."""
        if self._open is not None:
            self._close_item("incomplete")
        self._finish("cancelled", reason=reason)

    def abandon(self) -> None:
        """The client is gone in mid-sentence: the ledger keeps what was generated so far."""
        if self._open is not None and self._open.item["type"] == "message":
            self._note_said(self._open, cancelled=True)

    # -- items --------------------------------------------------------------------------------------------------------

    def _begin_item(self, item: dict[str, Any]) -> None:
        item = {"id": self._studio.new_id("item"), "object": "realtime.item", "status": "in_progress", **item}
        self._items.append(item)
        self._open = Entry(item)
        self._generated_ms, self._transcript, self._sound = 0, "", bytearray()
        self._emit_output("response.output_item.added", item={**item})
        if self.in_conversation:
            before = self._studio.conversation.append(self._open)
            self._emit("conversation.item.added", previous_item_id=before, item={**item})

    def _end_item(self, status: str) -> None:
        assert self._open is not None
        item = self._open.item
        item["status"] = status
        self._emit_output("response.output_item.done", item=_copy(item))
        if self.in_conversation:
            chain = [entry.item["id"] for entry in self._studio.conversation]
            # A client may have deleted the item while it was being spoken.
            place = chain.index(item["id"]) if item["id"] in chain else 0
            before = chain[place - 1] if place else None
            self._emit("conversation.item.done", previous_item_id=before, item=_copy(item))
        self._open = None

    def _say(self, line: Line, *, half: bool) -> Iterator[float]:
        audio = self._modalities == ["audio"]
        self._begin_item({"type": "message", "role": "assistant", "content": []})
        part = {"type": "audio", "transcript": ""} if audio else {"type": "text", "text": ""}
        self._emit_part("response.content_part.added", part=part)
        yield from self._speak(line, half=half) if audio else self._write(line.text, half=half)
        self._close_item("incomplete" if half else "completed")

    def _speak(self, line: Line, *, half: bool) -> Iterator[float]:
        self._studio.speak(line)
        self._pending = self._chunks(line.audio)
        chunks, words, told = len(self._pending), line.text.split(" "), 0
        for number in range(1, (max(1, chunks // 2) if half else chunks) + 1):
            upto = round(number / chunks * len(words))
            if upto > told:
                self._tell((" " if told else "") + " ".join(words[told:upto]), "response.output_audio_transcript.delta")
                told = upto
            played_ms = self._send_chunk()
            if number == max(1, chunks // 2):
                self._studio.mishap(self._number)
            yield played_ms / 1000 / self._studio.settings.pace

    def _write(self, text: str, *, half: bool) -> Iterator[float]:
        words = text.split(" ")
        for number, word in enumerate(words[: max(1, len(words) // 2)] if half else words):
            self._tell((" " if number else "") + word, "response.output_text.delta")
            yield len(word) / CHARACTERS_PER_MS / 1000 / self._studio.settings.pace
        self._studio.mishap(self._number)

    def _chunks(self, ulaw: bytes) -> list[bytes]:
        low, high = self._studio.settings.chunk_ms
        chunks, start = [], 0
        while start < len(ulaw):
            size = self._studio.chance.randrange(low, high + 1, 20) * 8 if high > low else low * 8
            chunks.append(encode(ulaw[start : start + size], self._format))
            start += size
        return chunks

    def _send_chunk(self) -> int:
        """Emit the next chunk of sound; its milliseconds."""
        assert self._open is not None
        chunk = self._pending.pop(0)
        length = len(chunk) // BYTES_PER_MS[self._format]
        self._generated_ms += length
        self.spoken_ms += length
        self._open.audio_ms += length
        self._studio.sound(chunk)
        self._sound += chunk
        self._emit_part("response.output_audio.delta", delta=b64encode(chunk).decode(), obfuscation=self._blur())
        return length

    def _tell(self, words: str, kind: str) -> None:
        self._transcript += words
        self._emit_part(kind, delta=words, obfuscation=self._blur())

    def _close_item(self, status: str) -> None:
        assert self._open is not None
        item = self._open.item
        if item["type"] == "function_call":
            self._end_call(status)
            return
        if self._modalities == ["audio"]:
            part = {"type": "audio", "transcript": self._transcript}
            item["content"] = [{"type": "output_audio", "transcript": self._transcript}]
            self._emit_part("response.output_audio.done")
            self._emit_part("response.output_audio_transcript.done", transcript=self._transcript)
        else:
            part = {"type": "text", "text": self._transcript}
            item["content"] = [{"type": "output_text", "text": self._transcript}]
            self._emit_part("response.output_text.done", text=self._transcript)
        self._emit_part("response.content_part.done", part=part)
        self._text_tokens += text_tokens(self._transcript)
        self._audio_tokens += -(-self._generated_ms // 50)
        self._last = self._open
        self._note_said(self._open, cancelled=status == "incomplete")
        self._end_item(status)

    def _note_said(self, entry: Entry, *, cancelled: bool) -> None:
        self._studio.keep(entry.item["id"], bytes(self._sound))
        self._studio.note(
            "said", response_id=self.id, item_id=entry.item["id"], text=self._transcript,
            generated_ms=self._generated_ms, truncated_at_ms=entry.truncated_at_ms, cancelled=cancelled,
        )  # fmt: skip

    def late_delta(self) -> bool:
        """Emit one delta that was in flight when the response was cancelled; False when there is none."""
        if not self._pending or self._last is None:
            return False
        chunk = self._pending.pop(0)
        item = self._last.item
        self._studio.sound(chunk)
        self._sound += chunk
        self._studio.keep(item["id"], bytes(self._sound))
        self._last.audio_ms += len(chunk) // BYTES_PER_MS[self._format] if self._last.truncated_at_ms is None else 0
        self._emit(
            "response.output_audio.delta", response_id=self.id, item_id=item["id"],
            output_index=self._items.index(item), content_index=0, delta=b64encode(chunk).decode(),
        )  # fmt: skip
        return True

    # -- function calls -----------------------------------------------------------------------------------------------

    def _call(self, call: FunctionCall) -> Iterator[float]:
        arguments = json.dumps(dict(call.arguments))
        self._begin_item(
            {"type": "function_call", "name": call.name, "call_id": self._studio.new_id("call"), "arguments": ""}
        )
        cut = self._studio.faults.has("interrupted-call", self._number)
        for start in range(0, len(arguments) // 2 if cut else len(arguments), 12):
            piece = arguments[start : start + 12]
            self._transcript += piece
            self._emit_call("response.function_call_arguments.delta", delta=piece, obfuscation=self._blur())
            yield 0.02 / self._studio.settings.pace
        self._close_item("incomplete" if cut else "completed")

    def _end_call(self, status: str) -> None:
        assert self._open is not None
        item = self._open.item
        item["arguments"] = self._transcript
        self._emit_call("response.function_call_arguments.done", name=item["name"], arguments=self._transcript)
        self._text_tokens += text_tokens(self._transcript)
        self._studio.note(
            "function_call", response_id=self.id, item_id=item["id"], call_id=item["call_id"], name=item["name"],
            arguments=self._transcript, status=status,
        )  # fmt: skip
        self._end_item(status)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _finish(self, status: str, *, reason: str | None = None, error: dict[str, Any] | None = None) -> None:
        self._status = status
        usage = self._studio.meter.bill(self._input_details, self._text_tokens, self._audio_tokens)
        details: dict[str, Any] | None = None
        if status != "completed":
            details = {"type": status, **({"reason": reason} if reason else {}), **({"error": error} if error else {})}
        self._emit("response.done", response={**self._snapshot(status, usage), "status_details": details})
        self._studio.note("response", response_id=self.id, status=status, reason=reason, usage=usage)

    def _snapshot(self, status: str, usage: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "realtime.response",
            "conversation_id": self._studio.conversation_id if self.in_conversation else None,
            "status": status,
            "status_details": None,
            "output": [_copy(item) for item in self._items],
            "output_modalities": list(self._modalities),
            "audio": {"output": {"format": self._output["format"], "voice": self._output["voice"]}},
            "max_output_tokens": self._options.get("max_output_tokens") or self._session["max_output_tokens"],
            "metadata": self._options.get("metadata"),
            "usage": usage,
        }

    # -- emitting -----------------------------------------------------------------------------------------------------

    def _emit(self, kind: str, **fields: Any) -> None:
        self._studio.emit({"type": kind, **fields})

    def _emit_output(self, kind: str, **fields: Any) -> None:
        self._emit(kind, response_id=self.id, output_index=len(self._items) - 1, **fields)

    def _emit_part(self, kind: str, **fields: Any) -> None:
        assert self._open is not None
        self._emit_output(kind, item_id=self._open.item["id"], content_index=0, **fields)

    def _emit_call(self, kind: str, **fields: Any) -> None:
        assert self._open is not None
        item = self._open.item
        self._emit_output(kind, item_id=item["id"], call_id=item["call_id"], **fields)

    def _rate_limits(self) -> None:
        spent = self._studio.meter.totals.get("total_tokens", 0)
        limits = [
            {"name": "requests", "limit": 5000, "remaining": max(0, 5000 - self._number), "reset_seconds": 0.012},
            {"name": "tokens", "limit": 400_000, "remaining": max(0, 400_000 - spent), "reset_seconds": 0.3},
        ]
        self._emit("rate_limits.updated", rate_limits=limits)

    def _blur(self) -> str:
        # The API pads deltas so that their length tells nothing.
        return "".join(
            self._studio.chance.choices("abcdefghijklmnopqrstuvwxyz", k=self._studio.chance.randrange(1, 12))
        )


def _copy(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "content": [dict(part) for part in item["content"]]} if "content" in item else dict(item)


def _error_type(code: str) -> str:
    return "server_error" if code == "server_error" else "invalid_request_error"
