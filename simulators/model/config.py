"""The session object: its defaults, what an update may contain beyond the types, and how it merges."""

from __future__ import annotations

import copy
from typing import Any

from simulators.model.oracle import refuse

VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
TRANSCRIPTION_MODELS = (
    "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe-diarize", "gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper",
)  # fmt: skip
SERVER_VAD: dict[str, Any] = {
    "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500,
    "idle_timeout_ms": None, "create_response": True, "interrupt_response": True,
}  # fmt: skip
SEMANTIC_VAD: dict[str, Any] = {
    "type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True,
}  # fmt: skip


def default_session(session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    """What session.created says. The spec's example of it has 200 ms of silence; so here."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "expires_at": expires_at,
        "output_modalities": ["audio"],
        "instructions": "Your knowledge cutoff is 2023-10. You are a helpful, witty, and friendly AI.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {**SERVER_VAD, "silence_duration_ms": 200},
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
        },
    }


def merged(session: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """The session with an update in it: only the fields sent change, null clears. Expects a checked update."""
    result = copy.deepcopy(session)
    for key, value in update.items():
        if key != "audio":
            result[key] = copy.deepcopy(value)
    for side in ("input", "output"):
        for key, value in ((update.get("audio") or {}).get(side) or {}).items():
            if key == "turn_detection" and value is not None:
                value = _turn_detection(result["audio"]["input"]["turn_detection"], value)
            result["audio"][side][key] = copy.deepcopy(value)
    return result


def _turn_detection(current: dict[str, Any] | None, update: dict[str, Any]) -> dict[str, Any]:
    defaults = SERVER_VAD if update["type"] == "server_vad" else SEMANTIC_VAD
    kept = current if current is not None and current["type"] == update["type"] else {}
    return {**defaults, **kept, **update}


def check(update: dict[str, Any], session: dict[str, Any], *, spoken: bool) -> None:
    """Ranges and rules the SDK's types do not know. `spoken`: the session has already sent audio. Raises Refused."""
    if update.get("model") not in (None, session["model"]):
        raise refuse("invalid_value", "The model of a session cannot be changed.", "session.model")
    modalities = update.get("output_modalities")
    if modalities is not None and modalities not in (["audio"], ["text"]):
        message = "Invalid modalities. Supported combinations are: ['text'] and ['audio']."
        raise refuse("invalid_value", message, "session.output_modalities")
    check_tools(update.get("tools") or [], "session.tools")
    check_max_tokens(update.get("max_output_tokens"), "session.max_output_tokens")
    audio = update.get("audio") or {}
    _check_input(audio.get("input") or {})
    _check_output(audio.get("output") or {}, session, spoken)


def check_tools(tools: list[dict[str, Any]], path: str) -> None:
    names: set[str] = set()
    for index, tool in enumerate(tools):
        for key in ("type",) if tool.get("type") == "mcp" else ("type", "name"):
            if not tool.get(key):
                param = f"{path}[{index}].{key}"
                raise refuse("missing_required_parameter", f"Missing required parameter: '{param}'.", param)
        if tool["type"] == "function" and tool["name"] in names:
            raise refuse("invalid_value", f"Duplicate tool name: {tool['name']!r}.", f"{path}[{index}].name")
        names.add(tool.get("name", ""))


def check_max_tokens(value: int | str | None, path: str) -> None:
    if isinstance(value, int) and not 1 <= value <= 4096:
        raise refuse("invalid_value", f"Invalid value: {value}. Expected 1 to 4096 or 'inf'.", path)


def _check_range(holder: dict[str, Any], key: str, low: float, high: float, path: str) -> None:
    value = holder.get(key)
    if value is not None and not low <= value <= high:
        raise refuse("invalid_value", f"Invalid value: {value}. Expected {low:g} to {high:g}.", f"{path}.{key}")


def _check_format(side: dict[str, Any], path: str) -> None:
    if side.get("format") is not None and "type" not in side["format"]:
        raise refuse(
            "missing_required_parameter", f"Missing required parameter: '{path}.format.type'.", f"{path}.format.type"
        )


def _check_input(side: dict[str, Any]) -> None:
    path = "session.audio.input"
    _check_format(side, path)
    transcription = side.get("transcription")
    if transcription is not None and transcription.get("model") not in TRANSCRIPTION_MODELS:
        supported = ", ".join(f"'{name}'" for name in TRANSCRIPTION_MODELS)
        message = f"Invalid value: {transcription.get('model')!r}. Supported values are: {supported}."
        raise refuse("invalid_value", message, f"{path}.transcription.model")
    detection = side.get("turn_detection")
    if detection is not None:
        _check_range(detection, "threshold", 0, 1, f"{path}.turn_detection")
        _check_range(detection, "prefix_padding_ms", 0, 10_000, f"{path}.turn_detection")
        _check_range(detection, "silence_duration_ms", 0, 10_000, f"{path}.turn_detection")
        _check_range(detection, "idle_timeout_ms", 5_000, 30_000, f"{path}.turn_detection")


def _check_output(side: dict[str, Any], session: dict[str, Any], spoken: bool) -> None:
    path = "session.audio.output"
    _check_format(side, path)
    _check_range(side, "speed", 0.25, 1.5, path)
    check_voice(side.get("voice"), session, spoken, f"{path}.voice")


def check_voice(voice: object, session: dict[str, Any], spoken: bool, path: str) -> None:
    if voice is None:
        return
    if isinstance(voice, str) and voice not in VOICES:
        supported = ", ".join(f"'{name}'" for name in VOICES)
        raise refuse("invalid_value", f"Invalid value: {voice!r}. Supported values are: {supported}.", path)
    if spoken and voice != session["audio"]["output"]["voice"]:
        message = "Cannot update a conversation's voice if assistant audio is present."
        raise refuse("cannot_update_voice", message, path)


def check_response(options: dict[str, Any], session: dict[str, Any], *, spoken: bool) -> None:
    """The parameters of response.create, beyond the types. Raises Refused."""
    check_tools(options.get("tools") or [], "response.tools")
    check_max_tokens(options.get("max_output_tokens"), "response.max_output_tokens")
    if options.get("output_modalities") not in (None, ["audio"], ["text"]):
        message = "Invalid modalities. Supported combinations are: ['text'] and ['audio']."
        raise refuse("invalid_value", message, "response.output_modalities")
    if options.get("conversation") not in (None, "auto", "none"):
        raise refuse("invalid_value", "Supported values are: 'auto' and 'none'.", "response.conversation")
    if len(options.get("metadata") or {}) > 16:
        raise refuse("invalid_value", "Invalid 'response.metadata': at most 16 pairs.", "response.metadata")
    voice = ((options.get("audio") or {}).get("output") or {}).get("voice")
    check_voice(voice, session, spoken, "response.audio.output.voice")
