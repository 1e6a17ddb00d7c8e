"""Every fault, as data: how it begins, how it is healed, and what runs under it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from simulators.carrier.faults import Faults as Line
from tests.chaos.rig import Rig
from tests.e2e.processes import wait_until

Change = Callable[[Rig], None]
OUTAGE_SECONDS = 60.0
SKEW_SECONDS = 300
STRIKE_SECONDS = 40.0  # for what has to be caught in the act; a killed worker needs five to be back


class DidNotStrike(Exception):
    """The fault was not brought about, so that what came out of it proves nothing."""


def nothing(rig: Rig) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Fault:
    """`begin` takes about `takes` seconds; then the fault holds for `hold` seconds, and `heal` ends it.

    `calls` live calls begin evenly over the fault, `turns` are handed to a recorder beside them. `line`: what the
    carrier does wrong. `kills`, `kills_recording`: a web process, or that of the facts load, is killed; what
    the ledgers say of the last moment before is not promised. `web_settings`: environment of the web processes.
    `own_clock`: whose clock can be shifted, that of web-1 or of a second worker.
    """

    name: str
    begin: Change = nothing
    heal: Change = nothing
    takes: float = 0.0
    hold: float = 15.0
    calls: int = 12
    turns: int = 1200
    webs: int = 1
    line: Line = field(default_factory=Line)
    web_settings: tuple[tuple[str, str], ...] = ()
    own_clock: str = ""
    needs_postgres: bool = False
    needs_tmpfs: bool = False
    kills: bool = False
    kills_recording: bool = False
    calls_first: bool = False  # all calls begin before the fault does
    may_turn_away: bool = False  # a call that comes in without a database is told so politely: no row is promised
    may_cut: str = ""  # why a call may be cut by it
    in_short: bool = False
    brief: bool = False


def shortened(fault: Fault) -> Fault:
    """For the run of about five minutes: shorter, with calls of one question."""
    return replace(fault, hold=min(fault.hold, 6.0), turns=fault.turns // 2, brief=True)


# --- Redis ---------------------------------------------------------------------------------------------------


def _restart_redis(rig: Rig) -> None:
    for _ in range(2):
        rig.redis.kill()
        time.sleep(2)
        rig.start_redis()
        time.sleep(3)


def _flush(rig: Rig) -> None:
    for _ in range(3):
        with rig.redis_client() as client:
            client.flushall()
        time.sleep(2)


def _fill_redis(rig: Rig) -> None:
    with rig.redis_client() as client:
        client.config_set("maxmemory", "1mb")


def _free_redis(rig: Rig) -> None:
    with rig.redis_client() as client:
        client.config_set("maxmemory", "0")


# --- Workers -------------------------------------------------------------------------------------------------


def _kill_worker(rig: Rig) -> None:
    for _ in range(3):
        rig.kill_worker()
        time.sleep(3)


def _in_a_task(rig: Rig, strike: Change, times: int) -> None:
    """Strike while a task of the worker waits for the database, and cannot be elsewhere."""
    for _ in range(times):
        with rig.postgres.locked():
            wait_for(lambda: rig.postgres.is_waiting("worker"), "a task waits for the locked table")
            strike(rig)
        time.sleep(1)


def _kill_pool(rig: Rig) -> None:
    if not rig.kill_pool():
        raise DidNotStrike("the worker has no children")


def _kill_before_bookkeeping(rig: Rig) -> None:
    """kombu takes a message with BRPOP, and writes afterwards that it is not acknowledged."""
    for _ in range(4):
        proxy = rig.redis_proxies["worker"]
        proxy.trap(b"HSET", b"unacked")
        try:
            wait_for(proxy.trapped.is_set, "a message is taken and not yet written down")
            rig.kill_worker()
        finally:
            proxy.release()


def _kill_holding_locks(rig: Rig) -> None:
    """Once with kombu's lock for giving messages back, which it takes when it starts; once with the reaper's."""
    proxy = rig.redis_proxies["worker"]
    proxy.trap(b"unacked_mutex", b"NX", let_through=True)
    try:
        rig.kill_worker()
        wait_for(proxy.trapped.is_set, "a starting worker takes kombu's lock")
        rig.kill_worker()
    finally:
        proxy.release()
    with rig.redis_client() as client:
        if not client.exists("unacked_mutex"):
            raise DidNotStrike("kombu's lock died with its holder")
    with rig.postgres.locked("calls_suspectcall"):  # which nothing but a sweep needs
        wait_for(rig.postgres.sweep_is_alone, "a sweep holds its lock")
        rig.kill_worker()


def _over_the_limit(rig: Rig) -> None:
    """Only the worker's connections: its tasks wait for longer than their soft limit of 20 s."""
    log = rig.keeper.children["worker"].log
    before = log.stat().st_size
    rig.postgres.proxies["worker"].use("blackhole")
    wait_for(lambda: "Soft time limit" in log.read_text()[before:], "a task is over its soft limit")


