"""The chain of items of a session, and how much sound each holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulators.model.oracle import refuse


@dataclass(slots=True)
class Entry:
    """An item as the wire has it, and what the wire does not say. `audio_ms` shrinks when the item is truncated."""

    item: dict[str, Any]
    audio_ms: int = 0
    truncated_at_ms: int | None = None


class Conversation:
    """Items in their order. Every method that a client can get wrong raises oracle.Refused."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, item_id: str) -> Entry | None:
        return next((entry for entry in self._entries if entry.item["id"] == item_id), None)

    def last_id(self) -> str | None:
        return self._entries[-1].item["id"] if self._entries else None

    def append(self, entry: Entry) -> str | None:
        """Add at the end; the id of the item before it."""
        before = self.last_id()
        self._entries.append(entry)
        return before

    def insert(self, entry: Entry, previous_item_id: str | None) -> str | None:
        """Add after an item, first for "root", last for None; the id of the item before it."""
        if self.find(entry.item["id"]) is not None:
            raise refuse("item_create_duplicate_id", f"Item with id '{entry.item['id']}' already exists.", "item.id")
        if previous_item_id is None:
            return self.append(entry)
        if previous_item_id == "root":
            self._entries.insert(0, entry)
            return None
        before = self.find(previous_item_id)
        if before is None:
            message = f"Previous item with id '{previous_item_id}' does not exist."
            raise refuse("invalid_value", message, "previous_item_id")
        self._entries.insert(self._entries.index(before) + 1, entry)
        return previous_item_id

    def get(self, item_id: str, code: str) -> Entry:
        entry = self.find(item_id)
        if entry is None:
            raise refuse(code, f"Item with id '{item_id}' does not exist.", "item_id")
        return entry

    def delete(self, item_id: str) -> None:
        self._entries.remove(self.get(item_id, "item_delete_invalid_item_id"))

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut an agent's audio. The transcript of what is left is unknown to the server, so it goes too."""
        entry = self.get(item_id, "item_truncate_invalid_item_id")
        if entry.item["type"] != "message" or entry.item.get("role") != "assistant":
            raise refuse("invalid_value", "Only model output audio messages can be truncated.", "item_id")
        if content_index != 0:
            raise refuse("invalid_value", "Content index must be 0.", "content_index")
        if audio_end_ms < 0:
            raise refuse("invalid_value", "'audio_end_ms' must be at least 0.", "audio_end_ms")
        if audio_end_ms > entry.audio_ms:
            message = f"Audio content of {entry.audio_ms} ms is already shorter than {audio_end_ms} ms"
            raise refuse("invalid_value", message, "audio_end_ms")
        entry.audio_ms = entry.truncated_at_ms = audio_end_ms
        for part in entry.item["content"]:
            part.pop("transcript", None)

    def call_named(self, call_id: str) -> Entry | None:
        return next(
            (e for e in self._entries if e.item["type"] == "function_call" and e.item["call_id"] == call_id), None
        )

    def answered(self, call_id: str) -> bool:
        return any(e.item["type"] == "function_call_output" and e.item["call_id"] == call_id for e in self._entries)
