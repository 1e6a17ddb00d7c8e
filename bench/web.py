"""`python -m bench.web`: how long the server takes for the pages of calls, over a million calls and ten million turns.

On PostgreSQL, in a database of its own that is filled first and dropped at the end (minutes, and about 8 GB on its
disk). Timed is a real server process over HTTP, one request at a time on a kept connection, from sending the request
to the last byte of the answer: the server's time, and what loopback and this client add to it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import quote

import psycopg

from bench import rows
from bench.browser import Browser
from bench.figures import circumstances, percentile, put_on_page, table
from bench.system import PUBLIC_URL, REPOSITORY, System, Web

LIMIT_MS = 200.0
LIST = "/admin/calls/calllog/"
RESULTS = REPOSITORY / "bench" / "results" / "web.json"
PAGE = REPOSITORY / "docs" / "performance.md"
SUPERUSER, MEMBER = "superuser", "member of one business"


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds, after one request that is not counted. `cpu`: of the web process, the mean of one request."""

    who: str
    what: str
    path: str
    p50: float
    p95: float
    worst: float
    cpu: float
    kilobytes: float


@dataclass(slots=True)
class _Asked:
    """A page that is asked for again and again."""

    who: str
    what: str
    path: str
    browser: Browser
    size: int = 0
    times: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def result(self) -> Timed:
        return Timed(
            self.who,
            self.what,
            self.path,
            p50=round(median(self.times), 1),
            p95=round(percentile(self.times, 0.95), 1),
            worst=round(max(self.times), 1),
            cpu=round(self.cpu_seconds * 1000 / len(self.times), 1),
            kilobytes=round(self.size / 1000, 1),
        )


def main() -> int:
    arguments = _arguments()
    _make(arguments.server, arguments.name)
    url = f"{arguments.server}/{arguments.name}"
    try:
        with System({"DATABASE_URL": url, "LOG_LEVEL": "WARNING"}) as system:
            if rows.count(url)[0] == 0:
                print(f"Filling {arguments.name} ...", flush=True)
                rows.fill(url, arguments.calls, arguments.turns)
            password = _add_users(url)
            with system.web(model_port=9) as web:  # nobody calls here: there is no model
                timed = _measure(web, password, arguments)
            about = _about(url)
    finally:
        if not arguments.keep:
            _drop(arguments.server, arguments.name)
    print(f"\n{_report(timed, about, arguments.repeat)}")
    if arguments.results:
        _write(RESULTS, timed, about, arguments.repeat)
        put_on_page(PAGE, "pages", _report(timed, about, arguments.repeat))
    slow = [page for page in timed if page.p95 > LIMIT_MS]
    for page in slow:
        print(
            f"Not good: {page.what} ({page.who}): {page.p95:.0f} ms at the 95th percentile (limit {LIMIT_MS:g} ms).",
            file=sys.stderr,
        )
    return 1 if slow else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.web", description=__doc__)
    parser.add_argument("--server", default="postgres://postgres@127.0.0.1:5432", help="default: %(default)s")
    parser.add_argument("--name", default="bench_pages", help="of the database; default: %(default)s")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=10, help="of each call; the newest call has 500")
    parser.add_argument("--repeat", type=int, default=20, help="requests of each page (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="the filled database, for another run")
    parser.add_argument("--results", action="store_true", help=f"write {RESULTS.name} and {PAGE.name}")
    return parser.parse_args()


def _make(server: str, name: str) -> None:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as database:
        if not database.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            database.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))


def _drop(server: str, name: str) -> None:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as database:
        database.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name)))


def _add_users(url: str) -> str:
    """A superuser and a member of business 1, by these names; return their password."""
    password, salt = secrets.token_urlsafe(16), secrets.token_hex(8)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 1000)
    stored = f"pbkdf2_sha256$1000${salt}${base64.b64encode(digest).decode()}"
    with psycopg.connect(url) as database:
        database.execute("TRUNCATE auth_user CASCADE")
        for name, is_superuser in (("superuser", True), ("member", False)):
            database.execute(
                "INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, last_name, "
                "email, date_joined) VALUES (%s, %s, %s, true, true, '', '', '', now())",
                (name, stored, is_superuser),
            )
        database.execute(
            "INSERT INTO auth_user_groups (user_id, group_id) SELECT u.id, g.id FROM auth_user u, auth_group g "
            "WHERE u.username = 'member' AND g.name = 'Operators'"
        )
        database.execute(
            "INSERT INTO businesses_membership (user_id, business_id) SELECT id, 1 FROM auth_user "
            "WHERE username = 'member'"
        )
    return password


