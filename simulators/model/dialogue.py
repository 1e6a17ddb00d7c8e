"""What the simulated model says: which answer a caller clip gets, and the words an instruction asks it to say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simulators.model.audio import babble
from simulators.model.hearing import ECHO, NOISE
from simulators.speech import Clip, all_clips

QUOTED = re.compile(r"“([^”]{2,})”|\"([^\"]{2,})\"|«([^»]{2,})»|(?<!\w)'(.{2,}?)'(?!\w)", re.DOTALL)


STORY = Path(__file__).with_name("dialogue.json")


@dataclass(frozen=True, slots=True)
class FunctionCall:
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """Clips to say one after the other, then functions to call; `then`: further items of the same response."""

    say: tuple[str, ...] = ()
    call: tuple[FunctionCall, ...] = ()
    then: tuple[Reply, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """Words and their sound (mu-law)."""

    text: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What one response will contain: an item each, in this order."""

    items: tuple[Line | FunctionCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """All a reply depends on. `heard`: what the caller said since the last response, None where not understood."""

    tools: Sequence[Mapping[str, Any]]
    instructions: str = ""  # of the response
    session_instructions: str = ""
    heard: Sequence[str | None] = ()
    outputs: Sequence[str] = ()  # names of functions answered since the last response
    first: bool = False  # nothing was said yet by anyone


@dataclass(frozen=True, slots=True)
class Dialogue:
    """`replies`: caller clip -> reply. `after_call`: function name -> what follows its output. `asides`: sounds of the
    caller's that ask for nothing; they are answered (as unclear) only when nothing else was heard."""

    replies: Mapping[str, Reply]
    after_call: Mapping[str, Reply] = field(default_factory=dict)
    opening: Reply = Reply(("greeting",))
    unclear: Reply = Reply(("unclear",))
    asides: frozenset[str] = frozenset({ECHO, NOISE, "mhm", "uh-huh", "genau", "cough", "knock"})
    clips: Mapping[str, Clip] = field(default_factory=all_clips)

    def line(self, text: str) -> Line:
        """The words with their sound: a clip's, or made up."""
        clip = next((clip for clip in self.clips.values() if clip.text == text), None)
        return Line(text, clip.audio if clip is not None else babble(text))

    def answers(self, clip: str | None, text: str) -> bool:
        """Whether these words, or the whole of which they are the beginning, answer that clip."""
        said = " ".join(self.clips[name].text for name in self.replies.get(clip or "", self.unclear).say)
        return bool(text.strip()) and (said.startswith(text) or text.startswith(said))

    def written_in(self, text: str) -> str | None:
        """The "heard" of a reply that stands in a written message, like digits that were pressed."""
        return next((heard for heard in self.replies if heard not in self.clips and heard in text), None)

    @classmethod
    def load(cls, path: Path = STORY) -> Dialogue:
        """Read a dialogue file of the shape of dialogue.json."""
        return cls.of(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Dialogue:
        """What stands in such a file. `words`: what clips are taken to say, in place of what they do."""
        clips = all_clips()
        clips.update({name: replace(clips[name], text=text) for name, text in data.get("words", {}).items()})
        return cls(
            clips=clips,
            replies={entry["heard"]: _reply(entry) for entry in data["replies"]},
            after_call={name: _reply(entry) for name, entry in data.get("after_call", {}).items()},
            opening=Reply(tuple(data.get("opening", ("greeting",)))),
            unclear=Reply(tuple(data.get("unclear", ("unclear",)))),
        )

    def plan(self, situation: Situation) -> Plan:
        """What to say now, by the first of: words the response's instructions ask for, the caller, a function's output,
        as a first line words the session's instructions ask for or else the opening, that nothing was understood."""
        asked = self._asked_for(situation.instructions)
        if asked is not None:
            return Plan((asked,))
        if situation.heard:
            heard = [name for name in situation.heard if name not in self.asides]
            if heard or not situation.outputs:
                replies = [self.replies.get(name or "", self.unclear) for name in heard or [None]]
                found = [self.after_call.get(name, Reply()) for name in situation.outputs]
                return self._perform([*replies, *found], situation.tools)
        if situation.outputs:
            return self._perform([self.after_call.get(name, Reply()) for name in situation.outputs], situation.tools)
        if situation.first:
            asked = self._asked_for(situation.session_instructions)
            return Plan((asked,)) if asked is not None else self._perform([self.opening], situation.tools)
        return self._perform([self.unclear], situation.tools)

    def _asked_for(self, instructions: str) -> Line | None:
        plain = _plain(instructions)
        known = [
            (plain.find(_plain(clip.text)), -len(clip.text), clip)
            for clip in self.clips.values()
            if clip.speaker == "agent" and _plain(clip.text) in plain
        ]
        if known:
            clip = min(known, key=lambda entry: entry[:2])[2]
            return Line(clip.text, clip.audio)
        quoted = QUOTED.search(instructions)
        if quoted is None:
            return None
        return self.line(next(group for group in quoted.groups() if group).strip())

    def _perform(self, replies: Sequence[Reply], tools: Sequence[Mapping[str, Any]]) -> Plan:
        said = [self.clips[name] for name in dict.fromkeys(name for reply in replies for name in reply.say)]
        items: list[Line | FunctionCall] = []
        if said:
            items.append(Line(" ".join(clip.text for clip in said), b"".join(clip.audio for clip in said)))
        known = {tool.get("name"): tool for tool in tools if tool.get("type") == "function"}
        items += [
            FunctionCall(call.name, fit(call.arguments, known[call.name].get("parameters")))
            for reply in replies
            for call in reply.call
            if call.name in known
        ]
        for reply in replies:
            for more in reply.then:
                items += self._perform([more], tools).items
        return Plan(tuple(items))


def fit(arguments: Mapping[str, Any], schema: object) -> dict[str, Any]:
    """The arguments that a tool's JSON schema knows, and something of the right type for each required one missing."""
    if not isinstance(schema, Mapping):
        return dict(arguments)
    properties = schema.get("properties") or {}
    fitted = {
        name: value if _allowed(value, properties[name]) else _example(properties[name])
        for name, value in arguments.items()
        if name in properties
    }
    for name in schema.get("required") or ():
        if name not in fitted:
            fitted[name] = _example(properties.get(name) or {})
    return fitted


def _allowed(value: object, schema: Mapping[str, Any]) -> bool:
    return "enum" not in schema or value in schema["enum"]


def _example(schema: Mapping[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    return {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}, "null": None}.get(
        kind, "simulated"
    )


def _reply(entry: Mapping[str, Any]) -> Reply:
    calls = tuple(FunctionCall(call["name"], call.get("arguments", {})) for call in entry.get("call", ()))
    return Reply(tuple(entry.get("say", ())), calls, tuple(_reply(more) for more in entry.get("then", ())))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
