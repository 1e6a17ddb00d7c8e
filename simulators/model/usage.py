"""Tokens: user audio 1 per 100 ms, agent audio 1 per 50 ms, text 1 per 4 characters. Input includes cached ones."""

from __future__ import annotations

import json
from typing import Any

from simulators.model.conversation import Conversation

CACHE_BLOCK = 64


def text_tokens(text: str) -> int:
    return -(-len(text) // 4)


def _context(conversation: Conversation, session: dict[str, Any]) -> tuple[int, int]:
    """(text, audio) tokens that a response reads."""
    text = text_tokens(session["instructions"]) + (text_tokens(json.dumps(session["tools"])) if session["tools"] else 0)
    audio = 0
    for entry in conversation:
        item = entry.item
        for part in item.get("content") or ():
            text += text_tokens(part.get("text") or "")
        text += text_tokens(item.get("arguments") or "") + text_tokens(item.get("output") or "")
        audio += entry.audio_ms // (50 if item.get("role") == "assistant" else 100)
    return text, audio


class Meter:
    """Counts one session. What the response before has read is cached, in whole blocks."""

    def __init__(self) -> None:
        self._seen = (0, 0)
        self.totals: dict[str, int] = {}

    def read(self, conversation: Conversation, session: dict[str, Any]) -> dict[str, Any]:
        """The input side of a response that starts now."""
        text, audio = _context(conversation, session)
        cached_text = min(self._seen[0], text) // CACHE_BLOCK * CACHE_BLOCK
        cached_audio = min(self._seen[1], audio) // CACHE_BLOCK * CACHE_BLOCK
        self._seen = (text, audio)
        return {
            "text_tokens": text,
            "audio_tokens": audio,
            "image_tokens": 0,
            "cached_tokens": cached_text + cached_audio,
            "cached_tokens_details": {"text_tokens": cached_text, "audio_tokens": cached_audio, "image_tokens": 0},
        }

    def bill(self, details: dict[str, Any], output_text: int, output_audio: int) -> dict[str, Any]:
        """The `usage` of a response that is over, added to the session's totals."""
        inputs, outputs = details["text_tokens"] + details["audio_tokens"], output_text + output_audio
        usage = {
            "total_tokens": inputs + outputs,
            "input_tokens": inputs,
            "output_tokens": outputs,
            "input_token_details": details,
            "output_token_details": {"text_tokens": output_text, "audio_tokens": output_audio},
        }
        counted = {
            "total_tokens": inputs + outputs,
            "input_tokens": inputs,
            "output_tokens": outputs,
            "input_text_tokens": details["text_tokens"],
            "input_audio_tokens": details["audio_tokens"],
            "cached_tokens": details["cached_tokens"],
            "cached_text_tokens": details["cached_tokens_details"]["text_tokens"],
            "cached_audio_tokens": details["cached_tokens_details"]["audio_tokens"],
            "output_text_tokens": output_text,
            "output_audio_tokens": output_audio,
        }
        for name, tokens in counted.items():
            self.totals[name] = self.totals.get(name, 0) + tokens
        return usage
