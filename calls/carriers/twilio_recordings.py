"""Twilio's REST API where it keeps recordings: their files, and which there are of a call. For workers only.

https://www.twilio.com/docs/voice/api/recording. A file is asked for under our own account and the RecordingSid alone:
no address that came from outside is ever followed, but a redirect from Twilio to a host of Twilio's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO
from urllib.parse import urljoin, urlsplit

import requests
from django.conf import settings
from twilio.base.exceptions import TwilioException

from calls.carriers import twilio_rest
from calls.carriers.answers import CarrierRecording, CarrierUnreachable, NotFetched
from calls.threads import BoundedPool, PoolBusy

DEADLINE_SECONDS = 5.0
MAX_BYTES = 1024**3  # nine hours of two channels
_API = "https://api.twilio.com"
_CHUNK = 64 * 1024
_TIMEOUTS = (5.0, 20.0)  # to connect, and between two reads
_CODES = {401: "key_refused", 403: "key_refused", 404: "not_there", 429: "rate_limited"}

_pool = BoundedPool("twilio-recordings", threads=2, queued=4)


def download(recording_sid: str, into: IO[bytes], *, both_sides: bool, seconds: float) -> None:
    """Write the WAV file into `into`; `both_sides`: on a channel each. Raise NotFetched."""
    account, ends_at = settings.TWILIO_ACCOUNT_SID, time.monotonic() + seconds
    api = settings.TWILIO_API_URL or _API
    address = f"{api}/2010-04-01/Accounts/{account}/Recordings/{recording_sid}.wav"
    failure = ""
    try:
        with _answer(f"{address}?RequestedChannels=2" if both_sides else address) as answer:
            if answer.status_code == 400 and both_sides:  # 16113: it was recorded in one channel
                return download(recording_sid, into, both_sides=False, seconds=ends_at - time.monotonic())
            if answer.status_code != 200:
                raise NotFetched(_CODES.get(answer.status_code, f"http_{answer.status_code}"))
            _copy(answer.iter_content(_CHUNK), into, ends_at)
    except requests.Timeout:
        failure = "timed_out"
    except (requests.RequestException, ValueError):
        failure = "unreachable"
    if failure:
        raise NotFetched(failure)  # outside the handler: errors quote addresses


@contextmanager
def _answer(address: str) -> Iterator[requests.Response]:
    account, token = settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKENS[0]
    answer = _get(address, (account, token))
    if answer.is_redirect:
        target = urljoin(address, answer.headers["Location"])
        answer.close()
        if not _is_the_carriers(target):
            raise NotFetched("sent_elsewhere")
        answer = _get(target, (account, token) if urlsplit(target).netloc == urlsplit(address).netloc else None)
    with answer:
        if answer.is_redirect:
            raise NotFetched("sent_elsewhere")
        yield answer


def _get(address: str, auth: tuple[str, str] | None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = auth is None  # a .netrc must not stand in for our own key
        return session.get(address, auth=auth, stream=True, timeout=_TIMEOUTS, allow_redirects=False)


def _is_the_carriers(address: str) -> bool:
    parts = urlsplit(address)
    if settings.TWILIO_API_URL and parts.netloc == urlsplit(settings.TWILIO_API_URL).netloc:
        return True
    return parts.scheme == "https" and parts.port in (None, 443) and (parts.hostname or "").endswith(".twilio.com")


def _copy(pieces: Iterator[bytes], into: IO[bytes], ends_at: float) -> None:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > MAX_BYTES:
            raise NotFetched("too_large")
        if time.monotonic() > ends_at:
            raise NotFetched("timed_out")
        into.write(piece)


def of_call(call_sid: str) -> list[CarrierRecording]:
    """The recordings of a call that Twilio has. Raise CarrierUnreachable."""
    failure = ""
    try:
        return _pool.run(lambda: _list(call_sid), DEADLINE_SECONDS + 1)
    except (TwilioException, requests.RequestException, TimeoutError, PoolBusy, ValueError) as error:
        failure = type(error).__name__
    raise CarrierUnreachable(failure)


def _list(call_sid: str) -> list[CarrierRecording]:
    page = twilio_rest.client(DEADLINE_SECONDS).calls(call_sid).recordings.page(page_size=50)
    return [
        CarrierRecording(
            recording_sid=str(found.sid),
            status=str(getattr(found.status, "value", found.status)),
            channels=int(found.channels or 1),
            started_at=found.start_time if isinstance(found.start_time, datetime) else None,
            duration_seconds=int(found.duration) if str(found.duration or "").isdigit() else None,
            is_message=str(getattr(found.source, "value", found.source)) == "RecordVerb",
        )
        for found in page
    ]
