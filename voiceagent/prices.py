"""What speech models cost: OpenAI's price list, and a file of one's own that adds to it or replaces parts of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from calls.costs import Price, Prices

_OPTIONAL = "minute"
_KINDS = tuple(field.name for field in fields(Price))


class BadPrices(Exception):
    """The file cannot be used. The message says what is wrong with it, and where."""


def _usd(*amounts: str) -> Price:
    return Price(*(Decimal(amount) for amount in amounts))


def _a_minute(amount: str) -> Price:
    return _usd(*["0"] * 6, amount)


# From OpenAI's pages of each model, as they were in November 2026. Text, then audio: in, cached, out.
BUILT_IN: Prices = {
    "gpt-realtime-2.1": [(date(2026, 11, 1), _usd("4.00", "0.40", "24.00", "32.00", "0.40", "64.00"))],
    "gpt-realtime-2": [(date(2026, 11, 1), _usd("4.00", "0.40", "24.00", "32.00", "0.40", "64.00"))],
    "gpt-realtime-2.1-mini": [(date(2026, 11, 1), _usd("0.60", "0.06", "2.40", "10.00", "0.30", "20.00"))],
    "gpt-realtime-1.5": [(date(2026, 11, 1), _usd("4.00", "0.40", "16.00", "32.00", "0.40", "64.00"))],
    # These write down what callers say.
    "gpt-transcribe": [(date(2026, 11, 1), _a_minute("0.0045"))],
    "gpt-realtime-whisper": [(date(2026, 11, 1), _a_minute("0.017"))],
    "gpt-live-transcribe": [(date(2026, 11, 1), _a_minute("0.017"))],
    # Text models hear nothing. That writing to their cache costs a quarter more than input is not told apart.
    "gpt-6-luna": [(date(2026, 9, 22), _usd("0.10", "0.01", "0.50", "0", "0", "0"))],
    "gpt-6-sol": [(date(2026, 9, 22), _usd("2.00", "0.20", "10.00", "0", "0", "0"))],
}


def table(path: str) -> Prices:
    """The prices in force: the built-in ones, with each model of the file at `path` in the place of its own. An
    unusable file changes nothing here; voiceagent.checks refuses to start with it."""
    try:
        return {**BUILT_IN, **(load(path) if path else {})}
    except BadPrices:
        return BUILT_IN


def load(path: str) -> Prices:
    """Read a file of prices: JSON, by model a list of {"from": "2026-11-01", "text_in": 4, "text_cached": 0.4,
    "text_out": 24, "audio_in": 32, "audio_cached": 0.4, "audio_out": 64}, with a "minute" where a model is paid by the
    minute that it transcribes. Raise BadPrices."""
    try:
        content = json.loads(
            Path(path).read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse
        )
    except (OSError, UnicodeDecodeError) as error:
        raise BadPrices(f"it cannot be read ({type(error).__name__})") from None
    except ValueError as error:
        raise BadPrices(f"it is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise BadPrices("it is not an object with a model's name for each key")
    return {model: _dated(model, entries) for model, entries in content.items()}


def _dated(model: str, entries: Any) -> list[tuple[date, Price]]:
    if not isinstance(entries, list) or not entries:
        raise BadPrices(f"{model} has no list of prices")
    found = [_entry(f"{model}, price {number}", entry) for number, entry in enumerate(entries, start=1)]
    if len({since for since, _ in found}) < len(found):
        raise BadPrices(f"{model} has two prices from the same day on")
    return found


def _entry(place: str, entry: Any) -> tuple[date, Price]:
    if not isinstance(entry, dict) or {*entry, _OPTIONAL} != {"from", *_KINDS}:
        raise BadPrices(f"{place} is not an object of from, {', '.join(_KINDS)}")
    entry = {_OPTIONAL: Decimal(0), **entry}
    try:
        since = date.fromisoformat(entry["from"])
    except (TypeError, ValueError):
        raise BadPrices(f"{place}: from is not a day like 2026-11-01") from None
    return since, Price(**{kind: _amount(place, kind, entry) for kind in _KINDS})


def _amount(place: str, kind: str, entry: Mapping[str, Any]) -> Decimal:
    amount = entry[kind]
    if not isinstance(amount, Decimal) or not 0 <= amount <= 100_000:
        raise BadPrices(f"{place}: {kind} is not a number of USD from 0 to 100000")
    return amount


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")
