"""What a process knows of the calls whose facts it journals."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from calls.journal.claims import Claim
from calls.journal.files import OwnFile


@dataclass(frozen=True, slots=True, repr=False)  # repr=False: unwritten records hold a caller's words
class OpenCall:
    """A call's journal at one moment. Times are the journal's clock, in seconds."""

    call_sid: str
    seq: int
    path: Path | None
    size: int  # of the file, as far as it is on the disk
    unwritten: bytes
    claim: Claim
    not_taken: bool  # neither broker nor database took a fact of it
    appended_at: float
    unconfirmed_since: float | None  # None: the database has shown everything up to `seq`


@dataclass(slots=True, repr=False)
class CallState:
    """The same as it changes. Guarded by the journal's lock, but for `file`: that is the writer's."""

    call_sid: str
    claim: Claim = field(default_factory=Claim)
    seq: int = 0
    unwritten: list[bytes] = field(default_factory=list)
    has_finals: bool = False  # among the unwritten
    not_taken: bool = False
    appended_at: float = 0.0
    unconfirmed_since: float | None = None
    file: OwnFile | None = None

    def snapshot(self) -> OpenCall:
        return OpenCall(
            call_sid=self.call_sid,
            seq=self.seq,
            path=self.file.path if self.file is not None else None,
            size=self.file.size if self.file is not None else 0,
            unwritten=b"".join(self.unwritten),
            claim=self.claim.copy(),
            not_taken=self.not_taken,
            appended_at=self.appended_at,
            unconfirmed_since=self.unconfirmed_since,
        )

    def confirm(self, seq: int) -> None:
        """The database has everything up to `seq`; what came since is waited for anew."""
        self.not_taken = False
        if self.seq == seq:
            self.unconfirmed_since = None
            self.claim = Claim(finalized=self.claim.finalized)
        else:
            self.unconfirmed_since = self.appended_at
