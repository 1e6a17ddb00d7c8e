"""The files of the journal: one for each call and process, locked by the process as long as it lives.

The lock (flock) belongs to the open file: the kernel lets go of it when its process dies, however it dies. So a file
whose lock can be had has no owner any more. Only its owner, or whoever holds its lock, may delete it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from calls.journal.records import Piece

SUFFIX = ".journal"
QUARANTINE = "quarantine"
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,64}")


_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has none


@dataclass(frozen=True, slots=True)
class Disk:
    """The calls that may fail or hang, so that a test can make them."""

    write: Callable[[int, bytes], int] = os.write
    sync: Callable[[int], None] = _fdatasync


def prepare(directory: Path) -> None:
    """Make the directory, for this user only. Raise OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)


def paths(directory: Path) -> list[Path]:
    """The journal files, the oldest name first; none when there is no directory."""
    try:
        with os.scandir(directory) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


def used_bytes(directory: Path) -> int:
    """The size of all journal files, of every process. Raise OSError."""
    used = 0
    for path in paths(directory):
        with contextlib.suppress(FileNotFoundError):  # its owner has just deleted it
            used += path.stat().st_size
    return used


def name_for(call_sid: str) -> str:
    """The CallSid, or a digest of what does not look like one: it came from outside, and becomes a file's name."""
    if _SAFE.fullmatch(call_sid):
        return call_sid
    return "x" + hashlib.sha256(call_sid.encode("utf-8", "replace")).hexdigest()[:32]


class OwnFile:
    """A file of this process, open and locked. Used by one thread."""

    def __init__(self, directory: Path, call_sid: str, boot_id: str, disk: Disk) -> None:
        """Make it. Raise OSError."""
        self._disk = disk
        self.size = 0
        for number in range(1000):
            self.path = directory / f"{name_for(call_sid)}.{boot_id}.{number}{SUFFIX}"
            try:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            except FileExistsError:
                continue
            if self._is_ours():
                break
            os.close(self._descriptor)
        else:
            raise FileExistsError("too many journal files of one call")
        try:
            sync_directory(directory)
        except OSError:
            self.delete()
            raise

    def _is_ours(self) -> bool:
        """Whether no replayer came between making the file and locking it, and took it for a dead process's."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return os.fstat(self._descriptor).st_nlink > 0

    def write(self, data: bytes) -> None:
        """Append, without waiting for the disk. Raise OSError; then nothing of it is in the file."""
        try:
            left = memoryview(data)
            while left:
                left = left[self._disk.write(self._descriptor, bytes(left)) :]
        except OSError:
            self.roll_back()
            raise

    def sync(self, size: int) -> None:
        """Wait until the file, of now `size` bytes, is on the disk. Raise OSError; then it is as it was before.

        After a failure the kernel may have dropped the pages and call them clean: only writing them again makes a
        later success true.
        """
        try:
            self._disk.sync(self._descriptor)
        except OSError:
            self.roll_back()
            raise
        self.size = size

    def roll_back(self) -> None:
        # If even this fails the reader passes over the torn record.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self.size)

    def delete(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)


@contextmanager
def adopted(path: Path) -> Iterator[bytes | None]:
    """The contents of a file whose owner is dead, locked until the end of the block; None while somebody holds it, or
    when it is gone. Raise OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        yield _read(descriptor) if _lock(descriptor, path) else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another replayer may have finished with it, and deleted it, between opening and locking.
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _read(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()


def quarantine(path: Path, piece: Piece) -> None:
    """Keep a piece that cannot be used, for a person; under the same name however often it is met. Raise OSError."""
    directory = path.parent / QUARANTINE
    prepare(directory)
    target = directory / f"{path.stem}-{piece.offset}.bad"
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(piece.data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Wait until the names of new files are on the disk too. Raise OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
