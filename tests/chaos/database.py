"""The database of a run: an own PostgreSQL cluster where its programs are installed, else an SQLite file."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.judge import CallRow, TurnRow
from tests.chaos.proxy import Mode, Proxy
from tests.e2e.processes import Child, free_port, wait_until

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
CLUSTER = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
shared_buffers = 64MB
"""


class Postgres:
    """`direct_url` is for the judge, `url` goes through the proxy and is the product's."""

    name = "PostgreSQL"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = directory / "postgres"
        self._data.mkdir()
        self._as_user = _as_postgres()
        if self._as_user:
            shutil.chown(self._data, "postgres")
            directory.chmod(0o711)  # its user has to reach the folder
        initdb = [
            *self._as_user,
            str(PROGRAMS / "initdb"),
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
        ]
        subprocess.run([*initdb, "UTF8", "--no-sync"], check=True, stdout=subprocess.DEVNULL)
        self.port = free_port()
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{CLUSTER}port = {self.port}\n")
        self.start()
        with psycopg.connect(f"postgres://postgres@127.0.0.1:{self.port}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE chaos")
        self.direct_url = f"postgres://postgres@127.0.0.1:{self.port}/chaos"
        self.proxies = {name: Proxy(self.port) for name in ("web", "worker")}
        self.url = self._url("web")
        self.worker_url = self._url("worker")

    def _url(self, whose: str) -> str:
        address = f"127.0.0.1:{self.proxies[whose].port}"
        return f"postgres://postgres:@{address}/chaos?application_name={whose}"

    def use(self, mode: Mode) -> None:
        for proxy in self.proxies.values():
            proxy.use(mode)

    def start(self) -> None:
        command = [*self._as_user, str(PROGRAMS / "postgres"), "-D", str(self._data)]
        self.server = Child("postgres", command, {}, self._directory)
        wait_until(self._answers, 30, "PostgreSQL answers")

    def stop(self) -> None:
        """A fast shutdown: every session is ended."""
        self.server.process.send_signal(signal.SIGINT)
        self.server.process.wait(30)

    def freeze(self) -> None:
        """Every process of the cluster: each session is one, with a process group of its own."""
        os.kill(self.server.process.pid, signal.SIGSTOP)
        for pid in children(self.server.process.pid):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in (*children(self.server.process.pid), self.server.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def read_only(self, *, on: bool) -> None:
        with psycopg.connect(self.direct_url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
            connection.execute("SELECT pg_reload_conf()")

    @contextlib.contextmanager
    def locked(self, tables: str = "calls_calllog, calls_conversationturn") -> Iterator[None]:
        """Another session holds these tables."""
        with psycopg.connect(self.direct_url) as connection:
            connection.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    def is_waiting(self, whose: str) -> bool:
        """Whether somebody of that name waits for another session's lock."""
        asked = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock' LIMIT 1"
        return bool(self.query(asked, [whose]))

    def sweep_is_alone(self) -> bool:
        """Whether a sweep holds its lock."""
        return bool(self.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted LIMIT 1"))

    def close(self) -> None:
        for proxy in self.proxies.values():
            proxy.close()
        if self.server.is_alive():
            self.thaw()
            self.stop()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.direct_url, connect_timeout=3, autocommit=True) as connection:
            return connection.execute(sql, parameters).fetchall()

    def _answers(self) -> bool:
        try:
            with psycopg.connect(f"postgres://postgres@127.0.0.1:{self.port}/postgres", connect_timeout=2):
                return True
        except psycopg.Error:
            return False


class Sqlite:
    """Without PostgreSQL's programs: the same records, without the database's faults."""

    name = "SQLite"

    def __init__(self, directory: Path) -> None:
        self._path = directory / "chaos.sqlite3"
        self.url = self.worker_url = self.direct_url = f"sqlite:///{self._path}"

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=10)) as connection:
            return connection.execute(sql.replace("%s", "?"), parameters).fetchall()

    def close(self) -> None:
        pass


Database = Postgres | Sqlite


def open_database(directory: Path) -> Database:
    return Postgres(directory) if (PROGRAMS / "initdb").exists() and _may_run() else Sqlite(directory)


def rows(database: Database, call_sids: Sequence[str], *, obvious: bool = False) -> list[CallRow]:
    """The calls with these ids, as they are now."""
    found: list[CallRow] = []
    for start in range(0, len(call_sids), 400):
        found += (
            _obvious(database, call_sids[start : start + 400]) if obvious else _rows(database, call_sids[start:][:400])
        )
    return found


def _rows(database: Database, call_sids: Sequence[str]) -> list[CallRow]:
    marks = ",".join(["%s"] * len(call_sids))
    calls = database.query(
        "SELECT id, call_sid, business_id, status, is_complete, transcript FROM calls_calllog "
        f"WHERE call_sid IN ({marks})",
        call_sids,
    )
    turns = database.query(
        "SELECT call_id, turn_index, user_text, bot_reply, heard_text, interrupted FROM calls_conversationturn "
        "WHERE call_id IN "
        f"(SELECT id FROM calls_calllog WHERE call_sid IN ({marks})) ORDER BY turn_index",
        call_sids,
    )
    of_call: dict[int, list[TurnRow]] = {}
    for call_id, *turn in turns:
        of_call.setdefault(call_id, []).append(TurnRow(*turn))
    return [
        CallRow(sid, business, status, bool(complete), transcript, tuple(of_call.get(key, ())))
        for key, sid, business, status, complete, transcript in calls
    ]


def _obvious(database: Database, call_sids: Sequence[str]) -> list[CallRow]:
    """The tables of tests/chaos/obvious.py; in the order of turn_index."""
    marks = ",".join(["%s"] * len(call_sids))
    calls = database.query(
        f"SELECT call_sid, business_id, status, transcript FROM obvious_call WHERE call_sid IN ({marks})", call_sids
    )
    turns = database.query(
        "SELECT call_sid, turn_index, user_text, bot_reply FROM obvious_turn "
        f"WHERE call_sid IN ({marks}) ORDER BY turn_index, id",
        call_sids,
    )
    of_call: dict[str, list[TurnRow]] = {}
    for sid, *turn in turns:
        of_call.setdefault(sid, []).append(TurnRow(*turn))
    return [
        CallRow(sid, business, status, status == "completed", transcript or "", tuple(of_call.get(sid, ())))
        for sid, business, status, transcript in calls
    ]


def _may_run() -> bool:
    return os.getuid() != 0 or shutil.which("setpriv") is not None


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root. Its death with this process is asked for where its user is changed."""
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig", "TERM"]


def children(pid: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                yield int(path.parent.name)
