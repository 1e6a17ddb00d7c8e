"""An answer over HTTP, and the API's error object."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` is text: a fault may want it to be no JSON."""

    status: int
    body: str
    headers: tuple[tuple[str, str], ...] = ()


def error(status: int, code: str | None, message: str, param: str | None = None, *, wait: str = "") -> Reply:
    kinds = {401: "invalid_request_error", 429: "requests", 500: "server_error", 503: "server_error"}
    body = {"message": message, "type": kinds.get(status, "invalid_request_error"), "param": param, "code": code}
    return Reply(status, json.dumps({"error": body}), (("retry-after", wait),) if wait else ())
