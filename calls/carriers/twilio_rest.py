"""Twilio's REST API: what became of a call, and which calls there were. For workers only: it may take seconds.

https://www.twilio.com/docs/voice/api/call-resource. Answers are eventually consistent, and end with a deadline.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from django.conf import settings
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from calls.carriers.answers import Answer, CarrierCall, CarrierUnreachable, NoSuchCall, Unreachable
from calls.models import CallStatus
from calls.threads import BoundedPool, PoolBusy

DEADLINE_SECONDS = 5.0
PAGE = 500
MAX_PAGES = 100

_pool = BoundedPool("twilio-rest", threads=4, queued=4)


def is_available() -> bool:
    """Whether there is an API to ask. The simulated carrier's is only there where TWILIO_API_URL names it."""
    return bool(settings.TWILIO_API_URL) or not settings.TWILIO_IS_SIMULATED


def fetch(call_sid: str, seconds: float = DEADLINE_SECONDS) -> Answer:
    """Ask about one call. Never raises for what the network or Twilio does."""
    try:
        # requests' timeout is for each read: an answer that dribbles in would have no end.
        return _pool.run(lambda: _fetch(call_sid, seconds), seconds)
    except (TimeoutError, PoolBusy) as error:
        return Unreachable(type(error).__name__)


def calls_since(start: datetime, seconds: float = DEADLINE_SECONDS) -> Iterator[CarrierCall]:
    """The calls that began after `start`, newest first; the deadline is for each page. Raise CarrierUnreachable."""
    failure = ""
    api, page = client(seconds), None
    for _ in range(MAX_PAGES):
        try:
            page = _pool.run(lambda before=page: _next_page(api, before, start), seconds)  # type: ignore[misc]
        except (TwilioException, requests.RequestException, TimeoutError, PoolBusy, ValueError) as error:
            failure = type(error).__name__
            break
        if page is None:
            return
        yield from (read(call) for call in page)
    raise CarrierUnreachable(failure or "too many pages")  # outside the handler: Twilio's errors quote its answers


def _next_page(api: Client, page: Any, start: datetime) -> Any:
    if page is None:
        return api.calls.page(start_time_after=start, page_size=PAGE)
    return api.calls.get_page(page.next_page_url) if page.next_page_url else None


def _fetch(call_sid: str, seconds: float) -> Answer:
    try:
        call = read(client(seconds).calls(call_sid).fetch())
    except TwilioRestException as error:
        return NoSuchCall() if error.status == 404 else Unreachable(str(error.status))
    except (TwilioException, requests.RequestException, ValueError) as error:
        return Unreachable(type(error).__name__)
    return call if call.status in CallStatus.values else Unreachable("unknown status")


def client(seconds: float) -> Client:
    """Twilio's own, with a timeout for each read."""
    account_sid, token = settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKENS[0]
    return Client(account_sid, token, http_client=_Http(settings.TWILIO_API_URL, seconds))


class _Http(TwilioHttpClient):  # type: ignore[misc]  # the package has no types here
    """Twilio's client with a timeout, and sent elsewhere when `base` says so (a simulator, an egress proxy)."""

    def __init__(self, base: str, seconds: float) -> None:
        super().__init__(pool_connections=False, timeout=seconds)
        self._base = urlsplit(base)

    def request(self, method: str, url: str, *args: Any, **options: Any) -> Response:
        if self._base.netloc:
            url = urlunsplit(urlsplit(url)._replace(scheme=self._base.scheme, netloc=self._base.netloc))
        return super().request(method, url, *args, **options)


def read(call: Any) -> CarrierCall:
    """A call resource of Twilio's as what we keep of it."""
    duration: int | None = None
    with contextlib.suppress(TypeError, ValueError):
        duration = int(call.duration)
    return CarrierCall(
        call_sid=str(call.sid),
        status=str(getattr(call.status, "value", call.status)),
        from_number=str(call._from or ""),
        to_number=str(call.to or ""),
        direction=str(call.direction or ""),
        is_leg=bool(call.parent_call_sid) or call.direction == "outbound-dial",
        started_at=call.start_time,
        ended_at=call.end_time,
        duration_seconds=duration,
    )
