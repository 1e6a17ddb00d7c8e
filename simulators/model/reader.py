"""How the simulated text model fills in a form about a conversation: simple rules over the words it was sent.

It knows nothing of who asks. Of the input it takes every "caller" and "agent" in its JSON; of the schema the names, the
kinds and the allowed values of what is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_CLAIMS = (
    ("message", re.compile(r"\b(taken|noted|passed on|written) (down )?(a|your|the|that|it)\b", re.I)),
    ("transfer", re.compile(r"\b(connect|connected|connecting|transfer\w*|put\w*) you (through|now|to)\b", re.I)),
    ("booking", re.compile(r"\b(booked|reserved|scheduled)\b", re.I)),
    ("change", re.compile(r"\b(changed|moved|cancelled|canceled|updated)\b", re.I)),
    ("lookup", re.compile(r"\b(looked (it|that) up|checked|found your)\b", re.I)),
)
_DONE = re.compile(r"\bI(?:'ve| have|'m| am| just)?\b", re.I)
_HEDGED = re.compile(r"\b(can|could|would you|shall|should|may|if)\b|\?", re.I)
_PLEASED = re.compile(r"\b(thank|thanks|great|perfect|wonderful|danke)\b", re.I)
_CROSS = re.compile(r"\b(terrible|angry|ridiculous|useless|complain\w*|annoy\w*)\b", re.I)
_TOOL_WORDS = {"message": "message", "transfer": "transfer", "booking": "book", "change": "change", "lookup": "find"}
_NAME = re.compile(r"\b(?i:my name is|this is|I am|I'm) ([A-Z][\w'-]+(?: [A-Z][\w'-]+)?)")


def talk(text: str) -> tuple[list[str], list[str]]:
    """What the caller and the agent said, out of a JSON text; of any other text nothing."""
    try:
        turns = json.loads(text)
    except ValueError:
        return [], []
    turns = turns if isinstance(turns, list) else []
    said: dict[str, list[str]] = {"caller": [], "agent": []}
    for turn in turns:
        for who, texts in said.items():
            if isinstance(turn, dict) and isinstance(turn.get(who), str):
                texts.append(turn[who])
    return said["caller"], said["agent"]


def fill(schema: dict[str, Any], text: str) -> Any:
    """An answer to the schema about the conversation in `text`."""
    caller, agent = talk(text)
    return _value("", schema, caller, agent)


def _value(name: str, schema: dict[str, Any], caller: list[str], agent: list[str]) -> Any:
    kind = schema.get("type", "")
    kinds: list[str] = kind if isinstance(kind, list) else [kind]
    if "object" in kinds:
        return {key: _value(key, part, caller, agent) for key, part in schema["properties"].items()}
    if "array" in kinds:
        return _entries(name, schema["items"], agent)
    if "enum" in schema:
        return _choice(name, schema["enum"], caller, agent)
    if "null" in kinds:
        return _told(name, kinds, schema.get("description", ""), caller)
    if "string" in kinds:
        return "The caller said: " + " ".join(caller)[:400] if caller else "Nobody said anything."
    return 0 if {"number", "integer"} & set(kinds) else False


def _entries(name: str, items: dict[str, Any], agent: list[str]) -> list[Any]:
    if items.get("type") == "object":
        return list(_claims(items, agent))
    promised = [s for text in agent for s in _sentences(text) if re.search(r"\b(call|get) (you )?back\b", s, re.I)]
    return [f"Keep the promise: {sentence}" for sentence in promised][:3]


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+", text.strip()) if sentence]


def _claims(items: dict[str, Any], agent: list[str]) -> Iterator[dict[str, Any]]:
    properties = items["properties"]
    kinds, tools = (properties.get(key, {}).get("enum", []) for key in ("kind", "tool"))
    for sentence in (sentence for text in agent for sentence in _sentences(text)):
        if not _DONE.search(sentence) or _HEDGED.search(sentence):
            continue
        kind = next((kind for kind, words in _CLAIMS if kind in kinds and words.search(sentence)), None)
        if kind is None:
            continue
        fitting = [tool for tool in tools if _TOOL_WORDS[kind] in tool]
        filled = {"kind": kind, "tool": (fitting or tools[-1:] or [""])[0], "quote": sentence}
        yield {key: filled.get(key, "") for key in properties}


def _choice(name: str, allowed: list[Any], caller: list[str], agent: list[str]) -> Any:
    words = " ".join(caller)
    if name == "sentiment":
        wanted = "negative" if _CROSS.search(words) else "positive" if _PLEASED.search(words) else "neutral"
        return wanted if wanted in allowed else allowed[0]
    said = [value for value in allowed if isinstance(value, str) and re.search(rf"\b{re.escape(value)}\b", words, re.I)]
    if said:
        return said[0]
    return None if None in allowed else allowed[0]


def _told(name: str, kinds: list[str], description: str, caller: list[str]) -> Any:
    """What the caller said of this, or null: a rule for each kind of thing."""
    words = " ".join(caller)
    about = f"{name} {description}".lower()
    if "number" in kinds or "integer" in kinds:
        found = re.search(r"(?<![\w+])\d+(?:\.\d+)?(?!\w)", words)
        return float(found.group()) if found else None
    if "boolean" in kinds:
        found = re.search(r"\b(yes|no)\b", words, re.I)
        return found.group().lower() == "yes" if found else None
    if "mail" in about:
        found = re.search(r"[\w.+-]+@[\w-]+\.[\w.]+", words)
        return found.group() if found else None
    if "date" in about or "yyyy" in about:
        found = re.search(r"\b\d{4}-\d\d-\d\d\b", words)
        return found.group() if found else None
    if "name" in about:
        found = _NAME.search(words)
        return found.group(1) if found else None
    found = re.search(rf"\b{re.escape(name.replace('_', ' '))} is ([^.,!?]+)", words, re.I)
    return found.group(1).strip() if found else None
