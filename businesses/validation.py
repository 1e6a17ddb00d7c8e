"""What the fields of a business and its agents accept, with a sentence for whoever typed something else."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from businesses.tools import TOOL_NAMES

E164 = RegexValidator(
    r"^\+[1-9]\d{6,14}\Z", "Write the number in E.164 form: a plus sign, country code and number, like +15550100100."
)
LANGUAGE_TAG = RegexValidator(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z", "Write a language tag like en, de-CH or pt-BR.")

# protocols, openai-realtime B2. Milliseconds; the upper bounds of the first two are ours: a longer wait is a typing
# error, and the caller would hear it as a dead line.
_SERVER_VAD_NUMBERS = {
    "threshold": (0, 1),
    "prefix_padding_ms": (0, 2_000),
    "silence_duration_ms": (100, 5_000),
    "idle_timeout_ms": (5_000, 30_000),
}
_WHOLE_NUMBERS = {"prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms"}
_EAGERNESS = ("low", "medium", "high", "auto")
_SWITCHES = {"create_response", "interrupt_response"}
_KEYS = {
    "server_vad": {"type", *_SWITCHES, *_SERVER_VAD_NUMBERS},
    "semantic_vad": {"type", "eagerness", *_SWITCHES},
}


def validate_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"“{name}” is not a time zone. Use a name like Europe/Berlin or America/New_York.")


def validate_tools(names: Any) -> None:
    """Raise ValidationError unless `names` is a list of known tool names, each once."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValidationError('Tools are a list of names, like ["end_call"].')
    if unknown := [name for name in names if name not in TOOL_NAMES]:
        raise ValidationError(f"There is no tool “{unknown[0]}”. Known are: {', '.join(TOOL_NAMES)}.")
    if len(set(names)) != len(names):
        raise ValidationError("A tool is named twice.")


def validate_turn_detection(value: Any) -> None:
    """Raise ValidationError, with a sentence for each thing wrong, unless the speech model would take `value`."""
    if not isinstance(value, dict):
        raise ValidationError('Turn detection is an object in braces, like {"type": "server_vad"}.')
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ValidationError("“type” must be “server_vad” or “semantic_vad”.")
    if problems := [*_unknown_keys(kind, value), *_wrong_numbers(value), *_wrong_words(value)]:
        raise ValidationError(problems)


def _unknown_keys(kind: str, value: dict[str, Any]) -> list[str]:
    allowed = ", ".join(sorted(_KEYS[kind]))
    return [f"“{key}” is not a setting of {kind}. It has: {allowed}." for key in value if key not in _KEYS[kind]]


def _wrong_numbers(value: dict[str, Any]) -> list[str]:
    problems = []
    for key, (low, high) in _SERVER_VAD_NUMBERS.items():
        if key not in value or (key == "idle_timeout_ms" and value[key] is None):
            continue
        number = value[key]
        kinds = (int,) if key in _WHOLE_NUMBERS else (int, float)
        if isinstance(number, bool) or not isinstance(number, kinds) or not low <= number <= high:
            whole = "a whole number" if key in _WHOLE_NUMBERS else "a number"
            problems.append(f"“{key}” must be {whole} from {low} to {high}.")
    return problems


def _wrong_words(value: dict[str, Any]) -> list[str]:
    problems = []
    if "eagerness" in value and value["eagerness"] not in _EAGERNESS:
        problems.append(f"“eagerness” must be one of {', '.join(_EAGERNESS)}.")
    # Nothing else asks the model to answer, so that false would mean an agent that never says a word.
    if value.get("create_response", True) is not True:
        problems.append("“create_response” must be true: otherwise the agent never answers.")
    if not isinstance(value.get("interrupt_response", True), bool):
        problems.append("“interrupt_response” must be true or false.")
    return problems
