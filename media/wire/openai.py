"""OpenAI Realtime (GA): server events to engine events, commands to client events (protocols, openai-realtime B2-B6).

Incoming: unknown fields are tolerated, and no message is an error: one that is of no use becomes nothing, one that
nobody has heard of, or that cannot be read, becomes UnknownModelEvent and is counted. Outgoing: only fields of the
facts sheet; the server tolerates none it does not know. Audio stays base64 on the way.
"""

from collections.abc import Sequence
from typing import Annotated, Any, assert_never

import msgspec
from msgspec import Meta, Struct, field

from media.engine import commands, events
from media.engine.config import PastItem
from media.wire.openai_errors import error_event

# --- From the model: each message says itself what it means --------------------------------------------------

_Id = Annotated[str, Meta(min_length=1, max_length=256)]


MS_OF_A_TOKEN = 100  # of the caller's audio (B7)


class _Message(Struct, tag_field="type"):
    """One kind of message; each has a method `event`, which says what it means."""


class _Session(Struct):
    id: str = ""
    expires_at: float | None = None


class _SessionUpdated(_Message, tag="session.updated"):
    session: _Session

    def event(self) -> events.ModelReady:
        return events.ModelReady(self.session.id, self.session.expires_at)


class _Content(Struct):
    type: str = ""
    text: str | None = None


class _Item(Struct):
    id: _Id
    type: str = ""
    role: str = ""
    status: str | None = None
    content: list[_Content] = field(default_factory=list)
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class _ItemAdded(_Message, tag="conversation.item.added"):
    item: _Item
    previous_item_id: str | None = None

    def event(self) -> events.ItemAdded:
        written = [part.text for part in self.item.content if part.type == "input_text" and part.text]
        return events.ItemAdded(self.item.id, self.item.role, self.previous_item_id, " ".join(written))


class _ItemCreated(_ItemAdded, tag="conversation.item.created"):
    """The name of older servers."""


class _SpeechStarted(_Message, tag="input_audio_buffer.speech_started"):
    item_id: _Id

    def event(self) -> events.CallerSpeechStarted:
        return events.CallerSpeechStarted(self.item_id)


class _SpeechStopped(_Message, tag="input_audio_buffer.speech_stopped"):
    item_id: _Id

    def event(self) -> events.CallerSpeechStopped:
        return events.CallerSpeechStopped(self.item_id)


class _TranscriptionDetails(Struct):
    audio_tokens: int = 0


