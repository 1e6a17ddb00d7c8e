"""Every fault, as data: how it begins, how it is healed, and what runs under it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from simulators.carrier.faults import Faults as Line
from tests.chaos.rig import Rig

Change = Callable[[Rig], None]


def nothing(rig: Rig) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Fault:
    """`begin` may take its time; then the fault holds for `hold` seconds, and `heal` ends it.

    `calls` live calls begin evenly over the fault, `turns` are handed to a recorder beside them. `line`: what the
    carrier does wrong. `kills`, `kills_recording`: a web process, or that of the facts load, is killed; what
    the ledgers say of the last moment before is not promised.
    """

    name: str
    begin: Change = nothing
    heal: Change = nothing
    hold: float = 15.0
    calls: int = 12
    turns: int = 1200
    webs: int = 1
    line: Line = field(default_factory=Line)
    status_events: tuple[str, ...] = ("initiated", "ringing", "answered", "completed")
    needs_postgres: bool = False
    needs_tmpfs: bool = False
    kills: bool = False
    kills_recording: bool = False
    may_turn_away: bool = False  # a call that comes in without a database is told so politely: no row is promised
    in_short: bool = False


def shortened(fault: Fault) -> Fault:
    """For the run of about five minutes."""
    return replace(fault, hold=min(fault.hold, 8.0), turns=fault.turns // 2)


def _kill_workers(rig: Rig) -> None:
    for _ in range(4):
        rig.kill_workers()
        time.sleep(3)


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
        time.sleep(3)


def _fill_redis(rig: Rig) -> None:
    with rig.redis_client() as client:
        client.config_set("maxmemory", "1mb")


def _free_redis(rig: Rig) -> None:
    with rig.redis_client() as client:
        client.config_set("maxmemory", "0")


def _both_down(rig: Rig) -> None:
    rig.redis_proxy.use("refuse")
    rig.postgres.proxy.use("refuse")


def _both_up(rig: Rig) -> None:
    rig.postgres.proxy.use("pass")
    rig.redis_proxy.use("pass")


def _disk_full(rig: Rig) -> None:
    rig.fill_disk()
    _both_down(rig)


def _disk_free(rig: Rig) -> None:
    _both_up(rig)
    rig.empty_disk()


def _kill_web(rig: Rig) -> None:
    time.sleep(4)
    rig.kill_web("web-1")


def _terminate_web(rig: Rig) -> None:
    """As a deploy does: out of the balancer, then asked to go, while another one serves."""
    time.sleep(4)
    rig.stop_web("web-1")


FAULTS = (
    Fault("none", hold=10),
    Fault("Redis refused", lambda rig: rig.redis_proxy.use("refuse"), lambda rig: rig.redis_proxy.use("pass")),
    Fault(
        "Redis hung",
        lambda rig: rig.signal_redis(signal.SIGSTOP),
        lambda rig: rig.signal_redis(signal.SIGCONT),
        in_short=True,
    ),
    Fault("Redis blackholed", lambda rig: rig.redis_proxy.use("blackhole"), lambda rig: rig.redis_proxy.use("pass")),
    Fault(
        "Redis connections reset",
        lambda rig: rig.redis_proxy.use("reset"),
        lambda rig: rig.redis_proxy.use("pass"),
    ),
    Fault(
        "Redis slow",
        lambda rig: rig.redis_proxy.use("delay"),
        lambda rig: rig.redis_proxy.use("pass"),
    ),
    Fault("Redis restarted", _restart_redis, hold=5),
    Fault("Redis flushed", _flush, hold=5, in_short=True),
    Fault("Redis full", _fill_redis, _free_redis),
    Fault("worker killed", _kill_workers, hold=5, in_short=True),
    Fault("workers away", Rig.stop_workers, Rig.start_workers, hold=20),
    Fault(
        "PostgreSQL stopped",
        lambda rig: rig.postgres.stop(),
        lambda rig: rig.postgres.start(),
        needs_postgres=True,
        may_turn_away=True,
        in_short=True,
    ),
    Fault(
        "PostgreSQL hung",
        lambda rig: rig.postgres.freeze(),
        lambda rig: rig.postgres.thaw(),
        needs_postgres=True,
        may_turn_away=True,
    ),
    Fault(
        "PostgreSQL blackholed",
        lambda rig: rig.postgres.proxy.use("blackhole"),
        lambda rig: rig.postgres.proxy.use("pass"),
        needs_postgres=True,
        may_turn_away=True,
    ),
    Fault(
        "PostgreSQL connections reset",
        lambda rig: rig.postgres.proxy.use("reset"),
        lambda rig: rig.postgres.proxy.use("pass"),
        needs_postgres=True,
        may_turn_away=True,
    ),
    Fault(
        "PostgreSQL read-only",
        lambda rig: rig.postgres.read_only(on=True),
        lambda rig: rig.postgres.read_only(on=False),
        needs_postgres=True,
        in_short=True,
    ),
    Fault("Redis and PostgreSQL down", _both_down, _both_up, needs_postgres=True, may_turn_away=True, in_short=True),
    Fault(
        "journal's disk full, Redis and PostgreSQL down",
        _disk_full,
        _disk_free,
        needs_postgres=True,
        needs_tmpfs=True,
        may_turn_away=True,
    ),
    Fault("web killed", _kill_web, hold=15, calls=20, webs=2, turns=0, kills=True, in_short=True),
    Fault("web asked to stop", _terminate_web, hold=15, calls=20, webs=2, turns=0),
    Fault("recording process killed", hold=8, calls=0, kills_recording=True),
    Fault("no stop event", hold=5, turns=0, line=Line(no_stop=True)),
    Fault("no status callback", hold=5, turns=0, line=Line(status_missing=True)),
    Fault(
        "status doubled and out of order, webhook twice at once",
        hold=5,
        turns=0,
        line=Line(status_duplicate=True, status_shuffle=True, duplicate_webhook=True),
        in_short=True,
    ),
)
