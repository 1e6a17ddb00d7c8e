"""Questions that only some scenarios ask. Each returns what is wrong, one line each; times in milliseconds."""

from __future__ import annotations

from datetime import datetime

from tests.scenarios.evidence import Evidence, words
from tests.scenarios.scenario import Check

AGREE_MS = 120.0  # our clock and the carrier's, of the same moment


def heard_whole(clip: str) -> Check:
    """The last sentence of these words was heard to its end, in however many pieces."""

    def check(evidence: Evidence) -> list[str]:
        share = evidence.goodbye_share(clip)
        if share == 1.0:
            return []
        return [f"{clip} was never said" if share is None else f"{share:.0%} of {clip} was heard"]

    return check


def heard_once(clip: str) -> Check:
    """One sentence of these words was heard to its end; another never left the model."""

    def check(evidence: Evidence) -> list[str]:
        shares = [one.heard_bytes / max(1, len(one.audio)) for one in evidence.heard if words(clip) in one.text]
        wrong = sorted(shares) != [0.0, 1.0]
        return [f"of {clip} was heard: {', '.join(f'{share:.0%}' for share in shares) or 'nothing'}"] if wrong else []

    return check


def answered(asked: str, answer: str) -> Check:
    """There is a turn with this question and this answer, whatever else was said."""

    def check(evidence: Evidence) -> list[str]:
        for turn in evidence.turns:
            if words(asked) in turn.user_text and words(answer) in turn.bot_reply:
                return []
        told = [(turn.user_text, turn.bot_reply) for turn in evidence.turns]
        return [f"no turn with {asked} and {answer}: {told}"]

    return check


def said_in_order(*asked: str) -> Check:
    """What the caller said stands in the record, in this order."""

    def check(evidence: Evidence) -> list[str]:
        text = " ".join(turn.user_text for turn in evidence.turns)
        places = [text.find(words(clip)) for clip in asked]
        return [] if -1 not in places and places == sorted(places) else [f"the caller's words are {text!r}"]

    return check


def never_said(clip: str) -> Check:
    def check(evidence: Evidence) -> list[str]:
        return [f"{clip} was said"] if any(one.text == words(clip) for one in evidence.sentences) else []

    return check


def silent_until(milliseconds: float) -> Check:
    """The agent says nothing before."""

    def check(evidence: Evidence) -> list[str]:
        first = evidence.first_word_ms
        return [f"it spoke after {first:.0f} ms"] if first is not None and first < milliseconds else []

    return check


def clip_heard(key: str, *, at_least_ms: float, at_most_ms: float) -> Check:
    """How much of a clip of the agent's was heard."""

    def check(evidence: Evidence) -> list[str]:
        played = [one for one in evidence.rest.own if one.key == key]
        if not played:
            return [f"the clip {key} was not played"]
        length = played[0].heard_bytes / 8
        return [] if at_least_ms <= length <= at_most_ms else [f"{length:.0f} ms of {key} were heard"]

    return check


def clip_in_record(key: str) -> Check:
    """The row says of a clip that was cut what was heard of it."""

    def check(evidence: Evidence) -> list[str]:
        played = [one for one in evidence.rest.own if one.key == key]
        if not played or not evidence.turns:
            return [f"the clip {key} was not played"]
        error = evidence.turns[0].heard_ms - played[0].heard_bytes / 8
        return [] if abs(error) <= 60 else [f"the row says {error:+.0f} ms beside what was heard of {key}"]

    return check


def model_knows_what_was_heard(key: str) -> Check:
    """Of a clip that was cut the model has, in the end, the beginning of its words, and not all of them."""

    def check(evidence: Evidence) -> list[str]:
        gone = {fact["item_id"] for fact in evidence.of("deleted")}
        whole = words(key)
        has = [fact["text"] for fact in evidence.of("written") if fact["item_id"] not in gone]
        parts = [text for text in has if text and whole.startswith(text)]
        return [] if parts and whole not in parts else [f"of {key} the model has {has}"]

    return check


def played(key: str, times: int) -> Check:
    def check(evidence: Evidence) -> list[str]:
        number = evidence.played(key)
        return [] if number == times else [f"{key} was played {number} times, not {times}"]

    return check


