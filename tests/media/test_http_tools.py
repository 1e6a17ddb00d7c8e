"""HTTP tools: where they may go, what they send, and what becomes of every answer. The services here are real ones."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import threading
from collections.abc import Iterable
from typing import Any
from unittest import mock

import httpcore2
from django.test import SimpleTestCase, override_settings
from structlog.testing import capture_logs

from businesses.allowed_hosts import is_allowed, problem
from businesses.snapshots import HttpTool
from media import tools
from media.tools import http
from media.tools.hosts import Target, is_public, target
from tests.media.fakes import CALL_SID, agent
from tests.media.http_service import Answer, Certificate, Service
from tests.media.test_tools import context, http_tool

HOSTS = ["api.example.com", ".example.org", "127.0.0.1", "[::1]", "93.184.216.34"]
PUBLIC_ADDRESS = "93.184.216.34"

# fmt: off
NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.1.2.3",
    "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.170", "192.0.2.1",
    "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::", "2002:a00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fe80::1%eth0", "2606:4700::1%1", "fec0::1", "ff02::1", "ff0e::1",
]
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "93.184.216.34", "192.0.1.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450::1",
    "64:ff9b::808:808",
]
# fmt: on

REFUSED_ADDRESSES = [
    ("https://elsewhere.example/", "host_not_allowed"),
    ("https://example.org/", "host_not_allowed"),  # ".example.org" is what lies below it
    ("https://notexample.org/", "host_not_allowed"),
    ("https://api.example.com.evil.example/", "host_not_allowed"),
    ("https://sub.api.example.com/", "host_not_allowed"),
    ("https://169.254.169.254/latest/meta-data/", "host_not_allowed"),
    ("https://[fd00:ec2::254]/", "host_not_allowed"),
    ("https://[::ffff:93.184.216.34]/", "host_not_allowed"),
    ("http://api.example.com/", "address_is_not_https"),
    ("http://93.184.216.34/", "address_is_not_https"),
    ("http://localhost/", "address_is_malformed"),
    ("https://localhost/", "address_is_malformed"),
    ("https://2130706433/", "address_is_malformed"),
    ("https://0x7f000001/", "address_is_malformed"),
    ("https://0x7f.0.0.1/", "address_is_malformed"),
    ("https://017700000001/", "address_is_malformed"),
    ("https://0177.0.0.1/", "address_is_malformed"),
    ("https://127.1/", "address_is_malformed"),
    ("https://[::1%25lo]/", "address_is_malformed"),
    ("https://api.example.com@evil.example/", "address_is_malformed"),
    ("https://user:secret@api.example.com/", "address_is_malformed"),
    ("https://evil.example\\@api.example.com/", "address_is_malformed"),
    ("https://api.example.com\\.evil.example/", "address_is_malformed"),
    ("https://api.example.com:443@evil.example/", "address_is_malformed"),
    ("https://api.example.com#@evil.example/", "address_is_malformed"),
    ("https://api.example.com%2eevil.example/", "address_is_malformed"),
    ("https://api.example.com./", "address_is_malformed"),
    ("https://api.example.com:0/", "address_is_malformed"),
    ("https://api.example.com:65536/", "address_is_malformed"),
    ("https://api.example.com:port/", "address_is_malformed"),
    ("https://\uff41pi.example.com/", "address_is_malformed"),
    ("https://api\u3002example\u3002com/", "address_is_malformed"),
    ("https://api.example.com/a b", "address_is_malformed"),
    ("https://api.example.com/a\tb", "address_is_malformed"),
    ("https://api.example.com/\r\nHost: evil.example", "address_is_malformed"),
    (" https://api.example.com/", "address_is_malformed"),
    ("https:api.example.com/", "address_is_malformed"),
    ("https:///api.example.com/", "address_is_malformed"),
    ("//api.example.com/", "address_is_malformed"),
    ("ftp://api.example.com/", "address_is_malformed"),
    ("file:///etc/passwd", "address_is_malformed"),
    ("gopher://api.example.com/", "address_is_malformed"),
    ("https://{host}/", "address_is_malformed"),
    ("https://{host}.example.org/", "address_is_malformed"),
    ("https://api.example.com:{port}/", "address_is_malformed"),
    ("{scheme}://api.example.com/", "address_is_malformed"),
    ("", "address_is_malformed"),
]


class AddressTests(SimpleTestCase):
    def test_only_addresses_of_the_public_internet_are_public(self) -> None:
        for text in NOT_PUBLIC:
            with self.subTest(address=text):
                self.assertFalse(is_public(ipaddress.ip_address(text)))
        for text in PUBLIC:
            with self.subTest(address=text):
                self.assertTrue(is_public(ipaddress.ip_address(text)))

    def test_an_address_that_leads_elsewhere_is_refused(self) -> None:
        for url, reason in REFUSED_ADDRESSES:
            for allow_local in (False, True):
                with self.subTest(url=url), self.assertRaises(tools.ToolRefused) as raised:
                    target(url, HOSTS, allow_local=allow_local)
                self.assertEqual(raised.exception.reason, reason)

    def test_an_address_on_an_allowed_host_is_taken_apart(self) -> None:
        for url, expected in {
            "https://api.example.com": Target("https", "api.example.com", None, "/", None),
            "HTTPS://API.Example.com:8443/A?b=C": Target("https", "api.example.com", 8443, "/A", "b=C"),
            "https://a.b.example.org/{x}?y={y}": Target("https", "a.b.example.org", None, "/{x}", "y={y}"),
            "https://93.184.216.34/@?": Target("https", "93.184.216.34", None, "/@", ""),
        }.items():
            with self.subTest(url=url):
                self.assertEqual(target(url, HOSTS, allow_local=False), expected)

    def test_this_machine_is_only_asked_by_its_address_and_with_leave(self) -> None:
        for url in ("http://127.0.0.1:8000/", "https://127.0.0.1/", "http://[::1]:8000/"):
            with self.subTest(url=url):
                self.assertIn(target(url, HOSTS, allow_local=True).host, ("127.0.0.1", "::1"))
                for hosts, allow_local in ((HOSTS, False), (["api.example.com"], True)):
                    with self.assertRaises(tools.ToolRefused) as raised:
                        target(url, hosts, allow_local=allow_local)
                    self.assertEqual(raised.exception.reason, "host_not_allowed")

    def test_entries_of_the_list(self) -> None:
        for entry in ("api.example.com", ".example.com", "xn--mnchen-3ya.example", "93.184.216.34", "[2606:4700::1]"):
            with self.subTest(entry=entry):
                self.assertEqual(problem(entry), "")
        for entry in (
            "https://a.example",
            "a.example:443",
            "*.example.com",
            "localhost",
            "",
            ".",
            "127.1",
            "a..example",
        ):
            with self.subTest(entry=entry):
                self.assertTrue(problem(entry))
        self.assertTrue(is_allowed("::1", ["[0:0:0:0:0:0:0:1]"]))


class ServiceCase(SimpleTestCase):
    """`ask` runs a tool against a service on this machine, as the bridge would."""

    def setUp(self) -> None:
        self.enterContext(override_settings(HTTP_TOOL_HOSTS=HOSTS, HTTP_TOOLS_ALLOW_LOCAL=True))
        self.logs = self.enterContext(capture_logs())
        self.service = Service()
        self.addCleanup(self.service.close)

    def tool(self, path: str = "/orders", **changes: Any) -> HttpTool:
        return http_tool(**{"url": f"http://127.0.0.1:{self.service.port}{path}", **changes})

    async def ask(self, definition: HttpTool, seconds: float = 10.0, /, **given: Any) -> tuple[dict[str, Any], str]:
        of = agent(tools=(), http_tools=(definition,))
        try:
            output, state = await tools.answer(definition.name, json.dumps(given), context(of), seconds)
        finally:
            await http.close()
        return json.loads(output), state


class SendingTests(ServiceCase):
    async def test_a_post_sends_the_arguments_as_json(self) -> None:
        answer, state = await self.ask(self.tool(), number="A 1/2", year=2026)
        self.assertEqual((answer, state), ({"ok": True, "status": 200, "answer": {}}, "finished"))
        [asked] = self.service.asked
        self.assertEqual((asked.method, asked.path), ("POST", "/orders"))
        self.assertEqual(json.loads(asked.body), {"number": "A 1/2", "year": 2026})
        self.assertEqual(asked.headers["content-type"], "application/json")
        self.assertEqual(asked.headers["host"], f"127.0.0.1:{self.service.port}")
        self.assertEqual(asked.headers["idempotency-key"], f"{CALL_SID}:call_1")
        self.assertEqual(asked.headers["accept-encoding"], "identity")
        self.assertNotIn("authorization", asked.headers)

    async def test_a_secret_is_sent_and_never_logged(self) -> None:
        await self.ask(self.tool(secret="canary-secret"), number="canary-1")
        self.assertEqual(self.service.asked[0].headers["authorization"], "Bearer canary-secret")
        self.assertNotIn("canary", str(self.logs))
        with self.assertNoLogs("httpx2"), self.assertNoLogs("httpcore2", "INFO"):
            await self.ask(self.tool(secret="canary-secret"), number="canary-1")

    async def test_a_get_sends_what_is_not_in_the_address_as_query(self) -> None:
        await self.ask(self.tool("/orders/{number}?lang=de", method="GET"), number="A&b=c é", year=2026)
        [asked] = self.service.asked
        self.assertEqual(
            (asked.method, asked.path, asked.body), ("GET", "/orders/A%26b%3Dc%20%C3%A9?lang=de&year=2026", b"")
        )

    async def test_an_argument_stays_within_its_place_in_the_address(self) -> None:
        await self.ask(self.tool("/find?q={number}&safe=1", method="GET"), number="x&safe=0#/../y")
        self.assertEqual(self.service.asked.pop().path, "/find?q=x%26safe%3D0%23%2F..%2Fy&safe=1")
        for value in ("..", ".", "../admin", "a/b", "a\\b", "%2e%2e", "a;b", "", "a\nb"):
            with self.subTest(value=value):
                answer, state = await self.ask(self.tool("/orders/{number}/items"), number=value)
                self.assertEqual(state, "refused")
                self.assertIn("number", answer["message"])
        self.assertEqual(self.service.asked, [])

    async def test_a_key_has_only_characters_of_a_header(self) -> None:
        of = agent(tools=(), http_tools=(self.tool(),))
        await tools.answer("find_order", '{"number": "1"}', context(of, tool_call_id="a\r\nX: y é"), 5)
        await http.close()
        self.assertEqual(
            self.service.asked[0].headers["idempotency-key"], f"{CALL_SID}:a%0D%0AX%3A%20y%20%C3%A9".replace("%3A", ":")
        )

    async def test_arguments_that_do_not_fit_are_not_sent(self) -> None:
        for given in ({}, {"number": 5}, {"number": "1", "year": "last"}):
            answer, state = await self.ask(self.tool(), **given)
            self.assertEqual(state, "refused")
            self.assertTrue(answer["message"])
        self.assertEqual(self.service.asked, [])

    async def test_no_proxy_of_the_environment_is_asked(self) -> None:
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")
        with mock.patch.dict("os.environ", proxies):
            _answer, state = await self.ask(self.tool(), number="1")
        self.assertEqual(state, "finished")


class AnswerTests(ServiceCase):
    async def answer_to(self, answer: Answer) -> tuple[dict[str, Any], str]:
        self.service.answer = answer
        return await self.ask(self.tool(), number="1")

    async def test_json_and_text_are_passed_on(self) -> None:
        for kind, body, expected in [
            ("application/json", b'{"state": "sent"}', {"state": "sent"}),
            ("application/problem+json; charset=utf-8", b"[1]", [1]),
            ("text/plain", "grüezi".encode(), "grüezi"),
            ("text/plain; charset=ISO-8859-1", "grüezi".encode("latin-1"), "grüezi"),
            ("text/plain; charset=nonsense", b"a\xff", "a\ufffd"),
            ("", b"", None),
        ]:
            with self.subTest(kind=kind):
                answer, state = await self.answer_to(Answer(body=body, headers={"Content-Type": kind}))
                self.assertEqual((answer, state), ({"ok": True, "status": 200, "answer": expected}, "finished"))

    async def test_what_no_model_can_read_is_a_failure(self) -> None:
        kind = {"Content-Type": "application/json"}
        for answer, reason in [
            (Answer(body=b"<html>", headers={"Content-Type": "text/html"}), "answer_is_no_text"),
            (Answer(body=b"\x89PNG", headers={"Content-Type": "image/png"}), "answer_is_no_text"),
            (Answer(body=b"hello", headers={}), "answer_is_no_text"),
            (Answer(body=b"{"), "answer_is_not_json"),
            (Answer(body=b"NaN"), "answer_is_not_json"),
            (Answer(body=b"[" * 50_000), "answer_is_not_json"),
            (Answer(body=b"\x1f\x8b", headers={**kind, "Content-Encoding": "gzip"}), "answer_is_packed"),
            (Answer(body=b'{"a": 1', breaks_off=True), "broken_answer"),
        ]:
            with self.subTest(reason=reason):
                told, state = await self.answer_to(answer)
                self.assertEqual((told["error"], state), (reason, "failed"))
                self.assertTrue(told["message"])

    async def test_an_answer_may_have_64_kib_and_no_byte_more(self) -> None:
        most = http.MAX_ANSWER_BYTES
        for says_length in (True, False):
            for length, expected in ((most, "finished"), (most + 1, "failed"), (20 * most, "failed")):
                with self.subTest(length=length, says_length=says_length):
                    body = b'"' + b"x" * (length - 2) + b'"'
                    told, state = await self.answer_to(Answer(body=body, says_length=says_length))
                    self.assertEqual(state, expected)
                    self.assertEqual(told.get("error", ""), "" if expected == "finished" else "answer_is_too_large")

    async def test_no_redirect_is_followed(self) -> None:
        other = Service()
        self.addCleanup(other.close)
        for status in (301, 302, 303, 307, 308):
            for place in ("http://169.254.169.254/latest/", f"http://127.0.0.1:{other.port}/", "/elsewhere"):
                with self.subTest(status=status, place=place):
                    told, state = await self.answer_to(Answer(status, headers={"Location": place}))
                    self.assertEqual((told["error"], told["status"], state), ("redirected", status, "failed"))
        self.assertEqual(other.asked, [])
        self.assertEqual({asked.path for asked in self.service.asked}, {"/orders"})

    async def test_a_refusal_tells_the_model_what_the_service_said(self) -> None:
        told, state = await self.answer_to(Answer(404, b'{"detail": "no such order"}'))
        self.assertEqual((told["error"], told["status"], state), ("service_refused", 404, "failed"))
        self.assertEqual(told["answer"], '{"detail": "no such order"}')
        told, _ = await self.answer_to(Answer(400, b"x" * 100_000, headers={"Content-Type": "text/plain"}))
        self.assertEqual(len(told["answer"]), http.MAX_REFUSAL_CHARACTERS)
        told, _ = await self.answer_to(Answer(403, b"<html>", headers={"Content-Type": "text/html"}))
        self.assertNotIn("answer", told)

    async def test_of_a_services_own_fault_only_the_status_is_told(self) -> None:
        told, state = await self.answer_to(Answer(502, b"Traceback: canary", headers={"Content-Type": "text/plain"}))
        self.assertEqual((told["error"], told["status"], state), ("service_failed", 502, "failed"))
        self.assertNotIn("canary", str(told))

    async def test_an_answer_that_does_not_come_is_a_timeout_and_holds_nothing(self) -> None:
        self.service.answer = Answer(wait=threading.Event())
        of = agent(tools=(), http_tools=(self.tool(),))
        asking = [tools.answer("find_order", '{"number": "1"}', context(of), 0.3) for _ in range(20)]
        ticks = asyncio.create_task(_ticks())
        self.assertEqual({state for _, state in await asyncio.gather(*asking)}, {"timed_out"})
        ticks.cancel()
        client = http._clients[asyncio.get_running_loop()]
        self.assertEqual(client.connections, [])
        await http.close()

    async def test_connections_are_shared_and_bounded(self) -> None:
        of = agent(tools=(), http_tools=(self.tool(),))
        for _ in range(3):
            await tools.answer("find_order", '{"number": "1"}', context(of), 5)
        client = http._clients[asyncio.get_running_loop()]
        self.assertEqual(len(client.connections), 1)
        await http.close()
        self.assertEqual(client.connections, [])
        self.assertNotIn(asyncio.get_running_loop(), http._clients)

    async def test_nobody_at_that_address_is_told_as_such(self) -> None:
        self.service.close()
        told, state = await self.ask(self.tool(), number="1")
        self.assertEqual((told["error"], state), ("unreachable", "failed"))
        self.service = Service()  # for the clean-up


async def _ticks() -> None:
    """Fails the test by its exception when the loop stands still; nothing here waits but in awaits."""
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(0.01)
        assert loop.time() - before < 5


class Diverted(httpcore2.AsyncNetworkBackend):
    """Notes each address that is connected to, and connects to a service of this machine in its place."""

    def __init__(self, port: int, dead: Iterable[str] = ()) -> None:
        self.connected: list[str] = []
        self._port = port
        self._dead = set(dead)
        self._real = httpcore2.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        self.connected.append(host)
        if host in self._dead:
            raise httpcore2.ConnectError("dead")
        return await self._real.connect_tcp("127.0.0.1", self._port)


@override_settings(HTTP_TOOL_HOSTS=["api.example.com", PUBLIC_ADDRESS], HTTP_TOOLS_ALLOW_LOCAL=False)
class ConnectingTests(SimpleTestCase):
    """Of TLS, with a name server that says what it likes."""

    certificate: Certificate
    service: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.certificate = Certificate("api.example.com")
        cls.service = Service(cls.certificate)
        cls.addClassCleanup(cls.service.close)

    def setUp(self) -> None:
        self.service.asked.clear()
        self.looked_up: list[str] = []
        self.logs = self.enterContext(capture_logs())

    async def ask(
        self,
        answers: list[list[str]],
        url: str = "https://api.example.com/orders",
        dead: Iterable[str] = (),
        times: int = 1,
    ) -> tuple[list[str], list[str]]:
        """Ask with a name server that gives `answers`, one by one; return states, and the addresses connected to."""
        rest = iter(answers)

        def look_up(host: str, port: int) -> list[str]:
            self.looked_up.append(host)
            return next(rest)

        way = Diverted(self.service.port, dead)
        client = http.new_client(self.certificate.client(), http.CheckedConnections(way, look_up))
        http._clients[asyncio.get_running_loop()] = client
        of = agent(tools=(), http_tools=(http_tool(url=url),))
        states = [(await tools.answer("find_order", '{"number": "1"}', context(of), 10))[1] for _ in range(times)]
        await http.close()
        return states, way.connected

    async def test_the_address_that_was_checked_is_connected_to_and_the_name_is_what_tls_sees(self) -> None:
        states, connected = await self.ask([[PUBLIC_ADDRESS]])
        self.assertEqual((states, connected), (["finished"], [PUBLIC_ADDRESS]))  # the certificate fits the name alone
        self.assertEqual(self.service.asked[0].headers["host"], "api.example.com")
        self.assertEqual(self.looked_up, ["api.example.com"])

    async def test_a_name_that_changes_its_address_after_the_check_gains_nothing(self) -> None:
        states, connected = await self.ask([[PUBLIC_ADDRESS], ["127.0.0.1"]])
        self.assertEqual((states, connected), (["finished"], [PUBLIC_ADDRESS]))
        self.assertEqual(len(self.looked_up), 1)  # there is no second look-up to lie to

    async def test_each_new_connection_is_checked_anew(self) -> None:
        self.service.answer = Answer(says_length=False)  # closes the connection
        self.addCleanup(setattr, self.service, "answer", Answer())
        states, connected = await self.ask([[PUBLIC_ADDRESS], ["127.0.0.1"]], times=2)
        self.assertEqual((states, connected), (["finished", "refused"], [PUBLIC_ADDRESS]))

    async def test_one_address_that_is_not_public_is_enough(self) -> None:
        for address in NOT_PUBLIC:
            for answer in ([address], [PUBLIC_ADDRESS, address]):
                with self.subTest(answer=answer):
                    self.assertEqual(await self.ask([answer]), (["refused"], []))
        self.assertEqual(self.service.asked, [])

    async def test_what_is_no_address_is_not_connected_to(self) -> None:
        for answer in (["localhost"], ["2130706433"], [""]):
            self.assertEqual(await self.ask([answer]), (["refused"], []))
        self.assertEqual(await self.ask([[]]), (["failed"], []))

    async def test_this_machine_is_not_reached_by_a_name_even_with_leave(self) -> None:
        with override_settings(HTTP_TOOLS_ALLOW_LOCAL=True, HTTP_TOOL_HOSTS=["api.example.com", "127.0.0.1"]):
            self.assertEqual(await self.ask([["127.0.0.1"]]), (["refused"], []))

    async def test_an_address_of_a_host_that_does_not_answer_is_passed_over_and_ipv4_comes_first(self) -> None:
        states, connected = await self.ask([["2606:4700::1", "1.1.1.1", "8.8.8.8"]], dead=["1.1.1.1"])
        self.assertEqual((states, connected), (["finished"], ["1.1.1.1", "8.8.8.8"]))
        states, connected = await self.ask([[f"1.1.1.{n}" for n in range(9)]], dead=[f"1.1.1.{n}" for n in range(9)])
        self.assertEqual((states, len(connected)), (["failed"], http.MAX_ADDRESSES))

    async def test_a_host_with_a_certificate_of_another_name_is_not_told_anything(self) -> None:
        with override_settings(HTTP_TOOL_HOSTS=["other.example.com"]):
            states, connected = await self.ask([[PUBLIC_ADDRESS]], url="https://other.example.com/")
        self.assertEqual((states, connected), (["failed"], [PUBLIC_ADDRESS]))
        states, _connected = await self.ask([], url=f"https://{PUBLIC_ADDRESS}/")
        self.assertEqual(states, ["failed"])
        self.assertEqual(self.service.asked, [])

    async def test_a_name_server_that_hangs_or_knows_nothing_is_a_failure_and_holds_no_loop(self) -> None:
        let_go = threading.Event()
        self.addCleanup(let_go.set)

        def hangs(host: str, port: int) -> list[str]:
            let_go.wait(10)
            return []

        def fails(host: str, port: int) -> list[str]:
            raise socket.gaierror(-2, "canary")

        self.enterContext(mock.patch("media.tools.http.LOOKUP_SECONDS", 0.05))
        of = agent(tools=(), http_tools=(http_tool(url="https://api.example.com/"),))
        for look_up in (hangs, fails):
            client = http.new_client(self.certificate.client(), http.CheckedConnections(Diverted(0), look_up))
            http._clients[asyncio.get_running_loop()] = client
            output, state = await tools.answer("find_order", '{"number": "1"}', context(of), 10)
            self.assertEqual((json.loads(output)["error"], state), ("unreachable", "failed"))
            await http.close()
        self.assertNotIn("canary", str(self.logs))
