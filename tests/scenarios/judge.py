"""Whether a call went as its scenario says: every way in which it did not, one line each."""

from __future__ import annotations

from tests.scenarios.evidence import Evidence, words
from tests.scenarios.scenario import Turn

CARRIER_SECONDS_OFF = 1


def faults(evidence: Evidence) -> list[str]:
    """Everything that is wrong; empty: all is as expected."""
    return [
        *_line(evidence),
        *_row(evidence),
        *_turns(evidence),
        *_interruptions(evidence),
        *_times(evidence),
        *_model(evidence),
        *(line for check in evidence.part.scenario.expect.checks for line in check(evidence)),
    ]


def _line(evidence: Evidence) -> list[str]:
    """The call as the carrier saw it."""
    ledger, expect = evidence.ledger, evidence.part.scenario.expect
    found = [f"carrier complains: {complaint}" for complaint in ledger.complaints]
    found += [f"the caller's script: {failure}" for failure in ledger.failures]
    verbs = tuple(verb for verb in ledger.verbs if verb not in ("Connect", "Redirect"))
    if expect.verbs is not None and verbs != expect.verbs:
        found.append(
            f"after the stream came {', '.join(verbs) or 'nothing'}, not {', '.join(expect.verbs) or 'nothing'}"
        )
    return found


def _row(evidence: Evidence) -> list[str]:
    """The call as it stands in the database."""
    row, expect = evidence.row, evidence.part.scenario.expect
    if row is None:
        return ["the call has no row"]
    found = [] if row.is_complete else [f"the row is not complete: {len(evidence.turns)} of {row.expected_turns} turns"]
    if (row.status, row.ended_reason) != (expect.status, expect.ended_reason):
        found.append(f"it is {row.status}, {row.ended_reason}; not {expect.status}, {expect.ended_reason}")
    if (
        row.duration_seconds is None
        or abs(row.duration_seconds - evidence.ledger.duration_seconds) > CARRIER_SECONDS_OFF
    ):
        found.append(f"billed {evidence.ledger.duration_seconds} s, recorded {row.duration_seconds}")
    if expect.interruptions is not None and row.interruptions != expect.interruptions:
        found.append(f"{row.interruptions} interruptions in the row, not {expect.interruptions}")
    counters = getattr(row, "counters", {})
    for name, number in expect.counters.items():
        if counters.get(name, 0) != number:
            found.append(f"counter {name} is {counters.get(name, 0)}, not {number}")
    return found


def _turns(evidence: Evidence) -> list[str]:
    expected, turns = evidence.part.scenario.expect.turns, evidence.turns
    if expected is None:
        return []
    found = []
    if len(turns) != len(expected):
        found.append(f"{len(turns)} turns, not {len(expected)}")
    for number, (turn, wanted) in enumerate(zip(turns, expected, strict=False)):
        if not right(turn, wanted):
            found.append(f"turn {number} is {_told(turn)}, not {words(wanted.says)!r} / {words(wanted.hears)!r}")
    return found


def right(turn: object, wanted: Turn) -> bool:
    """Whether a row says what was said."""
    user_text, bot_reply = str(getattr(turn, "user_text", "")), str(getattr(turn, "bot_reply", ""))
    heard_text, interrupted = str(getattr(turn, "heard_text", "")), bool(getattr(turn, "interrupted", False))
    if user_text != " ".join(words(clip) for clip in wanted.says.split("+") if clip):
        return False
    whole = " ".join(words(clip) for clip in wanted.hears.split("+") if clip)
    if wanted.cut:
        return interrupted and whole.startswith(bot_reply) and bot_reply.startswith(heard_text)
    return bot_reply == whole and heard_text == whole and not interrupted


def _told(turn: object) -> str:
    cut = ", interrupted" if getattr(turn, "interrupted", False) else ""
    heard = getattr(turn, "heard_text", "")
    return f"{getattr(turn, 'user_text', '')!r} / {getattr(turn, 'bot_reply', '')!r} (heard {heard!r}{cut})"


def _interruptions(evidence: Evidence) -> list[str]:
    """What the model was told of what the caller heard, and what really was heard."""
    expect, found = evidence.part.scenario.expect, []
    errors = evidence.truncation_errors_ms
    if expect.truncations is not None and len(errors) != expect.truncations:
        found.append(f"{len(errors)} truncations, not {expect.truncations}")
    found += [
        f"truncated {error:+.0f} ms beside what was heard"
        for error in errors
        if abs(error) > expect.truncation_error_ms
    ]
    found += [
        f"the row says {error:+.0f} ms beside what was heard"
        for error in evidence.record_errors_ms
        if abs(error) > expect.truncation_error_ms
    ]
    for one in evidence.heard:
        if one.truncated_at_ms is not None and one.truncated_at_ms > one.generated_ms:
            found.append("truncated after the end of what was generated")
        worst = max(one.jumps, key=abs, default=0) / 8
        if abs(worst) > expect.resumed_within_ms:
            found.append(f"a sentence went on {worst:+.0f} ms from where it was left")
    opened = evidence.of("opened")
    last, alive = len(evidence.heard) - 1, opened[-1]["session_id"] if opened else ""
    found += [
        f"sentence {number} was cut at {one.heard_ms:.0f} of {one.generated_ms:.0f} ms, and the model was not told"
        for number, one in enumerate(evidence.heard)
        if number < last
        and one.session_id == alive
        and not one.is_whole
        and one.truncated_at_ms is None
        and one.heard_bytes
    ]
    return found


def _times(evidence: Evidence) -> list[str]:
    expect, found = evidence.part.scenario.expect, []
    first = evidence.first_word_ms
    if expect.first_word_ms is not None and (first is None or first > expect.first_word_ms):
        found.append(f"first word after {_ms(first)}, not {expect.first_word_ms:.0f} ms")
    media = evidence.ledger.streams[0].first_media_ms if evidence.ledger.streams else None
    if expect.first_audio_ms is not None and (media is None or media > expect.first_audio_ms):
        found.append(f"first audio after {_ms(media)}, not {expect.first_audio_ms:.0f} ms")
    if expect.longest_silence_ms is not None and evidence.longest_silence_ms > expect.longest_silence_ms:
        at, length = max(evidence.silences_ms, key=lambda silence: silence[1])
        found.append(f"silence of {length:.0f} ms at {at:.0f}, not at most {expect.longest_silence_ms:.0f}")
    if expect.goodbye:
        share = evidence.goodbye_share(expect.goodbye)
        if share != 1.0:
            found.append("no goodbye" if share is None else f"{share:.0%} of the goodbye was heard")
    if expect.over_after_ms is not None and ((after := evidence.over_after_ms) is None or after > expect.over_after_ms):
        found.append(f"the call went on for {_ms(evidence.over_after_ms)} after its last sound")
    return found


def _model(evidence: Evidence) -> list[str]:
    """The session as the model saw it."""
    expect = evidence.part.scenario.expect
    found = [f"model complains: {fact['code']}" for fact in evidence.of("complaint")]
    found += [
        f"model refused: {fact['code']}"
        for fact in evidence.of("refused")
        if fact["code"] == "conversation_already_has_active_response"
    ]
    opened = len(evidence.of("opened"))
    if expect.sessions is not None and opened != expect.sessions:
        found.append(f"{opened} sessions of the model, not {expect.sessions}")
    return found


def _ms(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.0f} ms"
