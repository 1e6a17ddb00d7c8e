"""/healthz and /readyz answer within their deadline, whatever hangs behind them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from unittest import mock

import redis
from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, SimpleTestCase, TransactionTestCase

from media import live
from tests.project.support import own_valkey
from voiceagent.health import DEADLINE_SECONDS, HealthMiddleware, Probes, broker_answers


def nothing() -> None: ...


def refused() -> None:
    raise OperationalError("connection refused, password=secret")


def not_reached(request: HttpRequest) -> HttpResponse:
    raise AssertionError("the rest of the project must not be asked")


class ProbesTests(SimpleTestCase):
    def setUp(self) -> None:
        self.hanging = threading.Event()
        self.addCleanup(self.hanging.set)

    def hang(self) -> None:
        self.hanging.wait(30)

    def failed(self, probes: dict[str, Callable[[], None]]) -> list[str]:
        """Ask both ways, which must agree."""
        synchronous = Probes(probes, deadline=0.05).failed()
        self.assertEqual(asyncio.run(Probes(probes, deadline=0.05).failed_async()), synchronous)
        return synchronous

    def test_what_answers_is_not_named(self) -> None:
        self.assertEqual(self.failed({"database": nothing, "broker": nothing}), [])

    def test_what_refuses_is_named_and_its_secrets_stay_out_of_the_log(self) -> None:
        with self.assertLogs("voiceagent.health") as logs:
            self.assertEqual(self.failed({"database": refused, "broker": nothing}), ["database"])
        self.assertIn("OperationalError", logs.output[0])
        self.assertNotIn("secret", "".join(logs.output))

    def test_what_hangs_is_named_after_the_deadline(self) -> None:
        self.assertEqual(self.failed({"database": nothing, "broker": self.hang}), ["broker"])

    def test_a_hanging_probe_is_not_started_again_on_top_of_itself(self) -> None:
        started: list[int] = []

        def hang() -> None:
            started.append(1)
            self.hang()

        probes = Probes({"broker": hang}, deadline=0.01)
        for _ in range(5):
            self.assertEqual(probes.failed(), ["broker"])
        self.assertEqual(len(started), 1)


class EndpointTests(TransactionTestCase):
    def test_both_answer_little_when_all_is_well(self) -> None:
        for path, text in (("/healthz", b"ok"), ("/readyz", b"ready")):
            with self.subTest(path=path):
                response = self.client.get(path)
                self.assertEqual((response.status_code, response.content), (200, text))

    def test_a_stranger_learns_nothing_about_what_is_wrong(self) -> None:
        middleware = HealthMiddleware(not_reached)
        middleware.probes = Probes({"database": refused})
        with self.assertLogs("voiceagent.health"):
            response = middleware(RequestFactory().get("/readyz"))
        assert isinstance(response, HttpResponse)
        self.assertEqual((response.status_code, response.content), (503, b"not ready"))

    def test_health_needs_no_allowed_host_and_nothing_behind_it(self) -> None:
        request = RequestFactory().get("/healthz", headers={"host": "10.1.2.3:8000"})
        response = HealthMiddleware(not_reached)(request)
        assert isinstance(response, HttpResponse)
        self.assertEqual(response.status_code, 200)

    def test_a_stopping_server_is_healthy_but_not_ready(self) -> None:
        with mock.patch.object(live.calls, "accepting", False):
            self.assertEqual(self.client.get("/healthz").status_code, 200)
            response = self.client.get("/readyz")
        self.assertEqual((response.status_code, response.content), (503, b"stopping"))

    async def test_on_the_event_loop_both_answer_without_anything_behind_them(self) -> None:
        async def rest(request: HttpRequest) -> HttpResponse:
            return not_reached(request)

        middleware = HealthMiddleware(rest)
        middleware.probes = Probes({"broker": nothing})
        for path in ("/healthz", "/readyz"):
            answer = middleware(AsyncRequestFactory().get(path))
            assert asyncio.iscoroutine(answer)
            self.assertEqual((await answer).status_code, 200)


class SickBrokerTests(SimpleTestCase):
    def test_a_hung_server_does_not_hang_the_answer(self) -> None:
        server = own_valkey(self)
        probes = Probes({"broker": broker_answers})
        with self.settings(REDIS_URL=server.url):
            self.assertEqual(probes.failed(), [])
            os.kill(server.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                with self.assertLogs("voiceagent.health"):
                    self.assertEqual(probes.failed(), ["broker"])
                    took = time.monotonic() - began
                    probes.start()["broker"].result(10)
                self.assertLess(took, DEADLINE_SECONDS + 0.5)
            finally:
                os.kill(server.pid, signal.SIGCONT)

    def test_a_server_that_is_not_there_is_an_error_of_redis(self) -> None:
        with (
            self.settings(REDIS_URL=f"unix://{settings.VAR_DIR}/nobody.sock"),
            self.assertRaises(redis.ConnectionError),
        ):
            broker_answers()
