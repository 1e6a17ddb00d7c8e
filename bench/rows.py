"""A database as large as years of calls make it: filled by SQL, over the tables that the product's migrations made.

Columns that nothing is said of here, and that have no default of their own, get a neutral value of their type: what is
measured may grow columns without this module.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

BUSINESSES = 20
TURNS_OF_THE_LONG_CALL = 500
_CHUNK = 50_000  # calls in one transaction

_NEUTRAL = {
    "character varying": "''", "text": "''", "integer": "0", "smallint": "0", "bigint": "0", "boolean": "false",
    "jsonb": "'{}'", "timestamp with time zone": "now()",
}  # fmt: skip

# Half of all calls are those of one business, the others share the rest. A call a minute, the newest one is the last.
_CALL = {
    "id": "i",
    "call_sid": "'CA' || md5(i::text)",
    "account_sid": "'AC0123456789abcdef0123456789abcdef'",
    "stream_sid": "'MZ' || md5((-i)::text)",
    "business_id": "CASE WHEN i % 2 = 0 THEN 1 ELSE 2 + i / 2 % {others} END",
    "agent_version_id": "CASE WHEN i % 2 = 0 THEN 1 ELSE 2 + i / 2 % {others} END",
    "from_number": "'+1555' || lpad((i * 7919 % 300007)::text, 7, '0')",
    "to_number": "'+155501' || lpad((CASE WHEN i % 2 = 0 THEN 1 ELSE 2 + i / 2 % {others} END)::text, 5, '0')",
    "direction": "CASE WHEN i % 10 = 0 THEN 'outbound' ELSE 'inbound' END",
    "status": "CASE WHEN i > {calls} - 20 THEN 'in-progress' WHEN i % 50 = 0 THEN 'failed' WHEN i % 33 = 0 THEN "
    "'no-answer' ELSE 'completed' END",
    "ended_reason": "CASE WHEN i > {calls} - 20 THEN '' WHEN i % 50 = 0 THEN 'model_failed' WHEN i % 5 = 0 THEN "
    "'agent_ended' ELSE 'caller_hung_up' END",
    "started_at": "now() - ({calls} - i) * interval '1 minute'",
    "ended_at": "CASE WHEN i > {calls} - 20 THEN NULL ELSE now() - ({calls} - i) * interval '1 minute' "
    "+ interval '90 seconds' END",
    "created_at": "now() - ({calls} - i) * interval '1 minute'",
    "updated_at": "now() - ({calls} - i) * interval '1 minute'",
    "duration_seconds": "20 + i % 600",
    "expected_turns": "10",
    "cost": "0.0001 * (i % 900)",
    "is_complete": "i % 100 <> 7",
    "transcript": "(SELECT string_agg('Caller: ' || md5((i * t)::text) || ' I would like to move my appointment. "
    "Agent: Certainly, which day would suit you better?', chr(10)) FROM generate_series(1, 10) AS t)",
}
_TURN = {
    "id": "nextval(pg_get_serial_sequence('calls_conversationturn', 'id'))",
    "call_id": "i",
    "turn_index": "t",
    "user_text": "CASE WHEN t = 0 THEN '' ELSE 'I would like to move my appointment, number ' || i * t || '.' END",
    "bot_reply": "'Certainly. Which day would suit you better, the ' || t || ' of this month or a week later?'",
    "heard_text": "'Certainly. Which day would suit you better, the ' || t || ' of this month or a week later?'",
    "generated_ms": "4200",
    "heard_ms": "4200",
    "reply_ms": "400 + i % 700",
    "interrupted": "t % 7 = 3",
    "started_at": "now() - ({calls} - i) * interval '1 minute' + t * interval '8 seconds'",
    "ended_at": "now() - ({calls} - i) * interval '1 minute' + t * interval '8 seconds' + interval '7 seconds'",
    "created_at": "now() - ({calls} - i) * interval '1 minute' + t * interval '8 seconds'",
}


def fill(url: str, calls: int, turns_per_call: int) -> None:
    """Add businesses, calls and turns to a database that holds only what `businesses.demo` puts there (ids 1)."""
    with psycopg.connect(url, autocommit=True) as database:
        # Nothing here points anywhere wrong, and ten million looks would only take time.
        database.execute("SET session_replication_role = replica")
        database.execute("SET synchronous_commit = off")
        for number in range(2, BUSINESSES + 1):
            _copy(database, "businesses_business", number, {"name": f"'Business {number:02}'"})
            _copy(database, "businesses_agent", number, {"business_id": str(number), "*version_id": str(number)})
            _copy(database, "businesses_agentversion", number, {"agent_id": str(number)})
        words = {"calls": str(calls), "others": str(BUSINESSES - 1)}
        for first in range(1, calls + 1, _CHUNK):
            last = min(first + _CHUNK - 1, calls)
            _insert(database, "calls_calllog", _CALL, words, f"generate_series({first}::bigint, {last}) AS i")
            source = f"generate_series({first}::bigint, {last}) AS i, generate_series(0, {turns_per_call - 1}) AS t"
            _insert(database, "calls_conversationturn", _TURN, words, source)
        source = (
            f"(SELECT {calls}::bigint AS i) AS c, generate_series({turns_per_call}, {TURNS_OF_THE_LONG_CALL - 1}) AS t"
        )
        _insert(database, "calls_conversationturn", _TURN, words, source)
        for table in ("businesses_business", "businesses_agent", "businesses_agentversion", "calls_calllog"):
            database.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")  # noqa: S608 - our own names
        database.execute("VACUUM ANALYZE")


def count(url: str) -> tuple[int, int]:
    """Calls and turns."""
    with psycopg.connect(url) as database:
        row = database.execute(
            "SELECT (SELECT count(*) FROM calls_calllog), (SELECT count(*) FROM calls_conversationturn)"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _copy(database: psycopg.Connection, table: str, number: int, changes: Mapping[str, str]) -> None:
    """Add a row like number 1. A name that begins with * stands for every column that ends so."""
    values = []
    for name, *_ in _columns(database, table):
        fitting = (value for ending, value in changes.items() if name == ending or name.endswith(ending.lstrip("*")))
        values.append(str(number) if name == "id" else next(fitting, f'"{name}"'))
    query = f"INSERT INTO {table} SELECT {', '.join(values)} FROM {table} WHERE id = 1"  # noqa: S608 - our own names
    database.execute(sql.SQL(query))


def _insert(
    database: psycopg.Connection, table: str, columns: Mapping[str, str], words: Mapping[str, str], source: str
) -> None:
    values = dict(columns)
    for name, kind, is_nullable, has_default in _columns(database, table):
        if name not in values and not is_nullable and not has_default:
            values[name] = _NEUTRAL[kind]
    names = ", ".join(values)
    chosen = ", ".join(value.replace("'{}'", "'{{}}'").format(**words) for value in values.values())
    database.execute(sql.SQL(f"INSERT INTO {table} ({names}) SELECT {chosen} FROM {source}"))  # noqa: S608


def _columns(database: psycopg.Connection, table: str) -> list[tuple[str, str, bool, bool]]:
    """Name, type, whether it may be null, whether it has a default; in the table's order."""
    rows = database.execute(
        "SELECT column_name, data_type, is_nullable = 'YES', column_default IS NOT NULL OR is_identity = 'YES' "
        "FROM information_schema.columns WHERE table_name = %s AND table_schema = 'public' ORDER BY ordinal_position",
        (table,),
    )
    return [(str(name), str(kind), bool(nullable), bool(default)) for name, kind, nullable, default in rows]
