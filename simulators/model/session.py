"""One connection: what the client may send, and what the server does about it. No sockets here, and no clock."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from typing import Any

from simulators.model import config
from simulators.model.conversation import Entry
from simulators.model.core import Core, Event, Timer, error_body
from simulators.model.hearing import Hearing
from simulators.model.listening import Listener
from simulators.model.oracle import Refusal, Refused, judge, parse, refuse
from simulators.model.speaking import Speaker


class Session:
    """`open` once, `receive` for each client frame, `closed` once at the end.

    Tests may strike by hand, at their own moment: `core.emit(event)`, `core.close(code)`, `core.abort()`,
    `core.silent = True`.
    """

    def __init__(self, core: Core, hearing: Hearing, number: int) -> None:
        self.core, self.number = core, number
        self._speaker = Speaker(core)
        self._listener = Listener(core, self._speaker, hearing)
        self._counts: Counter[str] = Counter()
        self._updated = self._warned = False
        self._expiry: Timer | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self, headers: Mapping[str, str]) -> None:
        """The handshake is done."""
        core = self.core
        core.note("opened", model=core.config["model"], number=self.number, headers=dict(headers))
        fatal = core.faults.text("fatal", "insufficient_quota")
        if fatal is not None:
            self.turn_away(fatal, f"Simulated {fatal}.")
            return
        core.silent = core.faults.has("silent")
        self._expiry = core.wire.later(core.settings.session_seconds, self._expire)
        dropped = core.faults.number("drop-after", 5000)
        if dropped is not None:
            core.later(dropped / 1000, core.abort)
        created = {"type": "session.created", "session": core.config}
        core.after(core.faults.number("slow-session", 1000), lambda: core.emit(created))

    def turn_away(self, code: str, message: str) -> None:
        """Send a fatal error and close with 4000."""
        self.core.error(code, message)
        self.core.close(4000, f"invalid_request_error.{code}")

    def _expire(self) -> None:
        minutes = max(1, round(self.core.settings.session_seconds / 60))
        self.core.error("session_expired", f"Your session hit the maximum duration of {minutes} minutes.")
        self.core.close(1001)

    def closed(self, code: int | None) -> None:
        """The connection is gone."""
        self.core.over = True
        self._speaker.close()
        if self._expiry is not None:
            self._expiry.cancel()
        ear = self._listener.ear
        self.core.note(
            "closed",
            code=code,
            audio_bytes=ear.total_bytes,
            audio_sha256=ear.sha256,
            output_audio_bytes=self._speaker.sent_bytes,
            output_audio_sha256=self._speaker.sent_digest.hexdigest(),
            usage=self.core.meter.totals,
            client_events=dict(self._counts),
        )

    # -- client events ------------------------------------------------------------------------------------------------

    def receive(self, frame: str | bytes) -> None:
        """Take one client frame."""
        if self.core.over:
            return
        event: Event = {}
        try:
            event = parse(frame)
            judge(event)
            self._counts[event["type"]] += 1
            self._handle(event)
        except Refused as refused:
            self._refuse(refused.refusal, event)

    def _refuse(self, refusal: Refusal, event: Event) -> None:
        event_id = event.get("event_id")
        self.core.note(
            "refused" if refusal.race else "complaint",
            code=refusal.code,
            message=refusal.message,
            param=refusal.param,
            event_type=event.get("type"),
        )
        body = error_body(refusal, event_id if isinstance(event_id, str) else None)
        self.core.emit({"type": "error", "error": body})

    def _handle(self, event: Event) -> None:
        match event["type"]:
            case "input_audio_buffer.append":
                self._append(event["audio"])
            case "input_audio_buffer.commit":
                self._listener.commit()
            case "input_audio_buffer.clear":
                self._listener.clear()
            case "session.update":
                self._update(event["session"])
            case "response.create":
                self._speaker.create(event.get("response") or {})
            case "response.cancel":
                self._speaker.cancel(event.get("response_id"))
            case "conversation.item.create":
                self._create_item(event["item"], event.get("previous_item_id"))
            case "conversation.item.truncate":
                self._truncate(event["item_id"], event["content_index"], event["audio_end_ms"])
            case "conversation.item.retrieve":
                entry = self.core.conversation.get(event["item_id"], "item_retrieve_invalid_item_id")
                self.core.emit({"type": "conversation.item.retrieved", "item": entry.item})
            case "conversation.item.delete":
                self.core.conversation.delete(event["item_id"])
                self._speaker.unanswered.forget(event["item_id"])
                self.core.note("deleted", item_id=event["item_id"])
                self.core.emit({"type": "conversation.item.deleted", "item_id": event["item_id"]})
            case _:
                raise refuse("invalid_event", f"'{event['type']}' is for WebRTC and SIP connections only.", "type")

    def _append(self, audio: str) -> None:
        if not (self._updated or self._warned):
            self._warned = True
            message = "Audio before session.updated is read as 24 kHz PCM."
            self.core.complain("audio_before_session_updated", message, "input_audio_buffer.append")
        self._listener.take(b64decode(audio))

    def _update(self, update: dict[str, Any]) -> None:
        core = self.core
        if core.faults.has("update-refused"):
            raise refuse("server_error", "Simulated refusal of an update.", "session", race=True)
        config.check(update, core.config, spoken=self._speaker.sent_bytes > 0)

        def apply() -> None:
            core.config = config.merged(core.config, update)
            self._listener.configure()
            self._updated = True
            core.note("updated", config=core.config)
            core.emit({"type": "session.updated", "session": core.config})

        core.after(core.faults.number("slow-session", 1000), apply)

    # -- items --------------------------------------------------------------------------------------------------------

    def _create_item(self, item: dict[str, Any], previous_item_id: str | None) -> None:
        core, output = self.core, item["type"] == "function_call_output"
        call = self._called(item["call_id"]) if output else None
        answered = output and core.conversation.answered(item["call_id"])
        item = {"object": "realtime.item", "status": "completed", **item, "id": item.get("id") or core.new_id("item")}
        before = core.conversation.insert(Entry(item), previous_item_id)
        if call is not None:
            core.note("function_output", item_id=item["id"], call_id=item["call_id"], output=item["output"])
            self._speaker.unanswered.outputs.append(call["name"])
            if call["status"] == "incomplete":
                core.complain("ran_interrupted_call", "A call that was interrupted must not be run.", item["type"])
            if answered:
                core.complain("second_output", "A second output for one call.", item["type"])
        if item["type"] == "message":
            text = " ".join(part["text"] for part in item["content"] if part.get("text"))
            core.note("written", item_id=item["id"], role=item["role"], text=text)
            if item["role"] == "assistant":
                self._speaker.unanswered.answer(text, core.settings.dialogue)
                self._speaker.remember(core.settings.dialogue.line(text))  # said by the client, it may come back too
        self._speaker.unanswered.hear(item["id"], self._speaker.understand(item))
        for kind in ("conversation.item.added", "conversation.item.done"):
            core.emit({"type": kind, "previous_item_id": before, "item": item})

    def _called(self, call_id: str) -> dict[str, Any]:
        call = self.core.conversation.call_named(call_id)
        if call is None:
            raise refuse("invalid_tool_call_id", f"Tool call ID '{call_id}' not found in conversation.", "item.call_id")
        return call.item

    def _truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        self.core.conversation.truncate(item_id, content_index, audio_end_ms)
        self.core.note("truncated", item_id=item_id, audio_end_ms=audio_end_ms)
        for fact in self.core.ledger.of("said", self.core.session_id):
            if fact["item_id"] == item_id:
                fact["truncated_at_ms"] = audio_end_ms
        self.core.emit(
            {
                "type": "conversation.item.truncated",
                "item_id": item_id,
                "content_index": content_index,
                "audio_end_ms": audio_end_ms,
            }
        )
