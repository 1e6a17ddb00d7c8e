"""HTTP tools: an address that an operator has set up, asked in the middle of a call.

What is asked, and with what, is decided by a model that repeats strangers on the phone. So a request only ever goes to
a host on the list (businesses/allowed_hosts.py), over TLS, to an address of the public internet. The address is looked
up and checked where the connection is made, and that same address is connected to: there is no second look-up that
could say something else. No redirect is followed, no proxy of the environment is asked, no cookie is kept.

This is httpcore, the layer below httpx: that one writes every address it asks into the log, arguments and all.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import socket
import ssl
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import httpcore2
import structlog
from django.conf import settings

from businesses.allowed_hosts import literal
from businesses.snapshots import HttpTool
from calls.threads import BoundedPool, PoolBusy
from media.tools import arguments as tool_arguments
from media.tools import secrets
from media.tools.base import Tool, ToolContext, ToolError, ToolFailed, ToolRefused
from media.tools.hosts import Target, is_public, is_this_machine, target

log = structlog.get_logger(__name__)

MAX_ANSWER_BYTES = 64 * 1024
MAX_REFUSAL_CHARACTERS = 1_000  # of what a service says when it refuses: for the model, to ask better
MIN_SECONDS, MAX_SECONDS = 1.0, 30.0
LOOKUP_SECONDS = 3.0
CONNECT_SECONDS = 3.0  # to each of a host's addresses
MAX_ADDRESSES = 4  # of a host, that are tried
MAX_CONNECTIONS = 100  # of this process: as many as it carries calls (MAX_CALLS_PER_PROCESS)
IDLE_CONNECTIONS = 10
IDLE_SECONDS = 5.0  # then a connection is closed: services drop them too, and that is seen only when asked again

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what OpenAI takes as the name of a function
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_METHODS = ("GET", "POST")
_TEXT_TYPES = ("text/plain", "text/csv", "text/markdown")

# Not the loop's default threads: whoever hangs in a look-up here must not keep others from theirs.
_lookups = BoundedPool("tool-lookups", threads=8, queued=32)
_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpcore2.AsyncConnectionPool] = (
    weakref.WeakKeyDictionary()
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. Holds arguments and the secret: for no log."""

    method: str
    url: httpcore2.URL
    headers: list[tuple[str, str]]
    body: bytes | None


def tool(definition: HttpTool) -> Tool:
    """Return the tool that a definition describes. Raise ToolRefused when it could never work."""
    schema = definition.parameters
    if not NAME.fullmatch(definition.name) or definition.method not in _METHODS:
        raise ToolRefused("tool_is_malformed")
    if not isinstance(schema, dict) or schema.get("type") != "object" or not _are_objects(schema.get("properties", {})):
        raise ToolRefused("tool_is_malformed")
    if not all("!" <= character <= "~" for character in definition.secret):
        raise ToolRefused("secret_is_malformed")  # it would break the request, with an error that quotes it
    in_address = _PLACEHOLDER.findall(definition.url)
    if any(definition.method == "GET" or name in in_address for name in secrets.names(schema)):
        raise ToolRefused("secret_in_address")  # which servers and proxies on the way write into their logs
    _target(definition)
    return Tool(
        name=definition.name,
        description=definition.description,
        parameters=schema,
        run=functools.partial(run, definition),
        timeout_seconds=_seconds(definition),
    )


async def run(definition: HttpTool, arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    """Ask the service and return what it answered. Raise ToolError, whose texts quote nothing that was sent."""
    arguments = secrets.filled(definition.parameters, arguments, context.secrets)
    request = build(definition, _target(definition), arguments, context)
    try:
        async with asyncio.timeout(_seconds(definition)):
            client = await _client()
            async with client.stream(
                request.method, request.url, headers=request.headers, content=request.body
            ) as response:
                return await _read(response)
    except TimeoutError:
        raise
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout, socket.gaierror, UnicodeError):
        problem: ToolError = ToolFailed("unreachable", "The service cannot be reached now.")
    except PoolBusy:
        problem = ToolFailed("busy", "Too many lookups at once. Try again in a moment.")
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError):
        problem = ToolFailed("broken_answer", "The service broke off its answer. It may have done what it was asked.")
    raise problem  # outside the handler: the causes quote headers and addresses


