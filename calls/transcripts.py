"""The transcript of a call as text: a pure function of its turns, so that it can always be made again and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def render(turns: Sequence[Mapping[str, Any]]) -> str:
    """The turns, by turn_index, one line for each utterance: "Caller: ..." and "Agent: ...".

    Each mapping has turn_index, user_text, bot_reply and may have heard_text and interrupted. Of an interrupted answer
    only what the caller heard is in the transcript. Blank utterances have no line; line breaks become spaces.
    """
    lines: list[str] = []
    for turn in sorted(turns, key=lambda turn: int(turn["turn_index"])):
        said = turn.get("heard_text", "") if turn.get("interrupted") else turn["bot_reply"]
        for speaker, text in (("Caller", turn["user_text"]), ("Agent", said)):
            utterance = " ".join(str(text).split())
            if utterance:
                lines.append(f"{speaker}: {utterance}")
    return "\n".join(lines)
