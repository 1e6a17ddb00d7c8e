"""The process beside the one with the calls: which connection goes where, what is asked, who is left when one dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings
from django.test import SimpleTestCase

from businesses.snapshots import HttpTool, SpokenClip
from calls import admission, doors, live_calls, switchboard
from calls.live_calls import AskedTransfer
from tests.e2e.processes import Child, free_port, python, wait_until
from tests.media import fakes
from voiceagent.serving import beside
from voiceagent.serving.beside import Arrivals, Door, Questions, answer_questions

CALL = "CA" + "b" * 32


class DoorTests(SimpleTestCase):
    """The two ends of the socket that connections go over, in one process."""

    async def begin(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.here, self.there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.here.setblocking(False)
        self.kept: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.handed: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.door = Door(self.listener, self.here, self.kept.put_nowait)
        self.arrivals = Arrivals(self.there, self.handed.put_nowait)
        self.addCleanup(self.close)

    def close(self) -> None:
        for one in (self.listener, self.here, self.there):
            one.close()

    async def come(self, request: bytes) -> socket.socket:
        client = socket.create_connection(self.listener.getsockname())
        self.addCleanup(client.close)
        if request:
            client.sendall(request)
        await asyncio.sleep(0)
        return client

    async def read(self, connection: socket.socket) -> bytes:
        self.addCleanup(connection.close)
        return await asyncio.get_running_loop().sock_recv(connection, 1000)

    async def test_media_streams_and_its_own_state_stay_and_all_else_is_handed_over_unread(self) -> None:
        await self.begin()
        for target in (b"GET /media/stream/CA1/t/", b"GET /healthz", b"GET /readyz", b"GET /metrics"):
            await self.come(target + b" HTTP/1.1\r\n\r\n")
            kept = await asyncio.wait_for(self.kept.get(), 5)
            self.assertEqual(await self.read(kept), target + b" HTTP/1.1\r\n\r\n")
        for request in (b"POST /twilio/voice/ HTTP/1.1\r\n\r\na=b", b"GET /admin/ HTTP/1.1\r\n\r\n", b"G"):
            client = await self.come(request)
            handed = await asyncio.wait_for(self.handed.get(), 5)
            self.assertEqual(handed.getpeername(), client.getsockname())
            self.assertEqual(await self.read(handed), request)
        self.assertTrue(self.kept.empty())

    async def test_who_says_nothing_is_let_go(self) -> None:
        with mock.patch.object(beside, "FIRST_BYTES_SECONDS", 0.05):
            await self.begin()
            client = await self.come(b"")
            client.setblocking(False)
            self.assertEqual(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 10), 5), b"")
        self.assertTrue(self.kept.empty() and self.handed.empty())

    async def test_without_anybody_beside_everything_is_answered_here(self) -> None:
        await self.begin()
        self.arrivals.close()
        self.there.close()
        with self.assertLogs("voiceagent.serving.beside", "ERROR"):
            await self.come(b"GET /admin/ HTTP/1.1\r\n\r\n")
            await asyncio.wait_for(self.kept.get(), 5)

    async def test_a_closed_door_lets_nobody_in(self) -> None:
        await self.begin()
        waiting = await self.come(b"")
        await asyncio.sleep(0.05)
        self.door.close()
        waiting.setblocking(False)
        self.assertEqual(await asyncio.get_running_loop().sock_recv(waiting, 10), b"")
        await self.come(b"GET /healthz HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.05)
        self.assertTrue(self.kept.empty())


class QuestionTests(SimpleTestCase):
    """Questions are asked in a thread, as webhooks do, and answered on the loop."""

    def setUp(self) -> None:
        self.asking, answering = socket.socketpair()
        answering.setblocking(False)
        self.addCleanup(self.asking.close)
        self.answering = answering
        self.asked: list[tuple[str, list[Any]]] = []

    def answer(self, name: str, arguments: Sequence[Any]) -> Any:
        self.asked.append((name, list(arguments)))
        if name == "fail":
            raise KeyError(name)
        return ["answer", *arguments]

    async def test_each_thread_gets_its_own_answer(self) -> None:
        task = asyncio.create_task(answer_questions(self.answering, self.answer))
        questions = Questions(self.asking)
        answers = await asyncio.gather(*(asyncio.to_thread(questions.ask, "q", [n]) for n in range(50)))
        self.assertEqual(answers, [["answer", n] for n in range(50)])
        self.asking.close()
        await asyncio.wait_for(task, 5)

    async def test_what_cannot_be_answered_costs_the_asker_a_moment_and_nobody_else(self) -> None:
        task = asyncio.create_task(answer_questions(self.answering, self.answer))
        self.addCleanup(task.cancel)
        with mock.patch.object(beside, "ANSWER_SECONDS", 0.1):
            questions = Questions(self.asking)
        with self.assertLogs("voiceagent.serving.beside", "ERROR"), self.assertRaises(OSError):
            await asyncio.to_thread(questions.ask, "fail", [])
        self.assertEqual(await asyncio.to_thread(questions.ask, "q", []), ["answer"])

    async def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one(self) -> None:
        with mock.patch.object(beside, "ANSWER_SECONDS", 0.1):
            questions = Questions(self.asking)
        with self.assertRaises(OSError):
            await asyncio.to_thread(questions.ask, "early", [])
        task = asyncio.create_task(answer_questions(self.answering, self.answer))
        self.addCleanup(task.cancel)
        self.assertEqual(await asyncio.to_thread(questions.ask, "late", [2]), ["answer", 2])
        self.assertEqual([name for name, _ in self.asked], ["early", "late"])

    async def test_a_question_that_is_too_long_is_not_the_last_one_to_be_answered(self) -> None:
        with mock.patch.object(beside, "QUESTION_BYTES", 1000):
            task = asyncio.create_task(answer_questions(self.answering, self.answer))
            self.addCleanup(task.cancel)
            await asyncio.sleep(0)
        with mock.patch.object(beside, "ANSWER_SECONDS", 0.3):
            questions = Questions(self.asking)
        with self.assertLogs("voiceagent.serving.beside", "ERROR"), self.assertRaises(OSError):
            await asyncio.to_thread(questions.ask, "long", ["x" * 5000])
        self.assertEqual(await asyncio.to_thread(questions.ask, "q", [1]), ["answer", 1])

    async def test_half_a_question_of_a_process_that_died_is_passed_over(self) -> None:
        task = asyncio.create_task(answer_questions(self.answering, self.answer))
        self.addCleanup(task.cancel)
        self.asking.sendall(b'[1,1,"q",["half')
        with mock.patch.object(beside, "ANSWER_SECONDS", 0.2):
            questions = Questions(self.asking)
        with self.assertLogs("voiceagent.serving.beside", "ERROR"), self.assertRaises(OSError):
            await asyncio.to_thread(questions.ask, "q", [])
        self.assertEqual(await asyncio.to_thread(questions.ask, "q", [3]), ["answer", 3])


class SwitchboardTests(SimpleTestCase):
    """The same questions as in one process, through the two ends of a socket."""

    async def begin(self) -> None:
        self.admission = admission.Admission(max_calls=1, late_seconds=1.0, journal_reason=str)
        self.enterContext(mock.patch("calls.admission._admission", self.admission))
        asking, answering = socket.socketpair()
        answering.setblocking(False)
        self.addCleanup(asking.close)
        task = asyncio.create_task(answer_questions(answering, switchboard.answer))
        self.addCleanup(task.cancel)
        self.enterContext(mock.patch("calls.switchboard._ask", Questions(asking).ask))

    async def test_a_place_is_taken_and_given_back_where_the_calls_are(self) -> None:
        await self.begin()
        now = time.monotonic()
        admit = switchboard.admit
        self.assertEqual(await asyncio.to_thread(admit, CALL, 1, now), "")
        other = await asyncio.to_thread(admit, "CA" + "c" * 32, 1, now, max_calls=5, live_calls=frozenset({CALL}))
        self.assertEqual(other, admission.PROCESS_FULL)
        told = threading.Event()
        live_calls.register(CALL, told.set)
        self.addCleanup(live_calls.unregister, CALL)
        await asyncio.to_thread(switchboard.call_over, CALL)
        self.assertTrue(told.is_set())
        self.assertEqual(await asyncio.to_thread(admit, "CA" + "c" * 32, 1, now), "")

    async def test_what_the_calls_have_left_behind_is_known(self) -> None:
        await self.begin()
        self.addCleanup(live_calls.note_ended, CALL, "", 3)
        self.addCleanup(live_calls.note_transfer, CALL, AskedTransfer("", 0))
        self.assertEqual(await asyncio.to_thread(switchboard.ended_reason, CALL, 3), "")
        self.assertIsNone(await asyncio.to_thread(switchboard.transfer, "CA" + "d" * 32))
        live_calls.note_ended(CALL, "agent_ended", 3)
        live_calls.note_transfer(CALL, AskedTransfer("key", 7))
        self.assertEqual(await asyncio.to_thread(switchboard.ended_reason, CALL, 3), "agent_ended")
        self.assertEqual(await asyncio.to_thread(switchboard.transfer, CALL), AskedTransfer("key", 7))

    async def test_an_agent_is_sent_whole_and_once(self) -> None:
        await self.begin()
        self.addCleanup(doors.forget_agents)
        tool = HttpTool("price", "of a thing", {"type": "object"}, "https://example.com/{sku}", secret="s")
        clips = {"greeting": SpokenClip("x", bytes(range(256)) * 800)}
        agent = replace(fakes.agent(), version_id=-1, tools=("end_call",), http_tools=(tool,), clips=clips)
        await asyncio.to_thread(switchboard.expect, agent)
        self.assertEqual(doors._agents[-1], agent)
        with mock.patch("calls.switchboard._ask", side_effect=AssertionError("sent again")):
            switchboard.expect(agent)

    async def test_when_no_answer_comes_callers_are_asked_to_wait_and_nothing_else_is_known(self) -> None:
        with (
            mock.patch("calls.switchboard._ask", side_effect=TimeoutError),
            self.assertLogs("calls.switchboard", "ERROR"),
        ):
            self.assertEqual(switchboard.admit(CALL, 1, 0.0), admission.LOOP_LATE)
            self.assertEqual(switchboard.ended_reason(CALL, 0), "")
            self.assertIsNone(switchboard.transfer(CALL))
            self.assertTrue(switchboard.may_try("", 0.0))
            self.assertFalse(switchboard.is_refused(""))


class ProcessTests(SimpleTestCase):
    def setUp(self) -> None:
        directory = self.enterContext(tempfile.TemporaryDirectory(prefix="va-beside-"))
        self.port = free_port()
        environment = {
            "VOICEAGENT_VAR": directory,
            "SECRET_KEY": settings.SECRET_KEY,
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "DRAIN_SECONDS": "0",
        }
        arguments = python("manage.py", "serve", "--port", str(self.port))
        self.server = Child("web", arguments, environment, Path(directory))
        self.addCleanup(self.server.kill)
        self.server.wait_for_output("Listening on http://")

    def page(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/admin/login/?next=/admin/", timeout=20) as answer:
            return int(answer.status)

    def pids(self) -> tuple[int, int]:
        """The keeper's, and that of the process beside; 0: not there now."""
        keeper = child_of(self.server.process.pid)
        return keeper, child_of(keeper) if keeper else 0

    def test_a_process_that_dies_is_followed_by_another_and_the_server_stops_with_both(self) -> None:
        self.assertEqual(self.page(), 200)
        keeper, first = self.pids()
        os.kill(first, signal.SIGKILL)
        self.assertEqual(self.page(), 200)
        self.assertNotIn(wait_until(lambda: self.pids()[1], 10, "another process"), (first, keeper))
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.process.wait(20), 0, self.server.output())
        self.assertFalse(Path(f"/proc/{keeper}").exists())
        self.assertNotIn("Traceback", self.server.output())

    def test_a_signal_to_all_processes_at_once_is_obeyed_by_the_one_with_the_calls(self) -> None:
        wait_until(lambda: all(self.pids()), 10, "both are there")
        os.killpg(self.server.process.pid, signal.SIGTERM)
        self.assertEqual(self.server.process.wait(20), 0, self.server.output())
        self.assertNotIn("web_process_died", self.server.output())

    def test_without_a_keeper_the_process_with_the_calls_answers_all(self) -> None:
        self.assertEqual(self.page(), 200)
        keeper, beside_ = wait_until(lambda: self.pids() if all(self.pids()) else None, 10, "both are there")
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: not is_running(beside_), 10, "the process beside ends with its keeper")
        self.assertEqual(self.page(), 200)

    def test_both_end_with_a_server_that_is_killed(self) -> None:
        keeper, beside_ = wait_until(lambda: self.pids() if all(self.pids()) else None, 10, "both are there")
        os.kill(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait(10)
        wait_until(lambda: not is_running(keeper) and not is_running(beside_), 15, "nobody is left")


def child_of(pid: int) -> int:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return int(children[0]) if children else 0


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
