"""What is asked of the model, as a JSON schema in strict mode, and what its answer says. Pure.

Strict mode (OpenAI's guide to Structured Outputs): every object lists all its properties as required and allows no
others; what may be missing is nullable. The answer is read as carefully as if the mode did not exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

NAME = "call_analysis"
KINDS = ("message", "transfer", "booking", "change", "lookup", "other")
"""What an agent may say that it has done."""
NO_TOOL = "none"

MAX_SUMMARY, MAX_LINE, MAX_VALUE = 2000, 300, 500
MAX_FOLLOW_UPS, MAX_CLAIMS = 10, 20


class Unreadable(Exception):
    """The answer is not what the schema asked for. The message names the place, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Field:
    """Something a business wants to know. `kind`: text, number, yes_no, date, choice."""

    name: str
    label: str
    kind: str
    description: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that the agent said it had done. `tool`: which of its tools would do that; NO_TOOL: none."""

    kind: str
    tool: str
    quote: str


@dataclass(frozen=True, slots=True)
class Findings:
    summary: str
    outcome: str
    sentiment: str
    follow_ups: tuple[str, ...]
    lead: dict[str, Any]  # by the field's name; None: not said
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What a business wants to have out of a call."""

    fields: tuple[Field, ...]
    tools: tuple[str, ...]  # what the agent of this call could do
    outcomes: tuple[str, ...]
    sentiments: tuple[str, ...]


def schema(question: Question) -> dict[str, Any]:
    """The JSON schema of an answer."""
    claim = _object(
        {
            "kind": {"type": "string", "enum": list(KINDS)},
            "tool": {
                "type": "string",
                "enum": [*question.tools, NO_TOOL],
                "description": "The agent's tool that would do this.",
            },
            "quote": {"type": "string", "description": "The agent's own words, one sentence."},
        }
    )
    properties: dict[str, Any] = {
        "summary": {"type": "string", "description": "Two or three sentences for somebody who did not hear the call."},
        "outcome": {"type": "string", "enum": list(question.outcomes)},
        "sentiment": {"type": "string", "enum": list(question.sentiments), "description": "How the caller left."},
        "follow_ups": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What somebody of the business still has to do, one short sentence each.",
        },
        "claims": {
            "type": "array",
            "items": claim,
            "description": "All that the agent said it had already done or was doing at that moment for the caller. "
            "No offers, no questions, nothing that others are to do.",
        },
    }
    if question.fields:
        properties["lead"] = _object({field.name: _nullable(field) for field in question.fields})
    return _object(properties)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _nullable(field: Field) -> dict[str, Any]:
    told = f"{field.label}. {field.description}".strip()
    match field.kind:
        case "number":
            return {"type": ["number", "null"], "description": told}
        case "yes_no":
            return {"type": ["boolean", "null"], "description": told}
        case "choice":
            return {"type": ["string", "null"], "enum": [*field.choices, None], "description": told}
        case "date":
            return {"type": ["string", "null"], "description": f"{told} As YYYY-MM-DD."}
        case _:
            return {"type": ["string", "null"], "description": told}


def read(text: str, question: Question) -> Findings:
    """What the answer says, cut to the sizes that are kept. Raise Unreadable."""
    try:
        answer = json.loads(text)
    except ValueError:
        raise Unreadable("it is not JSON") from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    found = _mapping(answer, "the answer")
    return Findings(
        summary=_text(found, "summary")[:MAX_SUMMARY],
        outcome=_one_of(found, "outcome", question.outcomes),
        sentiment=_one_of(found, "sentiment", question.sentiments),
        follow_ups=tuple(_line(entry, "follow_ups") for entry in _list(found, "follow_ups")[:MAX_FOLLOW_UPS]),
        lead=_lead(found, question.fields),
        claims=tuple(_claim(entry, question) for entry in _list(found, "claims")[:MAX_CLAIMS]),
    )


def _lead(found: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    if not fields:
        return {}
    lead = _mapping(found.get("lead"), "lead")
    return {field.name: known(field, lead.get(field.name)) for field in fields}


def known(field: Field, value: Any) -> Any:
    """The value as the field's kind has it, or None for what is unknown or no such value."""
    match field.kind, value:
        case "number", bool():
            return None
        case "number", int() | float() if abs(value) < 1e15:  # not of NaN and infinity, either
            return value
        case "yes_no", bool():
            return value
        case "choice", str():
            return value if value in field.choices else None
        case "date", str():
            return _day(value)
        case "text", str():
            return _clean(value)[:MAX_VALUE] or None
    return None


def _day(text: str) -> str | None:
    try:
        return date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        return None


def _claim(entry: Any, question: Question) -> Claim:
    claim = _mapping(entry, "a claim")
    return Claim(
        kind=_one_of(claim, "kind", KINDS),
        tool=_one_of(claim, "tool", (*question.tools, NO_TOOL)),
        quote=_line(claim.get("quote"), "quote"),
    )


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"{place} is no object")
    return value


def _list(found: Mapping[str, Any], name: str) -> list[Any]:
    value = found.get(name)
    if not isinstance(value, list):
        raise Unreadable(f"{name} is no list")
    return value


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"{name} is no text")
    return _clean(value)


def _line(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{name} is no text")
    return _clean(value)[:MAX_LINE]


def _one_of(found: Mapping[str, Any], name: str, allowed: Sequence[str]) -> str:
    value = found.get(name)
    if not isinstance(value, str) or value not in allowed:
        raise Unreadable(f"{name} is none of those it may be")
    return value


def _clean(text: str) -> str:
    """Without what no database takes as text: NUL, and halves of surrogate pairs, which JSON may spell."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8").strip()