def tone(evidence: Evidence) -> list[str]:
    """Something is heard that is neither the model's nor a sentence."""
    return [] if evidence.rest.strange > 2000 else ["no tone was heard"]


def not_told_cut(evidence: Evidence) -> list[str]:
    """No turn counts as interrupted, and the model was not told that something was."""
    found = [f"turn {turn.turn_index} counts as interrupted" for turn in evidence.turns if turn.interrupted]
    cancelled = [fact for fact in evidence.of("response") if fact["status"] == "cancelled"]
    return found + (["an answer was cancelled"] if cancelled else [])


def clears_at_most(number: int) -> Check:
    def check(evidence: Evidence) -> list[str]:
        clears = sum(len(stream.clears) for stream in evidence.ledger.streams)
        return [] if clears <= number else [f"the agent's voice was stopped {clears} times"]

    return check


def truncated_at_least(number: int) -> Check:
    def check(evidence: Evidence) -> list[str]:
        cut = len(evidence.truncation_errors_ms)
        return [] if cut >= number else [f"{cut} truncations, not at least {number}"]

    return check


def nothing_unheard_is_kept(evidence: Evidence) -> list[str]:
    """An item of which nothing was heard must not stand in the model's memory as said."""
    return [
        f"the model believes {one.generated_ms:.0f} ms were heard of which nothing was"
        for one in evidence.heard[:-1]
        if not one.heard_bytes and one.truncated_at_ms is None and one.item_id not in _deleted(evidence)
    ]


def _deleted(evidence: Evidence) -> set[str]:
    return {fact["item_id"] for fact in evidence.of("deleted")}


def last_turn_heard(at_least_ms: float, at_most_ms: float) -> Check:
    def check(evidence: Evidence) -> list[str]:
        heard = evidence.turns[-1].heard_ms if evidence.turns else 0
        return [] if at_least_ms <= heard <= at_most_ms else [f"{heard} ms of the last answer were heard"]

    return check


def last_words_begin(clip: str) -> Check:
    """The last turn has the beginning of what the caller was saying."""

    def check(evidence: Evidence) -> list[str]:
        text = evidence.turns[-1].user_text if evidence.turns else ""
        return [] if text and words(clip).startswith(text) else [f"the last turn says {text!r}"]

    return check


def lasts(at_least_s: float, at_most_s: float) -> Check:
    def check(evidence: Evidence) -> list[str]:
        seconds = evidence.ledger.duration_seconds
        return [] if at_least_s <= seconds <= at_most_s else [f"it lasted {seconds} s"]

    return check


def streams(number: int) -> Check:
    def check(evidence: Evidence) -> list[str]:
        found = len(evidence.ledger.streams)
        return [] if found == number else [f"{found} streams, not {number}"]

    return check


def sessions_between(fewest: int, most: int) -> Check:
    def check(evidence: Evidence) -> list[str]:
        opened = len(evidence.of("opened"))
        return [] if fewest <= opened <= most else [f"{opened} sessions of the model, not {fewest} to {most}"]

    return check


def told_the_past(evidence: Evidence) -> list[str]:
    """A session that takes over is told what was said."""
    opened = evidence.of("opened")
    if len(opened) < 2:
        return []
    told = {fact["text"] for fact in evidence.of("written") if fact["session_id"] == opened[1]["session_id"]}
    return (
        [] if any(words("hours") in text for text in told) else ["the next session was not told the answer before it"]
    )


def spoken_after_last_question(evidence: Evidence) -> list[str]:
    """The caller is not left without any word."""
    said, sounds = evidence.ledger.utterances, evidence.ledger.stream.sounds
    if said and sounds and sounds[-1].end_ms > (said[-1].end_ms or 0):
        return []
    return ["nothing was said to the caller's last words"]


def typed(digits: str) -> Check:
    """The model was given the digits as text, together."""

    def check(evidence: Evidence) -> list[str]:
        texts = [fact["text"] for fact in evidence.of("written")]
        return [] if any(digits in text for text in texts) else [f"the model was written {texts}"]

    return check


def no_keys_in_logs(digits: str) -> Check:
    def check(evidence: Evidence) -> list[str]:
        return ["pressed keys stand in the log"] if digits in evidence.log else []

    return check


