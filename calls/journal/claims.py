"""What the database has to show before a call's journal may go. Pure.

A claim is made of the facts of one call as they are journaled, without anything that was said. It compares with what
the database knows; a fact too odd to compare makes it `odd`, and then only writing the facts again can settle it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calls import legs, recordings, streams, tool_uses
from calls.journal import kinds

# A row has to have something in these when the fact had.
_IDENTITY = ("from_number", "to_number", "stream_sid", "account_sid", "agent_version_id", "recording_consent")
_END = ("recording_url", "model_session_id")

_RANKS = {"queued": 0, "initiated": 1, "ringing": 2, "in-progress": 3}
_TERMINAL = 4


@dataclass(slots=True)
class Known:
    """What the database has of one call. `filled`: the columns that are not empty. `is_guess`: the status is the
    reaper's guess. `is_reaped`: how the call ended is the reaper's word, its own end has not come."""

    business_id: int
    status: str
    direction: str
    filled: frozenset[str]
    carrier_duration_seconds: int | None
    interruptions: int
    owner_boot_id: str = ""
    is_guess: bool = False
    is_reaped: bool = False
    last_stream: int = 0
    streams: dict[int, int] = field(default_factory=dict)  # turns of each stream that has ended; -1: not told
    revisions: dict[int, int] = field(default_factory=dict)  # by turn_index
    tool_ranks: dict[str, int] = field(default_factory=dict)  # tool_uses.RANKS of its state, by tool_call_id
    messages: set[str] = field(default_factory=set)  # their keys
    recording_ranks: dict[str, int] = field(default_factory=dict)  # recordings.RANKS of its state, by recording_sid
    leg_ranks: dict[str, int] = field(default_factory=dict)  # legs.RANKS of its state, by its key


@dataclass(slots=True)
class Claim:
    finalized: bool = False
    odd: bool = False
    business_ids: set[int] = field(default_factory=set)
    rank: int = -1
    outbound: bool = False
    filled: set[str] = field(default_factory=set)
    revisions: dict[int, int] = field(default_factory=dict)
    streams: dict[int, int] = field(default_factory=dict)  # as in Known
    carrier_duration_seconds: int = -1
    interruptions: int = 0
    owner_boot_id: str = ""
    last_stream: int = 0
    tool_ranks: dict[str, int] = field(default_factory=dict)  # as in Known
    messages: set[str] = field(default_factory=set)
    recording_ranks: dict[str, int] = field(default_factory=dict)
    leg_ranks: dict[str, int] = field(default_factory=dict)  # as in Known

    def add(self, kind: str, arguments: Mapping[str, Any]) -> None:
        if kind == kinds.FINALIZE:
            self.finalized = True
        try:
            self.business_ids.add(arguments["business_id"])
            if kind == kinds.TURN:
                self._turn(arguments)
            elif kind == kinds.TOOL_USE:
                self._tool_use(arguments)
            elif kind == kinds.MESSAGE:
                self.messages.add(arguments["key"])
            elif kind == kinds.RECORDING:
                self._recording(arguments)
            elif kind == kinds.LEG:
                key, rank = arguments["key"], legs.RANKS[arguments["state"]]
                self.leg_ranks[key] = max(rank, self.leg_ranks.get(key, -1))
            else:
                self.rank = max(self.rank, _RANKS.get(arguments["status"], _TERMINAL))
                self._call(kind, arguments)
        except (KeyError, TypeError, ValueError, AttributeError):
            self.odd = True

    @property
    def is_over(self) -> bool:
        """By its own end or by the carrier's word, which is all that the process with the webhooks hears of it."""
        return self.finalized or self.rank >= _TERMINAL

    def copy(self) -> Claim:
        return Claim(
            self.finalized,
            self.odd,
            set(self.business_ids),
            self.rank,
            self.outbound,
            set(self.filled),
            dict(self.revisions),
            dict(self.streams),
            self.carrier_duration_seconds,
            self.interruptions,
            self.owner_boot_id,
            self.last_stream,
            dict(self.tool_ranks),
            set(self.messages),
            dict(self.recording_ranks),
            dict(self.leg_ranks),
        )

    def holds(self, known: Known | None) -> bool:
        """Whether the database shows all of it."""
        if known is None or self.odd:
            return False
        # The reaper's guess is no call's fact: a true end makes it go.
        rank = _TERMINAL - 1 if known.is_guess else _RANKS.get(known.status, _TERMINAL)
        return (
            self.business_ids <= {known.business_id}
            and rank >= self.rank
            and not (known.is_reaped and self._has_end(known))
            and self._owner_is_told(known)
            and known.last_stream >= self.last_stream
            and (known.direction == "outbound" or not self.outbound)
            and self.filled <= known.filled
            and all(known.streams.get(number, -2) >= turns for number, turns in self.streams.items())
            and (-1 if known.carrier_duration_seconds is None else known.carrier_duration_seconds)
            >= self.carrier_duration_seconds
            and known.interruptions >= self.interruptions
            and all(known.revisions.get(index, -1) >= revision for index, revision in self.revisions.items())
            and all(known.tool_ranks.get(key, -1) >= rank for key, rank in self.tool_ranks.items())
            and self.messages <= known.messages
            and all(known.recording_ranks.get(sid, -1) >= rank for sid, rank in self.recording_ranks.items())
            and all(known.leg_ranks.get(key, -1) >= rank for key, rank in self.leg_ranks.items())
        )

    def _has_end(self, known: Known) -> bool:
        """Whether the end of the call, as the call itself tells it, is to be shown."""
        return any(number >= known.last_stream for number in self.streams)

    def _owner_is_told(self, known: Known) -> bool:
        """Whether the row has had this owner: once its stream has ended, or there is a later one, it is gone again."""
        passed = known.last_stream > self.last_stream or self.last_stream in known.streams
        return passed or self.owner_boot_id in ("", known.owner_boot_id)

    def _turn(self, turn: Mapping[str, Any]) -> None:
        index, revision = int(turn["turn_index"]), int(turn.get("revision", 0))
        self.revisions[index] = max(revision, self.revisions.get(index, 0))

    def _tool_use(self, use: Mapping[str, Any]) -> None:
        key, rank = use["tool_call_id"], tool_uses.RANKS[use.get("state", "started")]
        self.tool_ranks[key] = max(rank, self.tool_ranks.get(key, -1))

    def _recording(self, recording: Mapping[str, Any]) -> None:
        sid, rank = recording["recording_sid"], recordings.RANKS[recording["state"]]
        self.recording_ranks[sid] = max(rank, self.recording_ranks.get(sid, -1))

    def _call(self, kind: str, arguments: Mapping[str, Any]) -> None:
        if kind == kinds.CREATE:
            self.filled.update(name for name in _IDENTITY if arguments.get(name))
            self.owner_boot_id = str(arguments.get("owner_boot_id", "")) or self.owner_boot_id
            self.last_stream = max(self.last_stream, int(arguments.get("stream_number", 0)))
            direction = str(arguments["direction"])
            self.outbound |= direction.startswith("outbound") or direction == "trunking-originating"
        elif kind == kinds.STATUS:
            if arguments.get("duration_seconds") is not None:
                self.carrier_duration_seconds = max(self.carrier_duration_seconds, int(arguments["duration_seconds"]))
        elif kind == kinds.FINALIZE:
            self._end(arguments)
        else:
            self.odd = True

    def _end(self, arguments: Mapping[str, Any]) -> None:
        self.filled.update(name for name in _END if arguments.get(name))
        if _RANKS.get(arguments["status"]) is None:
            self.filled.add("ended_at")
        self.interruptions = max(self.interruptions, int(arguments.get("interruptions", 0)))
        turns = arguments.get("turns", ())
        for turn in turns:
            self._turn(turn)
        for use in arguments.get("tool_uses", ()):
            self._tool_use(use)
        self.messages.update(message["key"] for message in arguments.get("messages", ()))
        number = int(arguments.get("stream_number", 0))
        told = -1
        if turns or not arguments.get("transcript"):
            told = streams.counts(int(turn["turn_index"]) for turn in turns).get(number, 0)
        else:
            self.filled.add("transcript")
        self.streams[number] = max(told, self.streams.get(number, -1))
        self.last_stream = max(self.last_stream, number)
