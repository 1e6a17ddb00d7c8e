"""One call, several media streams: how their turns are numbered, and what a row knows of each stream. Pure.

A call whose stream was lost, or was handed over, goes on in another stream, perhaps at another process that cannot know
how many turns were spoken before. So each stream numbers its turns in a block of its own: no process ever writes over
another one's turns, and turn_index still tells the order of the whole call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

TURNS_PER_STREAM = 10_000  # a stream lasts an hour at most: there is room for three turns in every second
MAX_COUNTERS = 64
MAX_RESUMPTIONS = 2  # then a person, or a sentence: whatever breaks the stream will break it again
MAX_TRANSFERS = 3  # of one call: so often it comes back to the agent from somebody who was not reached


def first_index(stream_number: int) -> int:
    """The turn_index of a stream's first turn. Streams are numbered from 0."""
    return stream_number * TURNS_PER_STREAM


def stream_of(turn_index: int) -> int:
    return turn_index // TURNS_PER_STREAM


def place_in_stream(turn_index: int) -> int:
    """How many turns of its stream come before this one."""
    return turn_index % TURNS_PER_STREAM


def counts(indices: Iterable[int]) -> dict[int, int]:
    """How many turns each stream must have had for these to exist: the last place and one."""
    found: dict[int, int] = {}
    for index in indices:
        stream = stream_of(index)
        found[stream] = max(found.get(stream, 0), place_in_stream(index) + 1)
    return found


def first_place(indices: Iterable[int], number: int) -> int | None:
    """Where the turns of a stream begin: 0, the greeting, or 1 where nobody was greeted; None: it has none."""
    return min((place_in_stream(index) for index in indices if stream_of(index) == number), default=None)


def has_no_gap(indices: Iterable[int], first_places: Mapping[int, int] | None = None) -> bool:
    """Whether each stream's turns follow one another from its first place, which is 0 where nothing else is said."""
    indices = list(indices)
    present = Counter(stream_of(index) for index in indices)
    wanted = {stream: count - (first_places or {}).get(stream, 0) for stream, count in counts(indices).items()}
    return len(set(indices)) == len(indices) and wanted == dict(present)


def reported(streams: Mapping[str, Mapping[str, Any]], number: int) -> Mapping[str, Any] | None:
    """What a stream said of itself when it ended; None when it has not (CallLog.streams has JSON's keys)."""
    return streams.get(str(number))


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """Two reports of one stream (services.finalize_call_log): the larger numbers, and the first word there was."""
    if old is None:
        return dict(new)
    numbers = {name: max(old[name], new[name]) for name in ("seconds", "interruptions")}
    words = {name: old.get(name) or new[name] for name in ("ended_reason", "model_session_id", "model")}
    # A report of the release before has neither of the two.
    counts = {name: _larger(old.get(name, {}), new[name]) for name in ("counters", "usage")}
    turns = max((count for count in (old["turns"], new["turns"]) if count is not None), default=None)
    first = min((place for place in (old.get("first"), new.get("first")) if place is not None), default=None)
    return {"turns": turns, "first": first, **numbers, **words, **counts}


def added(reports: Iterable[Mapping[str, Any]], name: str) -> dict[str, int]:
    """What all streams counted together, of "counters" or "usage"."""
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report.get(name, {}))
    return dict(total)


def bounded(counters: Mapping[str, int]) -> dict[str, int]:
    """At most MAX_COUNTERS of them, the same ones each time."""
    return {name: counters[name] for name in sorted(counters)[:MAX_COUNTERS]}


def _larger(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return bounded({name: max(one.get(name, 0), other.get(name, 0)) for name in {*one, *other}})
