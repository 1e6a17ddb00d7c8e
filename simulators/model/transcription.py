"""Transcriptions of what the caller said: after everything else, and sometimes late, lost, failed or out of order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulators.model.core import Core


class Transcriber:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._held: list[Callable[[], None]] = []

    def transcribe(self, item: dict[str, Any], text: str, audio_ms: int, number: int) -> None:
        """Schedule the transcription of the Nth utterance, if the session asked for one."""
        wanted = self._core.config["audio"]["input"]["transcription"]
        faults = self._core.faults
        if wanted is None or faults.has("transcription-missing", number):
            return
        low, high = self._core.settings.transcription_ms
        wait_ms = faults.number("transcription-late", 3000, number)
        seconds = (self._core.chance.uniform(low, high) if wait_ms is None else wait_ms) / 1000
        if faults.has("transcription-failed", number):
            self._core.later(seconds, lambda: self._fail(item["id"]))
            return

        def finish() -> None:
            self._complete(item, text, audio_ms, wanted["model"])

        if faults.has("transcription-reordered", number):
            self._held.append(finish)
            return
        half = text[: len(text) // 2]
        self._core.later(seconds / 2, lambda: self._delta(item["id"], half))

        def finish_all() -> None:
            self._delta(item["id"], text[len(half) :])
            finish()
            self._release()

        self._core.later(seconds, finish_all)

    def _release(self) -> None:
        held, self._held = self._held, []
        for finish in held:
            finish()

    def _delta(self, item_id: str, delta: str) -> None:
        kind = "conversation.item.input_audio_transcription.delta"
        self._core.emit({"type": kind, "item_id": item_id, "content_index": 0, "delta": delta})

    def _complete(self, item: dict[str, Any], text: str, audio_ms: int, model: str) -> None:
        item["content"][0]["transcript"] = text
        tokens, words = audio_ms // 100, -(-len(text) // 4)
        usage: dict[str, Any] = {
            "type": "tokens",
            "input_tokens": tokens,
            "output_tokens": words,
            "total_tokens": tokens + words,
            "input_token_details": {"audio_tokens": tokens, "text_tokens": 0},
        }
        if model == "whisper-1":
            usage = {"type": "duration", "seconds": audio_ms / 1000}
        kind = "conversation.item.input_audio_transcription.completed"
        self._core.emit({"type": kind, "item_id": item["id"], "content_index": 0, "transcript": text, "usage": usage})

    def _fail(self, item_id: str) -> None:
        error = {
            "type": "transcription_error",
            "code": "audio_unintelligible",
            "message": "The audio could not be transcribed.",
            "param": None,
        }
        kind = "conversation.item.input_audio_transcription.failed"
        self._core.emit({"type": kind, "item_id": item_id, "content_index": 0, "error": error})
