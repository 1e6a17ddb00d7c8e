"""/healthz: this process answers. /readyz: it can also reach what a call needs.

A middleware, and the outermost one, because it must answer when everything behind it hangs: on the event loop, with a
deadline, and from no thread that anything else uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import redis
import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase

log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 1.0

Probe = Callable[[], None]


def database_answers() -> None:
    """Raise DatabaseError when it does not."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def broker_answers() -> None:
    """Raise RedisError when it does not."""
    timeout = DEADLINE_SECONDS
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=timeout, socket_connect_timeout=timeout) as client:
        client.ping()


class Probes:
    """What /readyz asks, each in a thread of its own. A probe still hanging from before counts as failed at once."""

    def __init__(self, probes: Mapping[str, Probe], deadline: float = DEADLINE_SECONDS) -> None:
        self._probes = probes
        self._deadline = deadline
        self._threads = ThreadPoolExecutor(max_workers=max(len(probes), 1), thread_name_prefix="readiness")
        self._hanging: dict[str, Future[bool]] = {}

    def start(self) -> dict[str, Future[bool]]:
        futures: dict[str, Future[bool]] = {}
        for name, probe in self._probes.items():
            hanging = self._hanging.get(name)
            if hanging is None or hanging.done():
                hanging = self._hanging[name] = self._threads.submit(_passes, name, probe)
            futures[name] = hanging
        return futures

    def failed(self) -> list[str]:
        """Names of what does not answer within the deadline."""
        return [name for name, future in self.start().items() if not _in_time(future, self._deadline)]

    async def failed_async(self) -> list[str]:
        futures = self.start()
        waiting = [asyncio.wrap_future(future) for future in futures.values()]
        await asyncio.wait(waiting, timeout=self._deadline)
        return [name for name, future in futures.items() if not (future.done() and future.result())]


def _passes(name: str, probe: Probe) -> bool:
    try:
        probe()
    except (DatabaseError, redis.RedisError, OSError) as error:
        log.warning("not_ready", what=name, error=type(error).__name__)
        return False
    return True


def _in_time(future: Future[bool], deadline: float) -> bool:
    try:
        return future.result(deadline)
    except TimeoutError:
        return False


def is_draining() -> bool:
    """Whether this server is stopping, and new calls should go elsewhere."""
    from media import live

    return not live.calls.accepting


class HealthMiddleware:
    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.probes = Probes({"database": database_answers, "broker": broker_answers})
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._answer_async(request)
        if request.path == "/healthz":
            return HttpResponse("ok", content_type="text/plain")
        if request.path == "/readyz":
            return readiness(["stopping"] if is_draining() else self.probes.failed())
        return self.get_response(request)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        if request.path == "/healthz":
            return HttpResponse("ok", content_type="text/plain")
        if request.path == "/readyz":
            return readiness(["stopping"] if is_draining() else await self.probes.failed_async())
        response = self.get_response(request)
        assert isinstance(response, Awaitable)
        return await response


def readiness(failed: list[str]) -> HttpResponse:
    """503 while anything is missing. Which part stands in the log, not in the answer: strangers may ask too. Only that
    this process is leaving is said: a balancer shall then look for another one, which sick servers are no reason for.
    """
    text = "stopping" if failed == ["stopping"] else "not ready" if failed else "ready"
    return HttpResponse(text, status=503 if failed else 200, content_type="text/plain")
