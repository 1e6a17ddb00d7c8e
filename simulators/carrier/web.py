"""The carrier's HTTP requests: signed over the public URL, sent to where that origin really listens."""

import asyncio
import http.client
import secrets
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from simulators.carrier import signing
from simulators.carrier.ledger import WebRequest
from simulators.carrier.settings import Settings

MAX_REDIRECTS = 5
TOTAL_SECONDS = 15.0  # of a request with all its retries
MAX_BODY = 1_000_000
# What the proxy in front of the server adds. The address is of the range kept for documentation.
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.10"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, or in `error` why there is none: `timeout` is Twilio's 11200, `unreachable` its 11205."""

    url: str
    status: int | None
    content_type: str = ""
    body: bytes = b""
    location: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after what, a request is sent again: the URL's fragment says so, as in `#rc=2&rp=all`
    (usage/webhooks/webhooks-connection-overrides). Without one: once, if the connection failed."""

    count: int = 1
    policy: frozenset[str] = frozenset({"ct"})

    def wanted(self, answer: Answer, already: int) -> bool:
        if answer.ok or already >= self.count or answer.error == "not of the public origin":
            return False
        if answer.status is not None:
            kind = f"{answer.status // 100}xx"
        else:
            kind = "ct" if answer.error == "unreachable" else "rt"
        return "all" in self.policy or kind in self.policy


def retries(url: str) -> Retries:
    """Raise ValueError for a fragment that Twilio would not take (error 11243)."""
    given = dict(parse_qsl(urlsplit(url).fragment, keep_blank_values=True))
    policy = frozenset(given.get("rp", "ct").split(","))
    if not policy <= {"ct", "rt", "4xx", "5xx", "all"}:
        raise ValueError(f"rp={given['rp']}")
    count = int(given.get("rc", "1"))
    if not 0 <= count <= 5:
        raise ValueError(f"rc={count}")
    for name, most in (("ct", 10_000), ("rt", 15_000), ("tt", 15_000)):
        if not 100 <= int(given.get(name, "100")) <= most:
            raise ValueError(f"{name}={given[name]}")
    return Retries(count, policy)


@dataclass(slots=True)
class WebClient:
    """Sends requests and writes each into the ledger list it is given. Close it when the carrier goes."""

    settings: Settings
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(64, "carrier-http"))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def reachable(self, url: str) -> bool:
        """Only the public origin and loopback: a simulator never talks to anyone else."""
        return self.settings.is_public(url) or urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}

    async def request(
        self,
        kind: str,
        method: str,
        url: str,
        params: Mapping[str, str],
        log: list[WebRequest],
        *,
        token: str = "",
        signature: str = "right",
    ) -> Answer:
        """One webhook by Twilio's rules: retries as the URL says, redirects followed by a bare GET."""
        record = WebRequest(kind, method, url, dict(params), token or str(uuid.uuid4()), signature, _now())
        log.append(record)
        started = time.monotonic()
        try:
            again = retries(url)
        except ValueError as error:
            record.error = f"11243 invalid connection override {error}"
            return Answer(url, None, error=record.error)
        answer = await self._once(method, url, params, record)
        sent = 1
        while again.wanted(answer, sent - 1) and time.monotonic() - started < TOTAL_SECONDS:
            why = "connection failed" if answer.error == "unreachable" else str(answer.status or answer.error)
            record.notes.append(f"{why}, tried again")
            answer = await self._once(method, url, params, record)
            sent += 1
        for _ in range(MAX_REDIRECTS):
            if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
                break
            target = urljoin(answer.url, answer.location)
            record.notes.append(f"{answer.status} followed by GET without parameters to {target}")
            answer = await self._once("GET", target, {}, record)
        record.status, record.error = answer.status, answer.error
        record.ms = round((time.monotonic() - started) * 1000, 1)
        return answer

    async def _once(self, method: str, url: str, params: Mapping[str, str], record: WebRequest) -> Answer:
        if not self.reachable(url):
            return Answer(url, None, error="not of the public origin")
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(
            self._threads, self._send, method, url, dict(params), record.token, record.signature
        )
        try:
            return await asyncio.wait_for(call, self.settings.read_timeout)
        except TimeoutError:
            return Answer(url, None, error="timeout")

    def _send(self, method: str, url: str, params: dict[str, str], token: str, signature: str) -> Answer:
        parts = urlsplit(url)
        url = signing.signed_url(url)
        if method == "GET" and params:
            url += ("&" if parts.query else "?") + urlencode(params)
        body = urlencode(params) if method == "POST" else None
        headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "I-Twilio-Idempotency-Token": token,
            **FORWARDED,
        }
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
        if signature != "missing":
            secret = self.settings.auth_token if signature == "right" else secrets.token_hex(16)
            headers["X-Twilio-Signature"] = signing.signature(secret, url, params.items() if body is not None else ())
        host, port = address(self.settings, url)
        connection = http.client.HTTPConnection(host, port, timeout=self.settings.connect_timeout)
        try:
            connection.connect()
        except OSError:
            return Answer(url, None, error="unreachable")
        try:
            connection.sock.settimeout(self.settings.read_timeout)
            connection.request(method, url[url.index(parts.netloc) + len(parts.netloc) :] or "/", body, headers)
            return _answer(url, connection.getresponse())
        except TimeoutError:
            return Answer(url, None, error="timeout")
        except (OSError, http.client.HTTPException) as error:
            return Answer(url, None, error=f"broken answer: {type(error).__name__}")
        finally:
            connection.close()


def address(settings: Settings, url: str) -> tuple[str, int]:
    """Where a URL really goes: the public origin to `connect_to`, loopback to itself."""
    if settings.is_public(url) and settings.connect_to:
        return settings.connect_to
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme in {"https", "wss"} else 80)


def _answer(url: str, response: http.client.HTTPResponse) -> Answer:
    return Answer(
        url,
        response.status,
        response.getheader("Content-Type", ""),
        response.read(MAX_BODY),
        response.getheader("Location", ""),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
