"""POST /v1/responses: the Responses API, as far as one answer in the form of a JSON schema goes.

Demanding like the real one: a parameter that the API does not have, a message of a wrong form, a schema that strict
mode does not take, another HTTP method or path is refused with the API's error object.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from simulators.model import reader, spoken_files, strict_schema
from simulators.model.faults import Faults
from simulators.model.hearing import Hearing
from simulators.model.ledger import Ledger
from simulators.model.oracle import Refused, refuse
from simulators.model.reply import Reply, error
from simulators.model.settings import ModelSettings
from simulators.model.usage import CACHE_BLOCK, text_tokens

PATH = "/v1/responses"
MAX_BODY = 30 * 1024 * 1024
ROLES = frozenset({"user", "assistant", "system", "developer"})
PARAMETERS = frozenset(ResponseCreateParamsNonStreaming.__annotations__)  # what the SDK knows


class TextModel:
    """Answers requests in their order; keeps in the ledger what it was asked and what it said."""

    def __init__(self, settings: ModelSettings, ledger: Ledger, hearing: Hearing) -> None:
        self._settings = settings
        self._ledger = ledger
        self._hearing = hearing
        self.requests = 0
        self.transcriptions = 0

    async def reply(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if path == spoken_files.PATH:
            return self._transcription(method, headers, body)
        self.requests += 1
        number = self.requests
        faults = Faults(self._settings.faults)
        slow = faults.number("text-slow", 60, number)
        if slow is not None:
            await asyncio.sleep(slow * self._settings.time_scale)
        reply = self._faulty(faults, number) or self._judged(method, path, headers, body, faults, number)
        self._ledger.add("text_reply", "", number=number, status=reply.status)
        return reply

    def _faulty(self, faults: Faults, number: int) -> Reply | None:
        if (status := faults.number("text-status", 429, number)) is not None:
            codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
            return error(
                int(status), codes.get(int(status)), f"Simulated {int(status)}.", wait="2" if status == 429 else ""
            )
        return Reply(200, "<html>Bad gateway</html>") if faults.has("text-broken", number) else None

    def _judged(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, faults: Faults, number: int
    ) -> Reply:
        if not self._is_known(headers):
            return error(401, "invalid_api_key", "Incorrect API key provided.")
        if method != "POST" or path != PATH:
            return error(404, "unknown_url", f"Unknown request URL: {method} {path}.")
        try:
            asked = parse(body, self._settings.text_models)
        except Refused as refused:
            return self._refused("text_refused", refused, number)
        self._ledger.add("text_asked", "", number=number, request=asked)
        return Reply(200, json.dumps(self._response(asked, faults, number)))

    def _transcription(self, method: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self.transcriptions += 1
        number = self.transcriptions
        if (faulty := spoken_files.faulty(Faults(self._settings.faults), number)) is not None:
            return faulty
        if not self._is_known(headers):
            return error(401, "invalid_api_key", "Incorrect API key provided.")
        if method != "POST":
            return error(404, "unknown_url", f"Unknown request URL: {method} {spoken_files.PATH}.")
        try:
            asked = spoken_files.parse(headers.get("content-type", ""), body)
            answer = spoken_files.transcribe(asked, self._hearing)
        except Refused as refused:
            return self._refused("transcription_refused", refused, number)
        fields = {name: value for name, value in asked.fields.items() if name != "file"}
        self._ledger.add("transcribed", "", number=number, bytes=len(asked.content), fields=fields, **answer)
        return Reply(200, json.dumps(answer))

    def _is_known(self, headers: Mapping[str, str]) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return scheme == "Bearer" and bool(key) and self._settings.api_key in (None, key)

    def _refused(self, fact: str, refused: Refused, number: int) -> Reply:
        refusal = refused.refusal
        status = 404 if refusal.code == "model_not_found" else 400
        self._ledger.add(fact, "", number=number, code=refusal.code, message=refusal.message)
        return error(status, refusal.code, refusal.message, refusal.param)

    def _response(self, asked: dict[str, Any], faults: Faults, number: int) -> dict[str, Any]:
        text = input_text(asked)
        answer = self._answer(asked, text)
        content: dict[str, Any] = {"type": "output_text", "text": answer, "annotations": [], "logprobs": []}
        status, details = "completed", None
        if faults.has("text-garbage", number):
            content["text"] = answer[: len(answer) // 2]
        if faults.has("text-refusal", number):
            content = {"type": "refusal", "refusal": "I'm sorry, but I can't help with that."}
        if (reason := faults.text("text-incomplete", "max_output_tokens", number)) is not None:
            status, details = "incomplete", {"reason": reason}
            content["text"] = answer[: len(answer) // 2]
        read, written = text_tokens(str(asked.get("instructions") or "") + text), text_tokens(answer)
        return {
            "id": f"resp_{number:032x}",
            "object": "response",
            "created_at": int(time.time()),
            "status": status,
            "error": None,
            "incomplete_details": details,
            "instructions": asked.get("instructions"),
            "metadata": {},
            "model": asked["model"],
            "output": [
                {
                    "id": f"msg_{number:032x}",
                    "type": "message",
                    "role": "assistant",
                    "status": status,
                    "content": [content],
                }
            ],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "text": asked["text"],
            "usage": {
                "input_tokens": read,
                "input_tokens_details": {
                    "cached_tokens": read // 4 // CACHE_BLOCK * CACHE_BLOCK,
                    "cache_write_tokens": 0,
                },
                "output_tokens": written,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": read + written,
            },
        }

    def _answer(self, asked: dict[str, Any], text: str) -> str:
        for words, scripted in self._settings.text_answers.items():
            if words in text:
                return json.dumps(scripted)
        return json.dumps(reader.fill(asked["text"]["format"]["schema"], text))


def input_text(asked: dict[str, Any]) -> str:
    """Every word of the user's messages."""
    given = asked["input"]
    if isinstance(given, str):
        return given
    texts = []
    for message in given:
        content = message["content"]
        texts += [content] if isinstance(content, str) else [part["text"] for part in content]
    return "\n".join(texts)


