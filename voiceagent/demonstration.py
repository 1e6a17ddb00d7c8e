"""A simulated call, watched through the database: what `manage.py call` prints and checks."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.conf import settings

from calls.models import CallLog, ConversationTurn

POLL_SECONDS = 0.2
RECORD_SECONDS = 20.0  # for the record to be complete after the line is dead: a job may be tried again once
CALL_SID = re.compile(r"\bcall (CA[0-9a-f]{32}) from")


class CallFailed(Exception):
    """The call or its record is not what it should be. The message says what is missing."""


@dataclass(frozen=True)
class Said:
    """One turn as a person reads it."""

    index: int
    caller: str
    agent: str
    heard: str
    heard_ms: int
    generated_ms: int
    interrupted: bool

    @classmethod
    def of(cls, turn: ConversationTurn) -> Said:
        return cls(
            index=turn.turn_index,
            caller=turn.user_text,
            agent=turn.bot_reply,
            heard=turn.heard_text,
            heard_ms=turn.heard_ms,
            generated_ms=turn.generated_ms,
            interrupted=turn.interrupted,
        )


def lines_of(turn: Said, agent_name: str) -> list[str]:
    """The turn as lines of a transcript, wrapped, each speaker's name before what was said."""
    lines = []
    if turn.caller:
        lines += _spoken("Caller", turn.caller)
    if turn.interrupted:
        cut = f"[cut off after {turn.heard_ms / 1000:.1f} of {turn.generated_ms / 1000:.1f} s]"
        lines += _spoken(agent_name, f"{turn.heard} {cut}".strip())
    elif turn.agent:
        lines += _spoken(agent_name, turn.agent)
    return lines


def _spoken(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, width=100, initial_indent=f"  {name:<8}", subsequent_indent=" " * 10)


class Transcript:
    """Decides what is new: each turn is shown once, and once more if a later revision changed its words."""

    def __init__(self, agent_name: str) -> None:
        self._agent_name = agent_name
        self._shown: dict[int, tuple[str, str]] = {}

    def new_lines(self, turns: Iterable[Said]) -> list[str]:
        lines: list[str] = []
        for turn in turns:
            words = (turn.caller, turn.agent)
            before = self._shown.get(turn.index)
            if before == words:
                continue
            self._shown[turn.index] = words
            lines += ["  (heard better:)"] if before is not None else []
            lines += lines_of(turn, self._agent_name)
        return lines


def what_is_missing(call: CallLog | None) -> str:
    """What keeps the record of an ended call from being complete; empty when nothing does."""
    if call is None:
        return "the call is not in the database"
    turns = list(call.turns.values_list("turn_index", flat=True))
    if turns != list(range(len(turns))):
        return f"turns are missing: there are only {turns}"
    if not turns:
        return "it has no turns"
    if not call.is_complete:
        return f"it is not marked complete (status {call.status}, {len(turns)} turns)"
    if not call.transcript:
        return "it has no transcript"
    return ""


class Carrier:
    """The simulated carrier placing one call, as a process; its narration tells the CallSid."""

    def __init__(self, port: int, from_number: str, to: str, script: str) -> None:
        self.call_sid = ""
        self.narration: list[str] = []
        command = [sys.executable, "-m", "simulators.carrier", "call", "--public-url", settings.PUBLIC_URL]
        command += ["--connect-to", f"127.0.0.1:{port}", "--account-sid", settings.TWILIO_ACCOUNT_SID]
        command += ["--auth-token", settings.TWILIO_AUTH_TOKENS[0], "--status-path", "/twilio/status/"]
        command += ["--from", from_number, "--to", to, "--script", script]
        self.process = subprocess.Popen(
            command, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def is_talking(self) -> bool:
        return self.process.poll() is None

    def check(self) -> None:
        """Raise CallFailed when the ended call did not go as the script wanted."""
        self._reader.join(5)
        if self.process.returncode != 0:
            last = "\n".join(f"  {line}" for line in self.narration[-8:])
            raise CallFailed(f"the simulated carrier was not content:\n{last}")

    def hang_up(self) -> None:
        if self.is_talking():
            self.process.terminate()
            self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.narration.append(line.rstrip())
            if not self.call_sid and (found := CALL_SID.search(line)):
                self.call_sid = found[1]


def follow(carrier: Carrier, agent_name: str, say: Callable[[str], None]) -> CallLog:
    """Print the turns as they reach the database; return the call when its record is complete, or raise CallFailed."""
    transcript = Transcript(agent_name)
    give_up: float | None = None
    while True:
        talking = carrier.is_talking()
        call = CallLog.objects.filter(call_sid=carrier.call_sid).first() if carrier.call_sid else None
        if call is not None:
            for line in transcript.new_lines(Said.of(turn) for turn in call.turns.order_by("turn_index")):
                say(line)
        if not talking:
            missing = what_is_missing(call)
            if call is not None and not missing:
                carrier.check()
                return call
            give_up = give_up or time.monotonic() + RECORD_SECONDS
            if time.monotonic() > give_up:
                carrier.check()
                raise CallFailed(f"the record is not complete: {missing}")
        time.sleep(POLL_SECONDS)
