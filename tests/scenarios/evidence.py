"""What is known of one call when it is over: the carrier's ledger, the model's, the rows; and numbers made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulators.carrier.ledger import CallLedger
from simulators.speech import all_clips
from tests.scenarios.alignment import Rest, Sentence, align
from tests.scenarios.scenario import Part

if TYPE_CHECKING:
    from calls.models import CallLog, ConversationTurn

BREATH_MS = 30.0  # sound is found by frames of 20 ms: less between two is none


def words(clip: str) -> str:
    """The words of a clip by its name; else the text itself."""
    clips = all_clips()
    return clips[clip].text if clip in clips else clip


@dataclass
class Evidence:
    """`facts`: the model's, of this call only. `own`: the agent's clips. Times in milliseconds."""

    part: Part
    ledger: CallLedger
    row: CallLog | None
    turns: list[ConversationTurn]
    facts: list[dict[str, Any]]
    audio: Path
    own: dict[str, bytes] = field(default_factory=dict)
    lookups: list[dict[str, str]] = field(default_factory=list)  # headers of what its tools asked for
    log: str = ""  # of the web processes, all calls'

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fact for fact in self.facts if fact["fact"] == kind]

    @cached_property
    def sentences(self) -> list[Sentence]:
        """What the model said, in its order."""
        cuts = {fact["item_id"]: fact["audio_end_ms"] for fact in self.of("truncated")}
        found = []
        for fact in self.of("said"):
            file = self.audio / f"{fact['item_id']}.audio"
            sound = file.read_bytes() if file.exists() else b""
            if sound:
                cut = cuts.get(fact["item_id"])
                found.append(Sentence(fact["item_id"], fact["text"], sound, cut, session_id=fact["session_id"]))
        return found

    @cached_property
    def rest(self) -> Rest:
        """What was heard beside the model's sentences; and what was heard of each is written into them."""
        pieces = [piece.audio for stream in self.ledger.streams for piece in stream.heard]
        return align(self.sentences, pieces, self.own)

    @cached_property
    def heard(self) -> list[Sentence]:
        assert self.rest is not None
        return self.sentences

    @property
    def first_word_ms(self) -> float | None:
        """From `start` to the first sound the caller heard."""
        sounds = self.ledger.streams[0].sounds if self.ledger.streams else []
        return sounds[0].start_ms if sounds else None

    @cached_property
    def truncation_errors_ms(self) -> list[float]:
        return [error for one in self.heard if (error := one.truncation_error_ms) is not None]

    @cached_property
    def record_errors_ms(self) -> list[float]:
        """Of every interrupted turn whose answer is one sentence of the model's: what the row says was heard, less what
        was."""
        errors, heard = [], list(self.heard)
        for turn in self.turns:
            mine = next((one for one in heard if turn.bot_reply and one.text.startswith(turn.bot_reply)), None)
            if mine is None:
                continue
            heard.remove(mine)
            if turn.interrupted:
                errors.append(turn.heard_ms - mine.heard_ms)
        return errors

    @cached_property
    def silences_ms(self) -> list[tuple[float, float]]:
        """(beginning, length) of every silence on the line, of all streams, from the start to the last sound."""
        found = []
        for stream in self.ledger.streams:
            spoken = [(span.start_ms, span.end_ms) for span in stream.sounds]
            for said in stream.utterances:
                end = said.speech_end_ms or said.end_ms or stream.length_ms
                spoken.append((said.start_ms, end))
            at = 0.0
            for start, end in sorted(spoken):
                if start - at > BREATH_MS:
                    found.append((at, start - at))
                at = max(at, end)
        return found

    @property
    def longest_silence_ms(self) -> float:
        return max((length for _, length in self.silences_ms), default=0.0)

    @property
    def reply_times_ms(self) -> list[float]:
        """From the end of the caller's words to the first sound heard after it, where there was one."""
        return [said.reply_heard_ms for said in self.ledger.utterances if said.reply_heard_ms is not None]

    @property
    def last_sound_ms(self) -> float | None:
        """On the clock of the last stream."""
        sounds = self.ledger.stream.sounds if self.ledger.streams else []
        return sounds[-1].end_ms if sounds else None

    @property
    def over_after_ms(self) -> float | None:
        """From the last sound to the end of the last stream."""
        last = self.last_sound_ms
        return None if last is None else self.ledger.stream.length_ms - last

    def goodbye_share(self, clip: str) -> float | None:
        """How much of the last sentence with these words was heard, 0 to 1; None: it was never said."""
        text = words(clip)
        said = [one for one in self.heard if text in one.text]
        if said:
            return 1.0 if said[-1].is_whole else said[-1].heard_bytes / max(1, len(said[-1].audio))
        played = [one for one in self.rest.own if one.key == clip]
        if not played:
            return None
        return 1.0 if played[-1].is_whole else played[-1].heard_bytes / max(1, len(played[-1].audio))

    def played(self, key: str) -> int:
        """How often a clip of the agent's was heard, at least in part."""
        return sum(one.key == key for one in self.rest.own)

    @property
    def under_runs(self) -> int:
        return sum(len(stretch.under_runs_ms) for stream in self.ledger.streams for stretch in stream.stretches)


def sessions(facts: Sequence[dict[str, Any]], model: str) -> set[str]:
    """The ids of the sessions with this model."""
    return {fact["session_id"] for fact in facts if fact["fact"] == "opened" and fact["model"] == model}