class _TranscriptionUsage(Struct):
    """Either tokens or, of some models, the seconds of audio (B4)."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: _TranscriptionDetails | None = None
    seconds: float | None = None

    def event(self) -> events.Usage:
        tokens, details = self.input_tokens or 0, self.input_token_details
        audio_tokens = details.audio_tokens if details is not None else tokens
        return events.Usage(
            transcription_input_tokens=tokens,
            transcription_audio_tokens=audio_tokens,
            transcription_output_tokens=self.output_tokens or 0,
            transcription_ms=round((self.seconds or 0.0) * 1000) or audio_tokens * MS_OF_A_TOKEN,
        )


class _Transcribed(_Message, tag="conversation.item.input_audio_transcription.completed"):
    item_id: _Id
    transcript: str
    usage: _TranscriptionUsage | None = None

    def event(self) -> events.CallerTranscribed:
        usage = self.usage.event() if self.usage is not None else events.Usage()
        return events.CallerTranscribed(self.item_id, self.transcript, usage)


class _Error(Struct):
    type: str | None = None
    code: str | None = None

    @property
    def name(self) -> str:
        return self.code or self.type or "unknown"


class _TranscriptFailed(_Message, tag="conversation.item.input_audio_transcription.failed"):
    item_id: _Id
    error: _Error = field(default_factory=_Error)

    def event(self) -> events.CallerTranscriptFailed:
        return events.CallerTranscriptFailed(self.item_id, self.error.name)


class _CachedDetails(Struct):
    audio_tokens: int = 0


class _InputDetails(Struct):
    cached_tokens: int = 0
    audio_tokens: int = 0
    cached_tokens_details: _CachedDetails | None = None


class _OutputDetails(Struct):
    audio_tokens: int = 0


class _Usage(Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_token_details: _InputDetails = field(default_factory=_InputDetails)
    output_token_details: _OutputDetails = field(default_factory=_OutputDetails)

    def event(self) -> events.Usage:
        details = self.input_token_details
        return events.Usage(
            self.input_tokens,
            self.output_tokens,
            details.cached_tokens,
            details.audio_tokens,
            self.output_token_details.audio_tokens,
            details.cached_tokens_details.audio_tokens if details.cached_tokens_details is not None else 0,
        )


class _StatusDetails(Struct):
    reason: str | None = None
    error: _Error | None = None

    @property
    def name(self) -> str:
        return self.error.name if self.error is not None else self.reason or ""


class _Response(Struct):
    id: _Id
    status: str = ""
    status_details: _StatusDetails | None = None
    usage: _Usage | None = None


class _ResponseCreated(_Message, tag="response.created"):
    response: _Response

    def event(self) -> events.ResponseStarted:
        return events.ResponseStarted(self.response.id)


class _ResponseDone(_Message, tag="response.done"):
    response: _Response

    def event(self) -> events.ResponseFinished:
        response, usage = self.response, self.response.usage or _Usage()
        reason = response.status_details.name if response.status_details is not None else ""
        return events.ResponseFinished(response.id, response.status, reason, usage.event())


class _OfItem(_Message):
    response_id: _Id
    item_id: _Id


class _AudioDelta(_OfItem, tag="response.output_audio.delta"):
    delta: bytes  # msgspec decodes the base64

    def event(self) -> events.ModelAudio | None:
        return events.ModelAudio(self.response_id, self.item_id, self.delta) if self.delta else None


class _AudioDone(_OfItem, tag="response.output_audio.done"):
    def event(self) -> events.AgentAudioDone:
        return events.AgentAudioDone(self.response_id, self.item_id)


class _SpokenTextDelta(_OfItem, tag="response.output_audio_transcript.delta"):
    delta: str

    def event(self) -> events.AgentTextDelta:
        return events.AgentTextDelta(self.response_id, self.item_id, self.delta)


class _WrittenTextDelta(_SpokenTextDelta, tag="response.output_text.delta"):
    pass


class _SpokenTextDone(_OfItem, tag="response.output_audio_transcript.done"):
    transcript: str

    def event(self) -> events.AgentTextDone:
        return events.AgentTextDone(self.response_id, self.item_id, self.transcript)


class _WrittenTextDone(_OfItem, tag="response.output_text.done"):
    text: str

    def event(self) -> events.AgentTextDone:
        return events.AgentTextDone(self.response_id, self.item_id, self.text)


class _OutputItemDone(_Message, tag="response.output_item.done"):
    response_id: _Id
    item: _Item

    def event(self) -> events.ToolCalled | None:
        item = self.item
        # An interrupted call arrives here too, with the status `incomplete`: it must not run (B5).
        if item.type != "function_call" or item.status != "completed" or not item.call_id:
            return None
        return events.ToolCalled(self.response_id, item.id, item.call_id, item.name, item.arguments)


class _ErrorMessage(_Message, tag="error"):
    error: _Error

    def event(self) -> events.ModelError:
        return error_event(self.error.name)


class _Kind(Struct):
    type: str


# Known, and of no use here: what they say also comes otherwise, or belongs to other transports and to MCP (B4).
IGNORED = frozenset(
    {
        "session.created",
        "conversation.created",
        "conversation.item.done",
        "conversation.item.deleted",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.dtmf_event_received",
        "response.output_item.added",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.cleared",
        "rate_limits.updated",
    }
)

_read = msgspec.json.Decoder(
    _AudioDelta
    | _AudioDone
    | _SpokenTextDelta
    | _SpokenTextDone
    | _WrittenTextDelta
    | _WrittenTextDone
    | _SpeechStarted
    | _SpeechStopped
    | _Transcribed
    | _TranscriptFailed
    | _ItemAdded
    | _ItemCreated
    | _ResponseCreated
    | _ResponseDone
    | _OutputItemDone
    | _SessionUpdated
    | _ErrorMessage
).decode
_read_kind = msgspec.json.Decoder(_Kind).decode


def decode(raw: str | bytes) -> list[events.Event]:
    """Read one message; return what it means, which may be nothing."""
    try:
        event = _read(raw).event()
    except (msgspec.DecodeError, UnicodeDecodeError):  # also a kind that is not in the union
        return _not_understood(raw)
    return [event] if event is not None else []


def _not_understood(raw: str | bytes) -> list[events.Event]:
    try:
        kind = _read_kind(raw).type
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [events.UnknownModelEvent("malformed")]
    return [] if kind in IGNORED else [events.UnknownModelEvent(kind[:64])]


# --- To the model --------------------------------------------------------------------------------------------


class _Append(Struct, tag_field="type", tag="input_audio_buffer.append"):
    audio: str


_write = msgspec.json.Encoder().encode

# When to answer and what interrupts is decided by the engine: a server that does it stops for every cough (B2, B5).
OURS = {"create_response": False, "interrupt_response": False}

SAY_INSTRUCTIONS = (
    "Say exactly the following words to the caller, word for word, in this language, and nothing else. "
    'Then stop and wait for an answer.\n\n"{}"'
)


def append(payload: str) -> bytes:
    """Write what `encode` makes of ForwardAudio."""
    return _write(_Append(payload))


def encode(command: commands.ModelCommand) -> list[bytes]:
    """Write the client events for one command, in order, each as the UTF-8 of a text frame. CloseModel is the socket's
    business: none."""
    return [_write(event) for event in _client_events(command)]


def _client_events(command: commands.ModelCommand) -> list[_Append] | list[dict[str, Any]]:
    match command:
        case commands.ForwardAudio():
            return [_Append(command.payload)]
        case commands.Say():
            instructions = SAY_INSTRUCTIONS.format(command.text)
            return [{"type": "response.create", "response": {"instructions": instructions}}]
        case commands.RecallConversation():
            return [_past_item(item) for item in command.items]
        case commands.Respond():
            return [{"type": "response.create"}]
        case commands.CancelResponse():
            return [{"type": "response.cancel", "response_id": command.response_id}]
        case commands.TruncateItem():
            return [_truncate(command)]
        case commands.SendToolResult():
            return [_item(type="function_call_output", call_id=command.tool_call_id, output=command.output)]
        case commands.SendUserText():
            return [_item(type="message", role="user", content=[{"type": "input_text", "text": command.text}])]
        case commands.SendNote():
            return [_item(type="message", role="system", content=[{"type": "input_text", "text": command.text}])]
        case commands.ReplaceItem():
            item = _past_item(PastItem(command.new_id, "assistant", command.text))
            return [
                {**item, "previous_item_id": command.item_id},
                {"type": "conversation.item.delete", "item_id": command.item_id},
            ]
        case commands.DropItem():
            return [{"type": "conversation.item.delete", "item_id": command.item_id}]
        case commands.CommitAudio():
            return [{"type": "input_audio_buffer.commit"}]
        case commands.CloseModel():
            return []
        case _:
            assert_never(command)


def _item(**item: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": item}


def _past_item(item: PastItem) -> dict[str, Any]:
    """What was said, as text: the audio of it is gone, and only these kinds of content may be written (B3)."""
    kind = "input_text" if item.role == "user" else "output_text"
    return _item(id=item.item_id, type="message", role=item.role, content=[{"type": kind, "text": item.text}])


def _truncate(command: commands.TruncateItem) -> dict[str, Any]:
    return {
        "type": "conversation.item.truncate",
        "item_id": command.item_id,
        "content_index": 0,
        "audio_end_ms": command.audio_end_ms,
    }


def session_update(
    *,
    instructions: str,
    voice: str,
    language: str,
    transcription_model: str,
    turn_detection: dict[str, Any],
    tools: Sequence[dict[str, Any]],
) -> bytes:
    """Write the client event that configures a session for the phone (B2); the model itself is named in the address.

    `language`: BCP 47, of which the transcription takes the first part; empty: any. `tools`: as the session names
    them ({"type": "function", "name", "description", "parameters"}). mu-law takes no `rate`, unlike PCM.
    """
    transcription = {"model": transcription_model}
    if language:
        transcription["language"] = language.partition("-")[0].lower()
    mu_law = {"type": "audio/pcmu"}
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": instructions,
        "audio": {
            "input": {"format": mu_law, "transcription": transcription, "turn_detection": {**turn_detection, **OURS}},
            "output": {"format": mu_law, "voice": voice},
        },
        "tools": list(tools),
        "tool_choice": "auto",
    }
    return _write({"type": "session.update", "session": session})
