"""What was counted of a call, in words for who reads its page: counters, tokens, money, times to answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from statistics import median

# In this order; what the engine counts besides is shown after these, under its own name.
_NAMES = {
    "false_interruptions": "Interruptions that were none",
    "echoes": "Echoes of the agent's voice",
    "reprompts": "Caller asked whether still there",
    "dead_air": "Answers that were late",
    "fillers": "Sentences to bridge a wait",
    "goodbyes_cancelled": "Goodbyes taken back",
    "underruns": "Gaps in the agent's voice",
    "underrun_ms": "Length of these gaps",
    "dropped_frames": "Caller's audio lost",
    "transcripts_failed": "Transcripts that failed",
    "transcripts_missing": "Transcripts that never came",
    "tool_timeouts": "Tools that took too long",
    "unknown_tools": "Unknown tools asked for",
    "model_lost": "Lost model sessions",
    "model_renewals": "Renewed model sessions",
}
_ELSEWHERE = {"interruptions"}  # among the facts of the call
_FRAME_MS = 20


def seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s"


def money(usd: Decimal | None) -> str:
    """Write an amount of USD; with four places below a dollar, where two would say nothing. A hyphen for none."""
    if usd is None:
        return "-"
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.4f}"


def tokens(usage: Mapping[str, int]) -> str:
    """Write how many tokens went in (and how many of them from the cache) and out; a hyphen for none."""
    if not usage:
        return "-"
    cached = usage.get("cached_tokens", 0)
    of_them = f" ({cached:,} cached)" if cached else ""
    return f"{usage.get('input_tokens', 0):,} in{of_them}, {usage.get('output_tokens', 0):,} out"


def answer_times(milliseconds: Iterable[int | None]) -> str:
    """Write how long callers waited for answers to begin; empty when no time is known."""
    known = [time for time in milliseconds if time is not None]
    if not known:
        return ""
    if len(known) == 1:
        return seconds(known[0])
    return f"{seconds(median(known))}, at most {seconds(max(known))}"


def counted(counters: Mapping[str, int]) -> list[tuple[str, str]]:
    """What was counted at all, as (name, value)."""
    happened = {name: number for name, number in counters.items() if number and name not in _ELSEWHERE}
    known = [name for name in _NAMES if name in happened]
    others = sorted(happened.keys() - _NAMES.keys())
    return [(_name(name), _value(name, happened[name])) for name in [*known, *others]]


def _name(name: str) -> str:
    if name.startswith("error_"):
        return f"Model error {name.removeprefix('error_')}"
    return _NAMES.get(name) or name.replace("_", " ").capitalize()


def _value(name: str, number: int) -> str:
    if name == "dropped_frames":
        return seconds(number * _FRAME_MS)
    return seconds(number) if name.endswith("_ms") else f"{number:,}"