def reply_times(evidence: Evidence) -> list[str]:
    """What the rows say of how long the caller waited is what the caller waited."""
    waited = evidence.reply_times_ms
    rows = [(turn.reply_ms, turn.reply_heard_ms) for turn in evidence.turns if turn.user_text]
    if len(rows) != len(waited):
        return [f"{len(rows)} turns, {len(waited)} replies heard"]
    found = []
    for number, ((sent, heard), truly) in enumerate(zip(rows, waited, strict=True), 1):
        if sent is None or heard is None:
            found.append(f"reply {number} has no times: {sent}, {heard}")
        elif abs(heard - truly) > AGREE_MS:
            found.append(f"reply {number} was heard after {truly:.0f} ms, the row says {heard}")
    return found


def tokens(evidence: Evidence) -> list[str]:
    """The row's tokens are the sum of all responses."""
    usage = [fact["usage"] for fact in evidence.of("response")]
    row = evidence.row.usage if evidence.row is not None else {}
    wanted = {name: sum(one[name] for one in usage) for name in ("input_tokens", "output_tokens")}
    told = {name: row.get(name) for name in wanted}
    return [] if told == wanted else [f"tokens are {told}, not {wanted}"]


def looked_up(times: int) -> Check:
    """The service was asked so often, each time with a key that says it is the same request."""

    def check(evidence: Evidence) -> list[str]:
        found = [] if len(evidence.lookups) == times else [f"looked up {len(evidence.lookups)} times, not {times}"]
        return found + [
            "no Idempotency-Key was sent" for headers in evidence.lookups if not headers.get("idempotency-key")
        ]

    return check


def keys_differ(evidence: Evidence) -> list[str]:
    keys = [headers.get("idempotency-key") for headers in evidence.lookups]
    return [] if len(set(keys)) == len(keys) else ["two calls of a tool went out with one key"]


def tool_state(state: str) -> Check:
    def check(evidence: Evidence) -> list[str]:
        states = [use.state for use in evidence.row.tool_uses.all()] if evidence.row is not None else []
        return [] if states == [state] else [f"tools in the record: {states}, not one that is {state}"]

    return check


def message(text: str) -> Check:
    def check(evidence: Evidence) -> list[str]:
        texts = [one.text for one in evidence.row.messages.all()] if evidence.row is not None else []
        return [] if texts == [text] else [f"{len(texts)} messages, none of them the caller's"]

    return check


def forwarded_within(milliseconds: float) -> Check:
    """From when the agent was wanted (the beginning, the end of the caller's words) to the TwiML that forwards."""

    def check(evidence: Evidence) -> list[str]:
        ledger = evidence.ledger
        if "Dial" not in ledger.verbs:
            return ["it was not forwarded"]
        last = next(request for request in reversed(ledger.requests) if request.kind in ("action", "redirect", "voice"))
        at = datetime.fromisoformat(last.at).timestamp() * 1000
        since = datetime.fromisoformat(ledger.started_at).timestamp() * 1000
        said = [one for one in ledger.utterances if one.speech_end_ms is not None]
        if said and ledger.streams and ledger.streams[-1].opened_at:
            opened = datetime.fromisoformat(ledger.streams[-1].opened_at).timestamp() * 1000
            since = opened + (said[-1].speech_end_ms or 0)
        return [] if at - since <= milliseconds else [f"forwarded after {at - since:.0f} ms"]

    return check


def apologised(evidence: Evidence) -> list[str]:
    """By a clip that was heard whole, or by the carrier's voice."""
    if evidence.goodbye_share("apology") == 1.0 or "Say" in evidence.ledger.verbs:
        return []
    return ["nobody apologised"]


def ahead_at_most(milliseconds: float) -> Check:
    """How much audio waited at the carrier to be heard."""

    def check(evidence: Evidence) -> list[str]:
        most = max((stream.most_ahead_ms for stream in evidence.ledger.streams), default=0.0)
        return [] if most <= milliseconds else [f"{most:.0f} ms of audio were sent ahead"]

    return check


def under_runs_at_most(number: int) -> Check:
    def check(evidence: Evidence) -> list[str]:
        return [] if evidence.under_runs <= number else [f"{evidence.under_runs} under-runs"]

    return check