def build(definition: HttpTool, to: Target, arguments: dict[str, Any], context: ToolContext) -> Request:
    """Return the request for these arguments: in the address where it says {name}, else as query (GET) or JSON body."""
    path = _PLACEHOLDER.sub(lambda found: _in_path(found[1], arguments), to.path)
    query = _PLACEHOLDER.sub(lambda found: quote(_text(arguments.get(found[1], "")), safe=""), to.query or "")
    if "{" in path + query or "}" in path + query:
        raise ToolRefused("address_is_malformed")
    headers = [
        ("Accept", "application/json, text/plain;q=0.9"),
        ("Accept-Encoding", "identity"),  # nothing to unpack, so nothing that unpacks to more than is read
        ("User-Agent", "voiceagent"),
        ("Idempotency-Key", quote(f"{context.call_sid}:{context.tool_call_id}", safe=":")),
    ]
    if definition.secret:
        headers.append(("Authorization", f"Bearer {definition.secret}"))
    body = None
    if definition.method == "GET":
        named = set(_PLACEHOLDER.findall(to.path + (to.query or "")))
        rest = urlencode({name: _text(value) for name, value in arguments.items() if name not in named})
        query = "&".join(part for part in (query, rest) if part)
    else:
        headers.append(("Content-Type", "application/json"))
        body = json.dumps(arguments).encode()
    url = httpcore2.URL(scheme=to.scheme, host=to.host, port=to.port, target=path + (f"?{query}" if query else ""))
    return Request(definition.method, url, [*_host(to), *headers], body)


async def close() -> None:
    """Close the connections of the running event loop."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


class CheckedConnections(httpcore2.AsyncNetworkBackend):
    """Connects to a host by an address that was looked up and checked here, just now, and to no other."""

    def __init__(
        self, inner: httpcore2.AsyncNetworkBackend, look_up: Callable[[str, int], list[str]] | None = None
    ) -> None:
        self._inner = inner
        self._look_up = look_up or _look_up

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raise ToolRefused when one of the host's addresses is not public: nobody publishes such on purpose."""
        failure: Exception = httpcore2.ConnectError("no address")
        for address in await self._addresses(host, port):
            try:
                return await self._inner.connect_tcp(address, port, CONNECT_SECONDS, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ToolRefused("host_not_allowed")

    async def _addresses(self, host: str, port: int) -> list[str]:
        written = literal(host)
        if written is not None and is_this_machine(written) and settings.HTTP_TOOLS_ALLOW_LOCAL:
            return [str(written)]
        found = [host] if written is not None else await self._lookup(host, port)
        addresses = [literal(each) for each in dict.fromkeys(found)]
        if not all(address is not None and is_public(address) for address in addresses):
            log.error("http_tool_host_is_not_public", host=host)
            raise ToolRefused("host_not_allowed")
        # IPv4 first: a route for IPv6 that leads nowhere costs seconds, and the caller waits.
        return sorted((str(each) for each in addresses), key=lambda each: ":" in each)[:MAX_ADDRESSES]

    async def _lookup(self, host: str, port: int) -> list[str]:
        look_up = self._look_up
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                return await asyncio.wrap_future(_lookups.submit(lambda: look_up(host, port)))
        except TimeoutError:
            raise httpcore2.ConnectTimeout("look-up") from None


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _family, _type, _protocol, _name, address in found]


async def _client() -> httpcore2.AsyncConnectionPool:
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        context = await asyncio.wrap_future(_lookups.submit(_tls))  # reads files
        _clients.setdefault(loop, new_client(context, CheckedConnections(httpcore2.AnyIOBackend())))
    return _clients[loop]


