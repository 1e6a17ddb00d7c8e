"""What a call's speech models cost, by a dated table of prices. Pure.

Of the tokens that the model counted (media.engine.events.Usage, as a dict), cached ones are part of the input and cost
less; each kind of audio is part of what it is named after, and the rest is text. What callers say is written down by
another model, which is paid by tokens or by the minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

USAGE = (
    *("input_tokens", "output_tokens", "cached_tokens"),
    *("input_audio_tokens", "output_audio_tokens", "cached_audio_tokens"),
)
TRANSCRIPTION = (
    *("transcription_input_tokens", "transcription_audio_tokens", "transcription_output_tokens"),
    "transcription_ms",
)
KNOWN = frozenset({*USAGE, *TRANSCRIPTION})
_DATED = re.compile(r"-20\d\d-?\d\d-?\d\d\Z")  # a snapshot of a model: gpt-realtime-2.1-2026-10-15
_MILLION = 1_000_000
_MINUTE_MS = 60_000
_SMALLEST = Decimal("0.000001")
_LARGEST = Decimal("999999.999999")  # CallLog.cost


@dataclass(frozen=True, slots=True)
class Price:
    """USD for a million tokens of each kind, and for a minute that is transcribed."""

    text_in: Decimal
    text_cached: Decimal
    text_out: Decimal
    audio_in: Decimal
    audio_cached: Decimal
    audio_out: Decimal
    minute: Decimal = Decimal(0)


Prices = Mapping[str, Sequence[tuple[date, Price]]]
"""By model: from which day on (UTC) it costs what."""


def cost(model: str, usage: Mapping[str, int], on: date, prices: Prices) -> Decimal | None:
    """USD for these tokens on that day; None when the table has no price for it. A dated name that is not in the table
    costs what the model it is a snapshot of costs."""
    price = price_of(model, on, prices)
    if price is None:
        return None
    count = {name: max(usage.get(name, 0), 0) for name in USAGE}
    audio_in = min(count["input_audio_tokens"], count["input_tokens"])
    audio_out = min(count["output_audio_tokens"], count["output_tokens"])
    audio_cached = min(count["cached_audio_tokens"], audio_in)
    text_in = count["input_tokens"] - audio_in
    text_cached = min(max(count["cached_tokens"] - audio_cached, 0), text_in)
    total = (
        (text_in - text_cached) * price.text_in
        + text_cached * price.text_cached
        + (count["output_tokens"] - audio_out) * price.text_out
        + (audio_in - audio_cached) * price.audio_in
        + audio_cached * price.audio_cached
        + audio_out * price.audio_out
    )
    return min((total / _MILLION).quantize(_SMALLEST), _LARGEST)


def transcription_cost(model: str, usage: Mapping[str, int], on: date, prices: Prices) -> Decimal | None:
    """USD for what was transcribed; None when the table has no price for it."""
    count = {name: max(usage.get(name, 0), 0) for name in TRANSCRIPTION}
    if not any(count.values()):
        return Decimal(0)
    price = price_of(model, on, prices)
    if price is None:
        return None
    audio = min(count["transcription_audio_tokens"], count["transcription_input_tokens"])
    tokens = (
        (count["transcription_input_tokens"] - audio) * price.text_in
        + audio * price.audio_in
        + count["transcription_output_tokens"] * price.text_out
    )
    total = tokens / _MILLION + count["transcription_ms"] * price.minute / _MINUTE_MS
    return min(total.quantize(_SMALLEST), _LARGEST)


def price_of(model: str, on: date, prices: Prices) -> Price | None:
    dated = prices.get(model) or prices.get(_DATED.sub("", model)) or ()
    current = [(since, price) for since, price in dated if since <= on]
    return max(current, key=lambda entry: entry[0])[1] if current else None


def of_streams(
    reports: Iterable[Mapping[str, Any]], transcription_model: str, on: date, prices: Prices
) -> Decimal | None:
    """What all streams of a call cost together; None when none told its tokens, or one that did has no price."""
    told = [report for report in reports if report.get("usage")]
    costs = [cost(report.get("model", ""), report["usage"], on, prices) for report in told]
    costs += [transcription_cost(transcription_model, report["usage"], on, prices) for report in told]
    known = [amount for amount in costs if amount is not None]
    if not costs or len(known) < len(costs):
        return None
    return min(sum(known, Decimal(0)), _LARGEST)
