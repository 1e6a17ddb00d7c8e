"""Renders sentences in an agent's own voice, through the same port as a call: a session, and word for word each."""

from __future__ import annotations

import asyncio
import dataclasses
import unicodedata
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from businesses.snapshots import AgentSnapshot
from media.engine.commands import Say
from media.engine.events import (
    AgentTextDone,
    Event,
    ModelAudio,
    ModelClosed,
    ModelError,
    ModelReady,
    ResponseFinished,
    ResponseStarted,
)
from media.realtime import get_model
from media.realtime.base import ModelSession, ModelUnavailable, SpeechModel

DEADLINE_SECONDS = 30.0  # of all sentences together
MAX_AUDIO_BYTES = 60 * 8000  # a minute of mu-law


@dataclass(frozen=True, slots=True)
class Rendered:
    """One sentence: mu-law at 8 kHz without a header, or why there is none, by a short code that is safe to log."""

    audio: bytes = b""
    error: str = ""


class NotRendered(Exception):
    """This sentence failed. `code` is short and safe to log; `is_over`: so does every other, in this session."""

    def __init__(self, code: str, *, is_over: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.is_over = is_over


async def render(
    agent: AgentSnapshot, texts: Mapping[str, str], model: SpeechModel | None = None
) -> dict[str, Rendered]:
    """Speak each text, one after the other, in one session. Return something for every key; never raises.

    One sentence that fails does not keep the others from being rendered; what is not there after DEADLINE_SECONDS has
    the error "timeout".
    """
    rendered: dict[str, Rendered] = {}
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await _render_all(agent, texts, model or get_model(), rendered)
        code = ""
    except TimeoutError:
        code = "timeout"
    except ModelUnavailable as error:
        code = error.code
    except NotRendered as error:
        code = error.code
    return {key: rendered.get(key) or Rendered(error=code or "not_rendered") for key in texts}


async def _render_all(
    agent: AgentSnapshot, texts: Mapping[str, str], model: SpeechModel, rendered: dict[str, Rendered]
) -> None:
    # It is to speak, not to act.
    session = await model.open(dataclasses.replace(agent, tools=(), http_tools=()))
    try:
        events = _flat(session.events())
        await _until_ready(events)
        for key, text in texts.items():
            try:
                rendered[key] = Rendered(await _speak(session, events, text))
            except NotRendered as error:
                if error.is_over:
                    raise
                rendered[key] = Rendered(error=error.code)
    finally:
        await session.close()


async def _flat(messages: AsyncIterator[list[Event]]) -> AsyncIterator[Event]:
    async for events in messages:
        for event in events:
            yield event


async def _until_ready(events: AsyncIterator[Event]) -> None:
    """A session whose configuration was refused would speak with another voice, and not in mu-law."""
    async for event in events:
        match event:
            case ModelReady():
                return
            case ModelError() | ModelClosed():
                raise NotRendered(event.code, is_over=True)
            case _:
                pass
    raise NotRendered("closed", is_over=True)


async def _speak(session: ModelSession, events: AsyncIterator[Event], text: str) -> bytes:
    """Return the sound of the text. Raise NotRendered, also when other words were spoken, or ModelUnavailable."""
    await session.perform(Say(text))
    audio, said, has_begun = bytearray(), [], False
    async for event in events:
        match event:
            case ResponseStarted():
                has_begun = True
            case ModelAudio():
                audio += event.audio
            case AgentTextDone():
                said.append(event.text)
            case ResponseFinished():
                if event.status != "completed":
                    raise NotRendered(event.reason or event.status or "not_completed")
                break
            case ModelClosed():
                raise NotRendered(event.code, is_over=True)
            case ModelError() if event.fatal or not has_begun:  # it will not begin; later ones do not end it
                raise NotRendered(event.code, is_over=event.fatal)
            case _:
                pass
    else:
        raise NotRendered("closed", is_over=True)
    if not audio:
        raise NotRendered("no_audio")
    if len(audio) > MAX_AUDIO_BYTES:
        raise NotRendered("too_long")
    if words_of(" ".join(said)) != words_of(text):
        raise NotRendered("other_words")
    return bytes(audio)


def words_of(text: str) -> list[str]:
    """The words of a text as they are spoken: no matter how they are capitalised, punctuated or spaced."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'").replace("'", "")
    return "".join(c if unicodedata.category(c)[0] in "LNMS" else " " for c in plain).split()
