"""One running system in each checkout, on a port that is said."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from unittest import mock

from django.test import SimpleTestCase

from voiceagent import running
from voiceagent.running import AlreadyRunning, PortUnavailable, RunLock, Running, choose_port, read_running


class PortTests(SimpleTestCase):
    def busy_port(self) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return int(listener.getsockname()[1])

    def test_a_wanted_port_that_is_busy_is_said_and_no_other_is_taken(self) -> None:
        port = self.busy_port()
        with self.assertRaisesMessage(PortUnavailable, f"Port {port} is in use"):
            choose_port(str(port))

    def test_a_wanted_port_that_is_free_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        self.assertEqual(choose_port(str(port)), port)

    def test_when_nobody_asked_the_next_free_one_is_taken(self) -> None:
        port = self.busy_port()
        with mock.patch.object(running, "DEFAULT_PORT", port):
            self.assertIn(choose_port(""), range(port + 1, port + running.PORTS_TO_TRY))

    def test_what_is_no_port_is_refused(self) -> None:
        for wanted in ("http", "0", "65536", "-1", "8000 "):
            with self.subTest(wanted=wanted), self.assertRaisesMessage(PortUnavailable, "must be a number"):
                choose_port(wanted)


class LockTests(SimpleTestCase):
    def setUp(self) -> None:
        self.var = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.var)

    def test_a_second_start_is_told_where_the_first_one_serves(self) -> None:
        first, second = RunLock(self.var), RunLock(self.var)
        first.take()
        with self.assertRaisesMessage(AlreadyRunning, "It runs already. Stop that one"):
            second.take()
        first.tell(Running(pid=os.getpid(), port=8003))
        with self.assertRaisesMessage(AlreadyRunning, f"at http://127.0.0.1:8003/admin/ (process {os.getpid()})"):
            second.take()
        first.release()
        second.take()
        self.assertIsNone(read_running(self.var), "what the first one told is gone with it")
        second.release()

    def test_what_a_killed_one_told_does_not_stop_the_next(self) -> None:
        (self.var / "run.json").write_text('{"pid": 1, "port": 8000}')
        lock = RunLock(self.var)
        lock.take()
        lock.tell(Running(pid=2, port=8001))
        self.assertEqual(read_running(self.var), Running(pid=2, port=8001))
        lock.release()


class HealthyTests(SimpleTestCase):
    def serve(self, status: int) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/healthz" else 404)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return int(server.server_port)

    def test_it_is_healthy_when_it_says_so(self) -> None:
        self.assertTrue(running.is_healthy(self.serve(200)))
        self.assertFalse(running.is_healthy(self.serve(503)))

    def test_one_that_hangs_or_is_not_there_is_not(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.assertFalse(running.is_healthy(silent.getsockname()[1], timeout=0.05))
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        self.assertFalse(running.is_healthy(port))