def new_client(tls: ssl.SSLContext, connections: httpcore2.AsyncNetworkBackend) -> httpcore2.AsyncConnectionPool:
    return httpcore2.AsyncConnectionPool(
        ssl_context=tls,
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=IDLE_CONNECTIONS,
        keepalive_expiry=IDLE_SECONDS,
        network_backend=connections,
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpcore2.default_ssl_context()


def _are_objects(properties: object) -> bool:
    return isinstance(properties, dict) and all(isinstance(value, dict) for value in properties.values())


def _seconds(definition: HttpTool) -> float:
    return min(max(definition.timeout_seconds, MIN_SECONDS), MAX_SECONDS)


def _target(definition: HttpTool) -> Target:
    return target(definition.url, settings.HTTP_TOOL_HOSTS, allow_local=settings.HTTP_TOOLS_ALLOW_LOCAL)


def _host(to: Target) -> list[tuple[str, str]]:
    """The Host header; httpcore would leave out the brackets of an IPv6 address."""
    host = f"[{to.host}]" if ":" in to.host else to.host
    return [("Host", host if to.port is None else f"{host}:{to.port}")]


def _in_path(name: str, arguments: dict[str, Any]) -> str:
    """One argument as a part of the path: never one that a server could read as another path."""
    value = _text(arguments.get(name, ""))
    if not value:
        raise ToolRefused("argument_missing", f"The argument “{name}” is required.")
    if value.strip(".") == "" or any(character in "/\\%;" or not character.isprintable() for character in value):
        raise ToolRefused("argument_unusable", f"The argument “{name}” may not have slashes or the like in it.")
    return quote(value, safe="")


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()


# --- What comes back ---------------------------------------------------------------------------------------------


async def _read(response: httpcore2.Response) -> dict[str, Any]:
    """Return the answer. Raise ToolFailed for one that is a refusal, a redirect, too large or of another kind."""
    status = response.status
    headers = {name.lower(): value for name, value in response.headers}
    if 300 <= status < 400:
        raise ToolFailed("redirected", "The service has moved; only its operator can mend that.", status=status)
    if status >= 500:
        raise ToolFailed("service_failed", "The service has a problem. Try again later.", status=status)
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise ToolFailed("answer_is_packed", "The service answered in a way that cannot be read.", status=status)
    body = await _begin_of_body(response, MAX_ANSWER_BYTES + 1)
    if status >= 400:
        said = _said(headers, body)
        raise ToolFailed("service_refused", "The service refused what it was asked.", status=status, **said)
    if len(body) > MAX_ANSWER_BYTES:
        raise ToolFailed("answer_is_too_large", "The answer is too large. Ask for something narrower.", status=status)
    return {"ok": True, "status": status, "answer": _content(headers, body)}


async def _begin_of_body(response: httpcore2.Response, longest: int) -> bytes:
    """The first `longest` bytes; the rest is not read."""
    body = bytearray()
    async for part in response.aiter_stream():
        body += part
        if len(body) >= longest:
            break
    return bytes(body[:longest])


def _content(headers: dict[bytes, bytes], body: bytes) -> Any:
    if not body.strip():
        return None
    kind, charset = _kind(headers)
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return json.loads(body, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise ToolFailed("answer_is_not_json", "The service answered in a way that cannot be read.") from None
    if kind in _TEXT_TYPES:
        return _decoded(body, charset)
    raise ToolFailed("answer_is_no_text", "The service answered in a way that cannot be read.")


def _said(headers: dict[bytes, bytes], body: bytes) -> dict[str, Any]:
    """What a service says when it refuses, if that is text."""
    kind, charset = _kind(headers)
    is_text = kind == "application/json" or kind.endswith("+json") or kind in _TEXT_TYPES
    text = tool_arguments.clean(_decoded(body, charset), MAX_REFUSAL_CHARACTERS) if is_text else ""
    return {"answer": text} if text else {}


def _kind(headers: dict[bytes, bytes]) -> tuple[str, str]:
    """The content type and the charset, in lower case."""
    kind, *options = headers.get(b"content-type", b"").decode("latin-1").lower().split(";")
    charsets = [option.partition("=")[2].strip(' "') for option in options if option.strip().startswith("charset=")]
    return kind.strip(), charsets[0] if charsets else "utf-8"


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset if charset in ("utf-8", "iso-8859-1", "windows-1252", "us-ascii") else "utf-8")
    except UnicodeDecodeError:
        return body.decode("utf-8", "replace")


def _no_number(_name: str) -> NoReturn:
    raise ValueError("JSON has no such number")
