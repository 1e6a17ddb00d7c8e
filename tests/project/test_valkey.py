"""The private Valkey: brought up by the first, shared by all, stopped by the last."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, cast

import redis
from django.test import SimpleTestCase

from voiceagent import embedded
from voiceagent.valkey import PrivateValkey, ValkeyUnavailable, prepare_socket_directory


class ValkeyTests(SimpleTestCase):
    def setUp(self) -> None:
        self.var = Path(tempfile.mkdtemp(prefix="voiceagent-var-"))
        self.addCleanup(shutil.rmtree, self.var)
        self.addCleanup(shutil.rmtree, embedded.socket_path(self.var).parent, ignore_errors=True)

    def server(self) -> PrivateValkey:
        server = PrivateValkey(self.var, dies_with_me=True)
        self.addCleanup(server.release)
        return server

    def connect(self) -> redis.Redis:
        client = redis.Redis.from_url(embedded.redis_url(self.var), socket_timeout=5)
        self.addCleanup(client.close)
        return client

    def test_it_answers_drops_nothing_and_keeps_its_data(self) -> None:
        self.server().acquire()
        info = self.info()
        self.assertEqual((info["maxmemory_policy"], info["aof_enabled"], info["tcp_port"]), ("noeviction", 1, 0))
        self.connect().set("kept", "yes")
        second = self.server().acquire()
        second.release()
        self.assertEqual(self.connect().get("kept"), b"yes")

    def test_the_last_one_stops_it_and_leaves_nothing_but_its_data(self) -> None:
        first, second = self.server().acquire(), self.server().acquire()
        first.release()
        self.assertTrue(second.answers(), "somebody still needed it")
        second.release()
        self.assertFalse(second.answers())
        self.assertFalse(second.socket.parent.exists())
        self.connect()  # still the same password for the next one
        third = self.server().acquire()
        self.assertTrue(third.answers())

    def test_data_outlives_a_restart(self) -> None:
        first = self.server().acquire()
        self.connect().rpush("high", "a job")
        first.release()
        self.server().acquire()
        self.assertEqual(self.connect().lrange("high", 0, -1), [b"a job"])

    def test_a_socket_left_by_a_killed_server_is_no_obstacle(self) -> None:
        killed = self.server().acquire()
        os.kill(self.pid(), signal.SIGKILL)
        assert killed._process is not None
        killed._process.wait()
        self.assertTrue(killed.socket.exists())
        self.assertTrue(self.server().acquire().answers())

    def test_its_owner_brings_a_dead_one_back(self) -> None:
        server = self.server().acquire()
        self.assertFalse(server.revive(), "it lives")
        os.kill(self.pid(), signal.SIGKILL)
        assert server._process is not None
        server._process.wait()
        self.assertTrue(server.revive())
        self.assertTrue(server.answers())

    def test_without_the_password_nobody_gets_in(self) -> None:
        server = self.server().acquire()
        with (
            redis.Redis(unix_socket_path=str(server.socket)) as stranger,
            self.assertRaises(redis.AuthenticationError),
        ):
            stranger.ping()
        self.assertEqual((self.var / "redis_password").stat().st_mode & 0o777, 0o600)
        self.assertEqual((self.var / "valkey" / "valkey.conf").stat().st_mode & 0o777, 0o600)

    def test_the_server_does_not_get_the_terminals_ctrl_c(self) -> None:
        self.server().acquire()
        self.assertNotEqual(os.getsid(self.pid()), os.getsid(0))

    def test_another_password_is_said_and_the_server_is_left_alone(self) -> None:
        self.server().acquire()
        (self.var / "redis_password").write_text("another")
        with self.assertRaisesMessage(ValkeyUnavailable, "does not take the password"):
            self.server().acquire()

    def info(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.connect().info())

    def pid(self) -> int:
        return int(self.info()["process_id"])


class SocketDirectoryTests(SimpleTestCase):
    """The temporary folder is everybody's."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def test_a_new_one_is_private(self) -> None:
        prepare_socket_directory(self.folder / "new")
        self.assertEqual((self.folder / "new").stat().st_mode & 0o777, 0o700)

    def test_one_that_others_can_enter_is_refused(self) -> None:
        (self.folder / "open").mkdir()
        (self.folder / "open").chmod(0o755)
        with self.assertRaisesMessage(ValkeyUnavailable, "not a private directory"):
            prepare_socket_directory(self.folder / "open")

    def test_a_link_is_refused(self) -> None:
        (self.folder / "link").symlink_to(self.folder)
        with self.assertRaisesMessage(ValkeyUnavailable, "not a private directory"):
            prepare_socket_directory(self.folder / "link")

    def test_the_path_is_short_enough_for_a_socket_and_of_this_var_directory(self) -> None:
        deep = Path("/a" * 60)
        self.assertLess(len(os.fsencode(embedded.socket_path(deep))), 100)
        self.assertNotEqual(embedded.socket_path(deep), embedded.socket_path(deep / "b"))
