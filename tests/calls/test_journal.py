"""The journal of a process: what is on the disk, and what happens when the disk does not take it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Callable
from pathlib import Path

from django.test import SimpleTestCase

from calls.journal import files, kinds, records
from calls.journal.files import Disk
from calls.journal.journal import MAX_BYTES, MAX_WAITING, Journal
from tests.calls.support import CALL_SID, a_turn

OTHER_SID = "CA" + "9" * 32
CALLER_WORDS = "the words of the caller"


class FakeDisk:
    """The real disk, until it is told to fail or to wait."""

    def __init__(self) -> None:
        self.error = 0
        self.sync_error = 0
        self.takes = 1 << 30  # bytes, before the error
        self.gate = threading.Event()
        self.gate.set()
        self.in_sync = threading.Event()
        self.syncs = 0

    def write(self, descriptor: int, data: bytes) -> int:
        if self.error:
            part = data[: self.takes]
            self.takes -= len(part)
            if part:
                return os.write(descriptor, part)
            raise OSError(self.error, os.strerror(self.error))
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self.in_sync.set()
        assert self.gate.wait(30)
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        self.syncs += 1

    def disk(self) -> Disk:
        return Disk(write=self.write, sync=self.sync)


class JournalCase(SimpleTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory())) / "journal"
        self.disk = FakeDisk()

    def open(self, max_bytes: int = MAX_BYTES, max_waiting: int = MAX_WAITING) -> Journal:
        journal = Journal(self.directory, max_bytes=max_bytes, max_waiting=max_waiting, disk=self.disk.disk())
        self.addCleanup(journal.close, 5)
        self.addCleanup(self.disk.gate.set)
        return journal

    def turn(self, journal: Journal, index: int, call_sid: str = CALL_SID) -> None:
        journal.append(kinds.TURN, {"call_sid": call_sid, "business_id": 1, **a_turn(index, user_text=CALLER_WORDS)})

    def finalize(self, journal: Journal) -> None:
        journal.append(
            kinds.FINALIZE, {"call_sid": CALL_SID, "business_id": 1, "status": "completed", "turns": [a_turn(0)]}
        )

    def status(self, journal: Journal, call_sid: str = CALL_SID) -> None:
        journal.append(kinds.STATUS, {"call_sid": call_sid, "business_id": 1, "status": "ringing"})

    def on_disk(self) -> list[tuple[int, str, int | None]]:
        """Of each record: seq, kind, turn_index."""
        found = [piece.record for path in files.paths(self.directory) for piece in records.pieces(path.read_bytes())]
        return [(record.seq, record.kind, record.arguments.get("turn_index")) for record in found if record is not None]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"in time: {what}")
            time.sleep(0.01)


class Appending(JournalCase):
    def test_facts_are_on_the_disk_in_order_once_flushed(self) -> None:
        journal = self.open()
        for index in range(50):
            self.turn(journal, index)
        self.assertTrue(journal.flush(5))
        self.assertEqual(self.on_disk(), [(index + 1, kinds.TURN, index) for index in range(50)])
        self.assertEqual(journal.counters().durable, 50)

    def test_each_call_has_a_file(self) -> None:
        journal = self.open()
        self.turn(journal, 0)
        self.turn(journal, 0, OTHER_SID)
        self.assertTrue(journal.flush(5))
        names = [path.name for path in files.paths(self.directory)]
        self.assertEqual(names, [f"{sid}.{journal.boot_id}.0.journal" for sid in (CALL_SID, OTHER_SID)])

    def test_only_this_user_can_read_it(self) -> None:
        journal = self.open()
        self.addCleanup(os.umask, os.umask(0))
        self.turn(journal, 0)
        self.assertTrue(journal.flush(5))
        [path] = files.paths(self.directory)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o700)

    def test_a_directory_that_others_can_read_is_closed_to_them(self) -> None:
        self.directory.mkdir(mode=0o755)
        journal = self.open()
        self.turn(journal, 0)
        self.assertTrue(journal.flush(5))
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o700)

    def test_a_call_sid_is_never_a_path(self) -> None:
        journal = self.open()
        for call_sid in ("../../etc/passwd", "", "a/b", "\ud800"):
            self.turn(journal, 0, call_sid)
        self.assertTrue(journal.flush(5))
        self.assertEqual(len(files.paths(self.directory)), 4)
        self.assertEqual([path.name for path in self.directory.parent.iterdir()], ["journal"])

    def test_appending_takes_no_time_while_the_disk_hangs(self) -> None:
        journal = self.open()
        journal.start()
        self.disk.gate.clear()
        self.turn(journal, 0)
        self.assertTrue(self.disk.in_sync.wait(5))
        took: list[float] = []
        for index in range(1, 1000):
            begun = time.thread_time()  # of this thread: another process's work on this machine is not ours
            self.turn(journal, index)
            took.append(time.thread_time() - begun)
        self.assertLess(sorted(took)[-10], 0.001)
        self.assertEqual(journal.counters().durable, 0)
        self.disk.gate.set()
        self.assertTrue(journal.flush(10))
        self.assertEqual(len(self.on_disk()), 1000)

    def test_what_comes_while_the_disk_is_busy_is_one_group(self) -> None:
        journal = self.open()
        self.disk.gate.clear()
        self.turn(journal, 0)
        self.assertTrue(self.disk.in_sync.wait(5))
        for index in range(1, 101):
            self.turn(journal, index)
        self.disk.gate.set()
        self.assertTrue(journal.flush(5))
        self.assertLessEqual(self.disk.syncs, 3)

    def test_beyond_the_bound_turns_are_dropped_before_the_end_of_the_call(self) -> None:
        journal = self.open(max_waiting=10)
        self.disk.gate.clear()
        self.turn(journal, 0)
        self.assertTrue(self.disk.in_sync.wait(5))
        for index in range(1, 20):
            self.turn(journal, index)
        self.finalize(journal)
        self.assertEqual(journal.counters().dropped, 9)
        self.assertEqual(journal.reason, "queue_full")
        self.disk.gate.set()
        self.assertTrue(journal.flush(5))
        self.assertEqual(self.on_disk()[-1], (12, kinds.FINALIZE, None))
        self.assertTrue(journal.healthy)

    def test_a_fact_that_cannot_be_written_is_counted_and_stops_nothing(self) -> None:
        journal = self.open()
        loop: list[object] = []
        loop.append(loop)
        with self.assertLogs("calls.journal.journal", "ERROR"):
            journal.append(kinds.TURN, {"call_sid": CALL_SID, "loop": loop})
            self.turn(journal, 1)
            self.assertTrue(journal.flush(5))
        self.assertEqual(self.on_disk(), [(1, kinds.TURN, 1)])
        self.assertEqual(journal.counters().dropped, 1)


class ASickDisk(JournalCase):
    def test_a_full_disk_is_said_and_kept_in_memory_until_there_is_room(self) -> None:
        journal = self.open()
        self.turn(journal, 0)
        self.assertTrue(journal.flush(5))
        with self.assertLogs("calls.journal.journal", "ERROR") as logs:
            self.disk.error, self.disk.takes = errno.ENOSPC, 30
            self.turn(journal, 1)
            self.assertFalse(journal.flush(5))
        self.assertEqual((journal.healthy, journal.reason), (False, "disk_full"))
        self.assertEqual(self.on_disk(), [(1, kinds.TURN, 0)])
        self.assertNotIn(CALLER_WORDS, str(logs.output))
        self.disk.error = 0
        self.turn(journal, 2)
        self.assertTrue(journal.flush(5))
        self.assertTrue(journal.healthy)
        self.assertEqual([index for _, _, index in self.on_disk()], [0, 1, 2])

    def test_a_failed_sync_is_not_believed_later(self) -> None:
        journal = self.open()
        with self.assertLogs("calls.journal.journal", "ERROR"):
            self.disk.sync_error = errno.EIO
            self.turn(journal, 0)
            self.assertFalse(journal.flush(5))
        self.assertEqual((journal.reason, journal.counters().durable), ("disk_error", 0))
        self.assertEqual(self.on_disk(), [])
        self.disk.sync_error = 0
        self.wait(lambda: journal.healthy, "the next try")
        self.assertEqual(self.on_disk(), [(1, kinds.TURN, 0)])

    def test_a_hung_disk_is_said(self) -> None:
        now = [100.0]
        journal = Journal(self.directory, disk=self.disk.disk(), clock=lambda: now[0])
        self.addCleanup(journal.close, 5)
        self.addCleanup(self.disk.gate.set)
        self.disk.gate.clear()
        self.turn(journal, 0)
        self.assertTrue(self.disk.in_sync.wait(5))
        self.assertTrue(journal.healthy)
        now[0] += 3
        self.assertEqual(journal.reason, "disk_slow")
        self.disk.gate.set()
        self.assertTrue(journal.flush(5))
        self.assertTrue(journal.healthy)

    def test_it_notices_by_itself_that_the_disk_is_well(self) -> None:
        journal = self.open()
        with self.assertLogs("calls.journal.journal", "ERROR"):
            self.disk.error, self.disk.takes = errno.ENOSPC, 0
            self.turn(journal, 0)
            self.assertFalse(journal.flush(5))
        [call] = journal.open_calls()
        journal.retire(call)  # nothing is left to write
        self.wait(lambda: journal.counters().open_calls == 0, "the call is gone")
        self.disk.error = 0
        self.wait(lambda: journal.healthy, "the probe")
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_over_its_cap_the_end_of_a_call_still_fits(self) -> None:
        journal = self.open(max_bytes=10_000)
        self.status(journal)
        with self.assertLogs("calls.journal.journal", "ERROR"):
            for index in range(40):
                self.turn(journal, index)
                journal.flush(5)
        self.assertEqual(journal.reason, "over_cap")
        self.assertLessEqual(files.used_bytes(self.directory), 9_000)
        self.status(journal, OTHER_SID)
        journal.flush(5)
        self.assertIn((1, kinds.STATUS, None), self.on_disk()[-1:])
        self.assertEqual(len(files.paths(self.directory)), 2)
        self.assertLessEqual(files.used_bytes(self.directory), 10_000)

    def test_the_files_of_others_count_towards_the_cap(self) -> None:
        files.prepare(self.directory)
        (self.directory / f"x.other.0{files.SUFFIX}").write_bytes(bytes(20_000))
        journal = self.open(max_bytes=10_000)
        with self.assertLogs("calls.journal.journal", "ERROR"):
            self.turn(journal, 0)
            self.assertFalse(journal.flush(5))
        self.assertEqual(journal.reason, "over_cap")


@unittest.skipUnless(sys.platform == "linux" and os.geteuid() == 0, "only root can make a small disk: run as root")
class AFullDisk(JournalCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory.mkdir(mode=0o700)
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(self.directory)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            self.skipTest("root may not mount a small disk in this container: give it CAP_SYS_ADMIN")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.directory)], check=True)

    def test_what_it_did_not_take_is_written_once_there_is_room_and_nothing_is_torn(self) -> None:
        self.directory.joinpath("somebody-elses").write_bytes(bytes(30_000))
        journal = Journal(self.directory)
        self.addCleanup(journal.close, 5)
        with self.assertLogs("calls.journal.journal", "ERROR"):
            for index in range(200):
                self.turn(journal, index)
            self.assertFalse(journal.flush(5))
            for index in range(200, 210):
                self.turn(journal, index)
                journal.flush(5)
        self.assertEqual(journal.reason, "disk_full")
        for path in files.paths(self.directory):
            self.assertNotIn(None, [piece.record for piece in records.pieces(path.read_bytes())])
        subprocess.run(["mount", "-o", "remount,size=4m", str(self.directory)], check=True)
        self.wait(lambda: journal.healthy, "the next try")
        self.assertEqual([index for _, _, index in self.on_disk()], list(range(210)))


class Letting(JournalCase):
    def test_a_retired_file_is_gone_and_a_later_fact_begins_another(self) -> None:
        journal = self.open()
        self.turn(journal, 0)
        self.assertTrue(journal.flush(5))
        journal.retire(*journal.open_calls())
        self.assertTrue(journal.flush(5))
        self.assertEqual(self.on_disk(), [])
        self.turn(journal, 1)
        self.assertTrue(journal.flush(5))
        self.assertEqual(self.on_disk(), [(1, kinds.TURN, 1)])

    def test_a_file_is_kept_when_something_came_after_the_look_at_it(self) -> None:
        journal = self.open()
        self.turn(journal, 0)
        self.assertTrue(journal.flush(5))
        [seen] = journal.open_calls()
        self.turn(journal, 1)
        journal.retire(seen)
        self.assertTrue(journal.flush(5))
        self.assertEqual(len(self.on_disk()), 2)

    def test_nobody_can_adopt_a_file_while_its_owner_lives(self) -> None:
        journal = self.open()
        self.turn(journal, 0)
        self.assertTrue(journal.flush(5))
        [path] = files.paths(self.directory)
        with files.adopted(path) as data:
            self.assertIsNone(data)
        self.assertTrue(journal.close(5))
        with files.adopted(path) as data:
            self.assertIsNotNone(data)

    def test_a_fork_does_not_keep_the_lock_of_a_dead_parent(self) -> None:
        for forgets in (False, True):
            journal = self.open()
            self.turn(journal, 0)
            self.assertTrue(journal.flush(5))
            path = files.paths(self.directory)[-1]
            ready, go_on = os.pipe(), os.pipe()
            child = os.fork()
            if child == 0:  # nothing but system calls: the threads and their locks are not here
                if forgets:
                    journal.forget_after_fork()
                os.write(ready[1], b".")
                os.read(go_on[0], 1)
                os._exit(0)
            os.read(ready[0], 1)
            self.assertTrue(journal.close(5))
            with files.adopted(path) as data:
                self.assertEqual(data is not None, forgets)
            os.write(go_on[1], b".")
            os.waitpid(child, 0)
            for end in (*ready, *go_on):
                os.close(end)
            path.unlink()

    def test_it_goes_on_after_being_closed(self) -> None:
        journal = self.open()
        self.turn(journal, 0)
        self.assertTrue(journal.close(5))
        self.turn(journal, 1)
        self.assertTrue(journal.flush(5))
        self.assertEqual([index for _, _, index in self.on_disk()], [0, 1])