def _locked(rig: Rig) -> None:
    with rig.postgres.locked():
        time.sleep(OUTAGE_SECONDS - 20)


def wait_for(condition: Callable[[], object], what: str) -> None:
    try:
        wait_until(condition, STRIKE_SECONDS, what)
    except AssertionError as error:
        raise DidNotStrike(str(error)) from None


# --- PostgreSQL and the disk ---------------------------------------------------------------------------------


def _both_down(rig: Rig) -> None:
    rig.use_redis("refuse")
    rig.postgres.use("refuse")


def _both_up(rig: Rig) -> None:
    rig.postgres.use("pass")
    rig.use_redis("pass")


def _disk_full(rig: Rig) -> None:
    rig.fill_disk()
    _both_down(rig)


def _disk_free(rig: Rig) -> None:
    _both_up(rig)
    rig.empty_disk()


# --- Web processes -------------------------------------------------------------------------------------------


def _kill_web(rig: Rig) -> None:
    rig.kill_web("web-1")


def _terminate_web(rig: Rig) -> None:
    """As a deploy does: out of the balancer, then asked to go, while another one serves."""
    if code := rig.stop_web("web-1"):
        raise DidNotStrike(f"the web process left with {code}")


# --- Clocks --------------------------------------------------------------------------------------------------


def _ahead(rig: Rig) -> None:
    rig.set_clock(SKEW_SECONDS)


def _behind(rig: Rig) -> None:
    rig.set_clock(-SKEW_SECONDS)


def _right(rig: Rig) -> None:
    rig.set_clock(0)


