"""The table: for the terminal and for docs/conversation.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.e2e.processes import REPOSITORY
from tests.scenarios import judge
from tests.scenarios.evidence import Evidence
from tests.scenarios.stage import Result

PAGE = REPOSITORY / "docs" / "conversation.md"
BEGIN, END = "<!-- scenarios: begin -->", "<!-- scenarios: end -->"
HEAD = (
    "Item", "Scenario", "First word ms", "Reply ms", "Truncations", "Heard-error ms", "Resumed ms", "Goodbye",
    "Dead air ms", "Turns right", "wrong", "Under-runs", "Result",
)  # fmt: skip


def table(results: Sequence[Result]) -> str:
    rows = [_row(HEAD), _row(["--:", "---", *["--:"] * (len(HEAD) - 3), "---"])]
    for result in sorted(results, key=lambda result: (_item(result), result.part.place)):
        rows.append(_row(_cells(result)))
    return "\n".join(rows) + "\n"


def _item(result: Result) -> int:
    return int(re.match(r"\d+", result.part.scenario.item).group() or 0)  # type: ignore[union-attr]


def _cells(result: Result) -> list[str]:
    scenario, evidence = result.part.scenario, result.evidence
    head = [scenario.item, result.part.name]
    verdict = "ok" if not result.faults else f"**{len(result.faults)} wrong**"
    if evidence is None:
        return [*head, *["-"] * (len(HEAD) - 3), f"**{result.faults[0]}**"]
    right, wrong = _turns(evidence)
    share = evidence.goodbye_share(scenario.expect.goodbye) if scenario.expect.goodbye else None
    jumps = [jump / 8 for one in evidence.heard for jump in one.jumps]
    return [
        *head,
        _number(evidence.first_word_ms),
        _number(max(evidence.reply_times_ms, default=None)),
        str(len(evidence.truncation_errors_ms)) if evidence.truncation_errors_ms else "-",
        _worst(evidence.truncation_errors_ms),
        _worst(jumps),
        "-" if not scenario.expect.goodbye else f"{share or 0:.0%}",
        f"{evidence.longest_silence_ms:.0f}",
        str(right),
        str(wrong),
        str(evidence.under_runs),
        verdict,
    ]


def _turns(evidence: Evidence) -> tuple[int, int]:
    expected = evidence.part.scenario.expect.turns
    if expected is None:
        return len(evidence.turns), 0
    right = sum(judge.right(turn, wanted) for turn, wanted in zip(evidence.turns, expected, strict=False))
    return right, max(len(expected), len(evidence.turns)) - right


def faults(results: Sequence[Result]) -> str:
    """Everything that went wrong, by scenario."""
    return "\n".join(f"{result.part.name}: {line}" for result in results for line in result.faults)


def details(results: Sequence[Result]) -> str:
    """What was said and heard in the calls that went wrong, to find out why."""
    lines = []
    for result in results:
        if not result.faults or result.evidence is None:
            continue
        evidence = result.evidence
        lines.append(f"--- {result.part.name}, {evidence.ledger.call_sid}, counters {_counters(evidence)}")
        for one in evidence.heard:
            cut = "" if one.truncated_at_ms is None else f", truncated at {one.truncated_at_ms}"
            jumps = f", jumps {[jump / 8 for jump in one.jumps]}" if one.jumps else ""
            lines.append(f"  said {one.text[:60]!r}: heard {one.heard_ms:.0f} of {one.generated_ms:.0f} ms{cut}{jumps}")
        lines += [f"  own {one.key}: heard {one.heard_bytes / 8:.0f} ms" for one in evidence.rest.own]
        lines += [
            f"  turn {turn.turn_index}: {turn.user_text!r} / {turn.bot_reply!r}, {turn.heard_ms} ms {turn.heard_text!r}"
            for turn in evidence.turns
        ]
        for stream in evidence.ledger.streams:
            lines += [
                f"  heard {piece.start_ms:.0f} for {len(piece.audio) / 8:.0f} ms, clear {piece.clear}"
                for piece in stream.heard
            ]
            lines += [f"  caller {said.start_ms:.0f} to {said.speech_end_ms} {said.clip}" for said in stream.utterances]
            lines += [f"  clear at {clear.at_ms:.0f}" for clear in stream.clears]
        lines += [
            f"  model {fact['at'] % 1000:.2f} {_short(fact)}" for fact in evidence.facts if fact["fact"] != "updated"
        ]
    return "\n".join(lines)


def _counters(evidence: Evidence) -> object:
    return getattr(evidence.row, "counters", None)


def _short(fact: dict[str, object]) -> str:
    left_out = ("n", "at", "session_id", "usage", "client_events", "audio_sha256", "output_audio_sha256", "headers")
    return str({name: value for name, value in fact.items() if name not in left_out})


def summary(results: Sequence[Result]) -> str:
    """The figures over all calls."""
    evidence = [result.evidence for result in results if result.evidence is not None]
    errors = [abs(error) for one in evidence for error in one.truncation_errors_ms]
    first = sorted(word for one in evidence if (word := one.first_word_ms) is not None)
    goodbyes = [one.goodbye_share(name) or 0 for one in evidence if (name := one.part.scenario.expect.goodbye)]
    turns = [_turns(one) for one in evidence]
    good = sum(not result.faults for result in results)
    scenarios = len({result.part.scenario.name for result in results})
    lines = [
        f"{good} of {len(results)} calls of {scenarios} scenarios as expected",
        f"heard-error of {len(errors)} truncations: {_mean(errors):.0f} ms on average,"
        f" at most {max(errors, default=0):.0f} ms",
        f"time to first word: {_mean(first):.0f} ms on average, at most {max(first, default=0):.0f} ms",
        f"goodbyes heard whole: {sum(share == 1.0 for share in goodbyes)} of {len(goodbyes)}",
        f"turns right: {sum(right for right, _ in turns)}, wrong: {sum(wrong for _, wrong in turns)}",
        f"longest silence: {max((one.longest_silence_ms for one in evidence), default=0):.0f} ms",
    ]
    return "\n".join(f"- {line}" for line in lines)


def write(command: str, results: Sequence[Result]) -> None:
    """Put figures and table between the page's markers. Raise ValueError when it has none."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    wrong = faults(results)
    told = f"\nWhat was not as expected:\n\n```\n{wrong}\n```\n" if wrong else ""
    text = f"`{command.strip()}`, {when}, {machine}.\n\n{summary(results)}\n\n{table(results)}{told}"
    page = PAGE.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        raise ValueError(f"{PAGE} has no markers {BEGIN} and {END}")
    between = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    PAGE.write_text(between.sub(lambda _: f"{BEGIN}\n{text}{END}", page), encoding="utf-8")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _worst(values: Sequence[float]) -> str:
    return f"{max(values, key=abs):+.0f}" if values else "-"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