def _measure(web: Web, password: str, arguments: argparse.Namespace) -> list[Timed]:
    """Round after round over all pages, so that what else the machine does in a moment is not one page's alone."""
    asked = []
    for who, name in ((SUPERUSER, "superuser"), (MEMBER, "member")):
        browser = Browser(web.account.port, PUBLIC_URL)
        browser.log_in(name, password)
        asked += [_Asked(who, what, path, browser) for what, path in _pages(browser, who, arguments.calls)]
    for page in asked:
        page.size = len(page.browser.get(page.path))
    for number in range(arguments.repeat):
        for page in asked:
            before = web.cpu_seconds()
            page.times.append(page.browser.timed(page.path))
            page.cpu_seconds += web.cpu_seconds() - before
        print(f"round {number + 1} of {arguments.repeat}", flush=True)
    return [page.result() for page in asked]


def _pages(browser: Browser, who: str, calls: int) -> list[tuple[str, str]]:
    last = max((int(number) for number in re.findall(r"[?&;]p=(\d+)", browser.get(LIST))), default=1)
    sid = "CA" + hashlib.md5(str(calls // 2).encode(), usedforsecurity=False).hexdigest()
    number = f"+1555{calls // 2 * 7919 % 300007:07}"
    year_ago = datetime.now(UTC) - timedelta(days=365)
    queries = [
        ("first page", ""),
        ("page 2", "p=2"),
        (f"last page that can be reached ({last:,})", f"p={last}"),
        ("status failed", "status__exact=failed"),
        ("status busy (none is)", "status__exact=busy"),
        ("in progress", "status__exact=in-progress"),
        ("last 24 hours", "when=day"),
        ("last 30 days", "when=month"),
        ("before a year ago", f"until={quote(year_ago.isoformat())}"),
        ("outbound", "direction__exact=outbound"),
        ("agent ended the call", "ended_reason__exact=agent_ended"),
        ("forwarded (none is)", "ended_reason__exact=transferred"),
        ("failed, last 30 days", "status__exact=failed&when=month"),
        ("search: a number", f"q={quote(number)}"),
        ("search: the beginning of all numbers", "q=1555"),
        ("search: the beginning of one number in thirty", "q=15550001"),
        ("search: a CallSid", f"q={sid}"),
        ("search: nothing is found", "q=%2B4999"),
        ("the oldest first", "o=0"),
    ]
    if who == SUPERUSER:
        queries += [
            ("business with half of all calls", "business=1"),
            ("business with a fortieth", "business=7"),
            ("that, status failed", "business=7&status__exact=failed"),
            ("that, outbound (none is)", "business=7&direction__exact=outbound"),
            ("agent with half of all calls", "agent=1"),
            ("agent with a fortieth", "agent=7"),
        ]
    pages = [(what, f"{LIST}?{query}" if query else LIST) for what, query in queries]
    # The newest call is of business 1 and has 500 turns, the one before it but one the usual number.
    return [
        *pages,
        (f"a call with {rows.TURNS_OF_THE_LONG_CALL} turns", f"{LIST}{calls}/change/"),
        ("a usual call", f"{LIST}{calls - 2}/change/"),
    ]


def _about(url: str) -> str:
    calls, turns = rows.count(url)
    with psycopg.connect(url) as database:
        version = database.info.server_version
        size = database.execute("SELECT pg_database_size(current_database()) / 1000000000.0").fetchone()
    assert size is not None
    database_is = (
        f"{calls:,} calls and {turns:,} turns ({size[0]:.1f} GB) in PostgreSQL {version // 10000}.{version % 10000}"
    )
    return f"{database_is}, load average {os.getloadavg()[0]:.1f}, {circumstances()}"


def _report(timed: Sequence[Timed], about: str, repeat: int) -> str:
    head = ("Page", "Seen by", "p50 ms", "p95 ms", "max ms", "CPU ms of web", "kB")
    lines = [
        [
            page.what,
            page.who,
            f"{page.p50:.0f}",
            f"{page.p95:.0f}",
            f"{page.worst:.0f}",
            f"{page.cpu:.0f}",
            f"{page.kilobytes:.0f}",
        ]
        for page in timed
    ]
    return (
        f"`python -m bench.web`, {about}\n\n"
        + table(head, lines)
        + f"\n{repeat} requests of each page, one at a time and by turns, after one that is not counted.\n"
    )


def _write(path: Path, timed: Sequence[Timed], about: str, repeat: int) -> None:
    found = {
        "command": "python -m bench.web",
        "about": about,
        "requests": repeat,
        "limit_ms": LIMIT_MS,
        "pages": [asdict(page) for page in timed],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
