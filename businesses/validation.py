"""What the fields of a business and its agents accept, with a sentence for whoever typed something else."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from businesses import allowed_hosts
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
_KEYS = {
    "server_vad": {"type", *_SERVER_VAD_NUMBERS},
    "semantic_vad": {"type", "eagerness"},
}
# Settings of earlier releases. Now the call itself decides when the agent answers, and which interruption is one.
_FORMER_SWITCHES = {"create_response", "interrupt_response"}

TOOL_NAME = RegexValidator(
    r"^[a-z][a-z0-9_]{0,40}\Z", "Write a name of small letters, digits and _, like find_order; 41 at most."
)
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PARAMETER_TYPES = ("string", "integer", "number", "boolean")
_PARAMETER_KEYS = {"type", "description", "enum", "minimum", "maximum", "maxLength", "format"}
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%{}/?\[\]#-]+")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def validate_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"“{name}” is not a time zone. Use a name like Europe/Berlin or America/New_York.")


def validate_tools(names: Any) -> None:
    """Raise ValidationError unless `names` is a list of tool names, each once. Whether there are such tools depends
    on the business: see `unknown_tools`."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValidationError('Tools are a list of names, like ["end_call"].')
    if len(set(names)) != len(names):
        raise ValidationError("A tool is named twice.")


def refuse_unknown_tools(names: Collection[str], of_business: Collection[str]) -> None:
    """Raise ValidationError unless each is built in or one of the business's own, which are switched on."""
    if unknown := [name for name in names if name not in TOOL_NAMES and name not in of_business]:
        known = ", ".join([*TOOL_NAMES, *sorted(of_business)])
        raise ValidationError(f"There is no tool “{unknown[0]}”, or it is switched off. Known are: {known}.")


def refuse_built_in_name(name: str) -> None:
    if name in TOOL_NAMES:
        raise ValidationError(f"“{name}” is built in. Choose another name.")


def validate_parameters(schema: Any) -> None:
    """Raise ValidationError, with a sentence for each thing wrong, unless `schema` describes an object of plain values.

    Speech models take more of JSON schema; of what is nested or referred to elsewhere, nobody here could say whether
    the arguments fit it.
    """
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ValidationError('Parameters are an object like {"type": "object", "properties": {}}.')
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise ValidationError("“properties” must be an object: a name and what it is, for each parameter.")
    problems = [
        f"“{key}” is not known here. There are: type, properties, required, additionalProperties."
        for key in schema
        if key not in ("type", "properties", "required", "additionalProperties")
    ]
    if schema.get("additionalProperties", False) is not False:
        problems.append("“additionalProperties” must be false, or left out.")
    for name, value in properties.items():
        problems += _wrong_parameter(name, value)
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        problems.append("“required” must be a list of names.")
    else:
        problems += [
            f"“{name}” is required, and not among the properties." for name in required if name not in properties
        ]
    if problems:
        raise ValidationError(problems)


def _wrong_parameter(name: str, value: Any) -> list[str]:
    if not _PARAMETER_NAME.fullmatch(name):
        return [f"“{name}” cannot be a parameter's name: letters, digits and _ only."]
    if not isinstance(value, dict) or value.get("type") not in _PARAMETER_TYPES:
        return [f"“{name}” must have a type: {', '.join(_PARAMETER_TYPES)}."]
    problems = [f"“{key}” of “{name}” is not known here." for key in value if key not in _PARAMETER_KEYS]
    if "enum" in value and not (isinstance(value["enum"], list) and value["enum"]):
        problems.append(f"“enum” of “{name}” must be a list of what is allowed.")
    if "format" in value and (value["format"], value["type"]) != ("secret", "string"):
        problems.append(f"“format” of “{name}” can only be “secret”, of a string: digits that the caller has typed.")
    return problems


def validate_tool_url(url: Any) -> None:
    """Raise ValidationError unless it is an https address whose host is fixed and in which {name} stands in the path
    or the query. (Without TLS only to this machine itself, where settings allow that.)"""
    if not isinstance(url, str) or not _URL_CHARACTERS.fullmatch(url):
        raise ValidationError(
            "Write an address of plain characters, without spaces, like https://api.example.com/orders/{number}."
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValidationError("This is no address.") from None
    if not host or (parts.scheme != "https" and not (parts.scheme == "http" and _is_allowed_here(host))):
        raise ValidationError("Write an address that begins with https://.")
    if parts.username is not None or parts.password is not None:
        raise ValidationError("No name and password in the address: use the secret.")
    if parts.fragment:
        raise ValidationError("A “#” in an address is never sent.")
    if "{" in parts.netloc or "}" in parts.netloc:
        raise ValidationError("The host must be fixed: {name} may stand in the path and after the “?”.")
    if not allowed_hosts.is_name(host) and allowed_hosts.literal(host) is None:
        raise ValidationError("The host must be a name with a dot in it, like api.example.com.")
    if any(not _PARAMETER_NAME.fullmatch(name) for name in placeholders(url)) or (
        "{" in (rest := _PLACEHOLDER.sub("", url)) or "}" in rest
    ):
        raise ValidationError("In braces stands the name of a parameter, like {number}.")


def _is_allowed_here(host: str) -> bool:
    address = allowed_hosts.literal(host)
    return bool(settings.HTTP_TOOLS_ALLOW_LOCAL) and address is not None and address.is_loopback


def placeholders(url: str) -> list[str]:
    """The names in braces."""
    return _PLACEHOLDER.findall(url)


def refuse_unfilled_placeholders(url: str, parameters: dict[str, Any]) -> None:
    """Raise ValidationError when the model may leave out what the address needs."""
    if missing := [name for name in placeholders(url) if name not in parameters.get("required", [])]:
        raise ValidationError(f"The address needs “{missing[0]}”: make it a required parameter.")


def refuse_secrets_in_address(method: str, url: str, parameters: dict[str, Any]) -> None:
    """Raise ValidationError when digits that nobody may have would be in an address: those are written into logs."""
    properties = parameters.get("properties", {})
    secret = [name for name, value in properties.items() if value.get("format") == "secret"]
    if any(method == "GET" or name in placeholders(url) for name in secret):
        raise ValidationError(f"“{secret[0]}” is secret: use POST, and do not name it in the address.")


def without_former_switches(turn_detection: dict[str, Any]) -> dict[str, Any]:
    """What a version of an earlier release says of turn detection, without what is no setting any more."""
    return {key: value for key, value in turn_detection.items() if key not in _FORMER_SWITCHES}


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
    return [
        f"“{key}” is no setting any more: the call itself decides. Leave it out."
        if key in _FORMER_SWITCHES
        else f"“{key}” is not a setting of {kind}. It has: {allowed}."
        for key in value
        if key not in _KEYS[kind]
    ]


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
    return problems