FAULTS = (
    Fault("none", hold=10),
    Fault("Redis refused", lambda rig: rig.use_redis("refuse"), lambda rig: rig.use_redis("pass")),
    Fault(
        "Redis hung",
        lambda rig: rig.signal_redis(signal.SIGSTOP),
        lambda rig: rig.signal_redis(signal.SIGCONT),
        in_short=True,
    ),
    Fault("Redis blackholed", lambda rig: rig.use_redis("blackhole"), lambda rig: rig.use_redis("pass")),
    Fault("Redis connections reset", lambda rig: rig.use_redis("reset"), lambda rig: rig.use_redis("pass")),
    Fault("Redis slow", lambda rig: rig.use_redis("delay"), lambda rig: rig.use_redis("pass")),
    Fault("Redis restarted", _restart_redis, takes=10, hold=5),
    Fault("Redis flushed", _flush, takes=6, hold=4, in_short=True),
    Fault("Redis full", _fill_redis, _free_redis),
    Fault("worker killed", _kill_worker, takes=9, hold=5),
    Fault(
        "worker's children killed in a task",
        lambda rig: _in_a_task(rig, _kill_pool, 4),
        takes=10,
        hold=5,
        needs_postgres=True,
        may_turn_away=True,
    ),
    Fault(
        "worker killed in a task",
        lambda rig: _in_a_task(rig, Rig.kill_worker, 2),
        takes=10,
        hold=5,
        needs_postgres=True,
        may_turn_away=True,
        in_short=True,
    ),
    Fault("worker killed between fetch and bookkeeping", _kill_before_bookkeeping, takes=25, hold=5),
    Fault(
        "worker killed holding the sweeps' locks",
        _kill_holding_locks,
        takes=25,
        hold=5,
        needs_postgres=True,
        may_turn_away=True,
    ),
    Fault(
        "tasks over their time limit",
        _over_the_limit,
        lambda rig: rig.postgres.proxies["worker"].use("pass"),
        takes=22,
        hold=23,
        needs_postgres=True,
    ),
    Fault("workers away, 200 calls beside", Rig.stop_worker, Rig.start_worker, hold=30, turns=2000),
    Fault(
        "PostgreSQL stopped",
        lambda rig: rig.postgres.stop(),
        lambda rig: rig.postgres.start(),
        hold=OUTAGE_SECONDS,
        needs_postgres=True,
        may_turn_away=True,
    ),
    Fault(
        "PostgreSQL hung",
        lambda rig: rig.postgres.freeze(),
        lambda rig: rig.postgres.thaw(),
        hold=OUTAGE_SECONDS,
        needs_postgres=True,
        may_turn_away=True,
    ),
    Fault(
        "PostgreSQL blackholed",
        lambda rig: rig.postgres.use("blackhole"),
        lambda rig: rig.postgres.use("pass"),
        needs_postgres=True,
        may_turn_away=True,
    ),
    Fault(
        "PostgreSQL connections reset",
        lambda rig: rig.postgres.use("reset"),
        lambda rig: rig.postgres.use("pass"),
        needs_postgres=True,
        may_turn_away=True,
    ),
    Fault(
        "PostgreSQL read-only",
        lambda rig: rig.postgres.read_only(on=True),
        lambda rig: rig.postgres.read_only(on=False),
        hold=OUTAGE_SECONDS,
        needs_postgres=True,
        in_short=True,
    ),
    Fault("tables of calls locked by another", _locked, takes=40, hold=3, needs_postgres=True, may_turn_away=True),
    Fault("Redis and PostgreSQL down", _both_down, _both_up, needs_postgres=True, may_turn_away=True, in_short=True),
    Fault(
        "journal's disk full, Redis and PostgreSQL down",
        _disk_full,
        _disk_free,
        needs_postgres=True,
        needs_tmpfs=True,
        may_turn_away=True,
    ),
    Fault("web killed", _kill_web, hold=15, calls=20, webs=2, turns=0, kills=True, calls_first=True, in_short=True),
    Fault(
        "web asked to stop",
        _terminate_web,
        takes=15,
        hold=5,
        calls=20,
        webs=2,
        turns=0,
        calls_first=True,
    ),
    Fault(
        "web asked to stop, calls handed over",
        _terminate_web,
        takes=10,
        hold=5,
        calls=20,
        webs=2,
        turns=0,
        calls_first=True,
        web_settings=(("DRAIN_SECONDS", "1"),),
        in_short=True,
    ),
    Fault("recording process killed", hold=8, calls=0, kills_recording=True),
    Fault("no stop event", hold=5, turns=0, line=Line(no_stop=True)),
    Fault("no status callback", hold=5, turns=0, line=Line(status_missing=True)),
    Fault(
        "no stop event, no status callback, dropped sockets",
        hold=5,
        turns=0,
        line=Line(no_stop=True, status_missing=True, drop_at_ms=7000),
        may_cut="each of a call's three streams is dropped",
    ),
    Fault(
        "status doubled and out of order, webhook twice at once",
        hold=5,
        turns=0,
        line=Line(status_duplicate=True, status_shuffle=True, duplicate_webhook=True),
        in_short=True,
    ),
    Fault("clock of one worker 5 minutes ahead", _ahead, _right, own_clock="worker-2"),
    Fault("clock of one worker 5 minutes behind", _behind, _right, own_clock="worker-2"),
    Fault("clock of one web process 5 minutes ahead", _ahead, _right, webs=2, own_clock="web-1"),
)