def parse(body: bytes, models: frozenset[str]) -> dict[str, Any]:
    """The request, found to be right. Raise Refused."""
    try:
        asked = json.loads(body)
    except ValueError:
        raise refuse("invalid_json", "We could not parse the JSON body of your request.") from None
    if not isinstance(asked, dict):
        raise refuse("invalid_type", "Invalid type for request: expected an object.")
    if unknown := set(asked) - PARAMETERS:
        name = min(unknown)
        raise refuse("unknown_parameter", f"Unknown parameter: '{name}'.", name)
    for name in ("model", "input"):
        if name not in asked:
            raise refuse("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    _check_plain(asked)
    if asked["model"] not in models:
        raise refuse("model_not_found", f"The requested model '{asked['model']}' does not exist.", "model")
    _check_input(asked["input"])
    _check_format(asked)
    return asked


def _check_plain(asked: dict[str, Any]) -> None:
    kinds: dict[str, type] = {
        "model": str,
        "instructions": str,
        "max_output_tokens": int,
        "store": bool,
        "stream": bool,
    }
    for name, kind in kinds.items():
        value = asked.get(name)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise refuse("invalid_type", f"Invalid type for '{name}': expected {kind.__name__}.", name)
    if asked.get("stream"):
        raise refuse("unsupported_value", "This simulator does not stream text.", "stream")
    tokens = asked.get("max_output_tokens")
    if tokens is not None and tokens < 16:
        raise refuse(
            "integer_below_min_value", "Invalid 'max_output_tokens': expected a value >= 16.", "max_output_tokens"
        )


def _check_input(given: Any) -> None:
    if isinstance(given, str) and given:
        return
    if not isinstance(given, list) or not given:
        raise refuse("invalid_type", "Invalid type for 'input': expected a string or an array of messages.", "input")
    for number, message in enumerate(given):
        place = f"input[{number}]"
        if not isinstance(message, dict) or set(message) - {"role", "content", "type", "phase"}:
            raise refuse("invalid_value", f"Invalid value: '{place}'.", place)
        if message.get("role") not in ROLES or message.get("type", "message") != "message":
            raise refuse("invalid_value", f"Invalid value for '{place}.role'.", f"{place}.role")
        _check_content(message.get("content"), message["role"], f"{place}.content")


def _check_content(content: Any, role: str, place: str) -> None:
    if isinstance(content, str):
        return
    wanted = "output_text" if role == "assistant" else "input_text"
    parts = content if isinstance(content, list) else [None]
    for number, part in enumerate(parts):
        if not isinstance(part, dict) or part.get("type") != wanted or not isinstance(part.get("text"), str):
            raise refuse(
                "invalid_value", f"Invalid value: '{place}[{number}]'. Expected {wanted}.", f"{place}[{number}]"
            )


def _check_format(asked: dict[str, Any]) -> None:
    place = "text.format"
    text = asked.get("text")
    chosen = text.get("format") if isinstance(text, dict) else None
    if not isinstance(chosen, dict) or chosen.get("type") != "json_schema":
        raise refuse("unsupported_value", "This simulator answers in the form of a JSON schema only.", place)
    if isinstance(text, dict) and (unknown := set(text) - {"format", "verbosity"}):
        raise refuse("unknown_parameter", f"Unknown parameter: 'text.{min(unknown)}'.", f"text.{min(unknown)}")
    if unknown := set(chosen) - {"type", "name", "schema", "strict", "description"}:
        raise refuse("unknown_parameter", f"Unknown parameter: '{place}.{min(unknown)}'.", f"{place}.{min(unknown)}")
    name = chosen.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        raise refuse("invalid_value", f"Invalid '{place}.name'.", f"{place}.name")
    if chosen.get("strict") is not True:
        raise refuse("unsupported_value", "This simulator knows the strict mode only.", f"{place}.strict")
    strict_schema.check(name, chosen.get("schema"))


async def serve(model: TextModel, reads: asyncio.StreamReader, writes: asyncio.StreamWriter) -> None:
    """One request on a connection of its own, then its end."""
    try:
        head = (await reads.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        length = int(headers.get("content-length", "0"))
        body = await reads.readexactly(min(length, MAX_BODY))
        reply = await model.reply(method, target.partition("?")[0], headers, body)
        writes.write(as_bytes(reply))
        await writes.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
        pass  # the other side has gone, or does not speak HTTP
    finally:
        writes.close()


def as_bytes(reply: Reply) -> bytes:
    body = reply.body.encode()
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
