"""Sentences rendered in an agent's own voice: through the simulated model, and what becomes of every failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

from django.test import SimpleTestCase, override_settings

from businesses import sentences
from businesses.snapshots import AgentSnapshot, HttpTool
from media import clips
from media.clips import Rendered, render, words_of
from media.engine.commands import ModelCommand, Say
from media.engine.config import ModelTraits
from media.engine.events import (
    AgentTextDone,
    Event,
    ModelAudio,
    ModelClosed,
    ModelError,
    ModelReady,
    ResponseFinished,
)
from media.realtime.base import ModelSession, ModelUnavailable
from simulators.model import Fault, ModelServer, ModelSettings
from simulators.model.audio import babble
from simulators.speech import all_clips
from tests.media.fakes import agent, eventually

KEY = "sk-clips"
TEXTS = {"filler": "One moment, please.", "still_there": "Are you still there?"}


@asynccontextmanager
async def simulated(*faults: str) -> AsyncIterator[ModelServer]:
    parsed = tuple(Fault.parse(fault) for fault in faults)
    async with ModelServer(ModelSettings(time_scale=0.05, api_key=KEY, seed=1, faults=parsed)) as server:
        with override_settings(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"http://127.0.0.1:{server.port}/v1"):
            yield server


class SimulatedModelTest(SimpleTestCase):
    async def test_every_sentence_is_rendered_to_the_byte_in_one_session(self) -> None:
        greeting = all_clips()["greeting"]
        texts = sentences.of_agent(greeting.text, "de")
        async with simulated() as server:
            rendered = await render(agent(language="de"), texts)
            sessions = await eventually(lambda: server.ledger.of("closed"))
        self.assertEqual(list(rendered), list(texts))
        self.assertEqual(rendered["greeting"], Rendered(greeting.audio))
        for key in sentences.KEYS:
            self.assertEqual(rendered[key], Rendered(babble(texts[key])), key)
        self.assertEqual(len(sessions), 1)

    async def test_one_that_fails_does_not_keep_the_others_from_being_rendered(self) -> None:
        for fault, code in (
            ("response-failed:rate_limit_exceeded@1", "rate_limit_exceeded"),
            ("response-incomplete:max_output_tokens@1", "max_output_tokens"),
        ):
            with self.subTest(fault=fault):
                async with simulated(fault):
                    rendered = await render(agent(), TEXTS)
                self.assertEqual(rendered["filler"], Rendered(error=code))
                self.assertEqual(rendered["still_there"], Rendered(babble(TEXTS["still_there"])))

    async def test_an_error_in_the_middle_of_a_sentence_does_not_end_it(self) -> None:
        async with simulated("error:server_error@1"):
            rendered = await render(agent(), TEXTS)
        self.assertEqual(rendered, {key: Rendered(babble(text)) for key, text in TEXTS.items()})

    async def test_a_session_that_is_lost_keeps_what_was_rendered_before(self) -> None:
        for fault, code in (("abort@2", "closed_1006"), ("close:1011@2", "closed_1011")):
            with self.subTest(fault=fault):
                async with simulated(fault):
                    rendered = await render(agent(), TEXTS)
                self.assertTrue(rendered["filler"].audio)
                self.assertEqual(rendered["still_there"], Rendered(error=code))

    async def test_a_model_that_cannot_be_reached_is_named(self) -> None:
        async with simulated("reject:401"):
            rendered = await render(agent(), TEXTS)
        self.assertEqual(rendered, dict.fromkeys(TEXTS, Rendered(error="http_401")))
        with override_settings(OPENAI_API_KEY=""):
            rendered = await render(agent(), TEXTS)
        self.assertEqual(rendered, dict.fromkeys(TEXTS, Rendered(error="no_api_key")))

    async def test_nothing_is_spoken_by_a_session_that_was_not_configured(self) -> None:
        async with simulated("update-refused") as server:
            rendered = await render(agent(), TEXTS)
            said = server.ledger.of("said")
        self.assertEqual(len({result.error for result in rendered.values()}), 1)
        self.assertFalse(any(result.audio for result in rendered.values()))
        self.assertEqual(said, [])

    async def test_a_model_that_goes_silent_is_not_waited_for(self) -> None:
        with mock.patch.object(clips, "DEADLINE_SECONDS", 1.5):
            async with simulated("silent@2"):
                rendered = await render(agent(), TEXTS)
        self.assertTrue(rendered["filler"].audio)
        self.assertEqual(rendered["still_there"], Rendered(error="timeout"))


class Scripted:
    """A model that answers each sentence with these events."""

    def __init__(self, answer: Callable[[str], list[Event]], first: Event | None = None) -> None:
        self._answer, self._first = answer, first or ModelReady("sess_1")
        self.opened_for: AgentSnapshot | None = None
        self.closed = False
        self._said: asyncio.Queue[list[Event]] = asyncio.Queue()

    def traits(self, agent: AgentSnapshot) -> ModelTraits:
        return ModelTraits()

    async def open(self, agent: AgentSnapshot) -> ModelSession:
        self.opened_for = agent
        self._said.put_nowait([self._first])
        return self

    async def events(self, at_once: object = None) -> AsyncIterator[list[Event]]:
        while True:
            events = await self._said.get()
            yield events
            if any(isinstance(event, ModelClosed) for event in events):
                return

    def perform_now(self, command: ModelCommand) -> bool:
        return False

    def forward_now(self, payload: str) -> bool:
        return False

    async def perform(self, command: ModelCommand) -> None:
        assert isinstance(command, Say)
        for event in self._answer(command.text):
            self._said.put_nowait([event])

    async def close(self) -> None:
        self.closed = True


def spoken(said: str, audio: bytes = b"\x01\x02", status: str = "completed") -> list[Event]:
    return [
        ModelAudio("r", "i", audio[:1]),
        ModelAudio("r", "i", audio[1:]),
        AgentTextDone("r", "i", said),
        ResponseFinished("r", status),
    ]


class FailuresTest(SimpleTestCase):
    async def rendered(self, answer: Callable[[str], list[Event]], **facts: Any) -> tuple[Scripted, list[Rendered]]:
        model = Scripted(answer, **facts)
        return model, list((await render(agent(), TEXTS, model)).values())

    async def test_what_was_spoken_must_be_what_was_asked_for(self) -> None:
        _, rendered = await self.rendered(lambda text: spoken(text.upper().replace(".", " !")))
        self.assertEqual(rendered, [Rendered(b"\x01\x02")] * 2)
        _, rendered = await self.rendered(lambda text: spoken(text + " How are you?"))
        self.assertEqual(rendered, [Rendered(error="other_words")] * 2)

    async def test_silence_and_what_never_ends_are_no_sentence(self) -> None:
        _, rendered = await self.rendered(lambda text: spoken(text)[2:])
        self.assertEqual(rendered, [Rendered(error="no_audio")] * 2)
        _, rendered = await self.rendered(lambda text: spoken(text, b"\xff" * (60 * 8000 + 1)))
        self.assertEqual(rendered, [Rendered(error="too_long")] * 2)

    async def test_an_answer_that_is_not_complete_is_named_by_its_status_where_it_says_no_reason(self) -> None:
        _, rendered = await self.rendered(lambda text: spoken(text, status="cancelled"))
        self.assertEqual(rendered, [Rendered(error="cancelled")] * 2)

    async def test_an_error_costs_one_sentence_and_a_fatal_one_all(self) -> None:
        answers: Iterator[list[Event]] = iter([[ModelError("server_error", fatal=False)], spoken(TEXTS["still_there"])])
        _, rendered = await self.rendered(lambda _: next(answers))
        self.assertEqual(rendered, [Rendered(error="server_error"), Rendered(b"\x01\x02")])
        model, rendered = await self.rendered(lambda _: [ModelError("session_expired", fatal=True)])
        self.assertEqual(rendered, [Rendered(error="session_expired")] * 2)
        self.assertTrue(model.closed)

    async def test_a_configuration_that_is_refused_is_named(self) -> None:
        for first in (ModelError("invalid_value", fatal=False), ModelClosed("closed_1011")):
            _, rendered = await self.rendered(spoken, first=first)
            self.assertEqual(rendered, [Rendered(error=first.code)] * 2)

    async def test_a_socket_that_is_gone_when_it_is_asked_is_named(self) -> None:
        model = Scripted(spoken)
        with mock.patch.object(model, "perform", side_effect=ModelUnavailable("closed_1006", permanent=False)):
            rendered = await render(agent(), TEXTS, model)
        self.assertEqual(rendered, dict.fromkeys(TEXTS, Rendered(error="closed_1006")))
        self.assertTrue(model.closed)

    async def test_the_session_has_nothing_to_act_with(self) -> None:
        tool = HttpTool("find", "Finds", {"type": "object"}, "https://api.example.com")
        model = Scripted(spoken)
        await render(agent(tools=("end_call", "find"), http_tools=(tool,)), TEXTS, model)
        assert model.opened_for is not None
        self.assertEqual((model.opened_for.tools, model.opened_for.http_tools), ((), ()))
        self.assertTrue(model.closed)


class WordsTest(SimpleTestCase):
    def test_case_marks_and_spaces_do_not_count_and_words_do(self) -> None:
        same = [
            ("One moment, please.", "one moment  please"),
            ("I'm here", "I\u2019m here"),
            ("Vous êtes toujours là ?", "vous êtes toujours là?"),
            ("¿Sigue ahí?", "Sigue ahí"),
            ("Grüße: bitte", "GRÜSSE bitte"),
            ("e\u0301t\u00e9", "\u00e9te\u0301"),
        ]
        for one, other in same:
            with self.subTest(one=one):
                self.assertEqual(words_of(one), words_of(other))
        for one, other in (("One moment", "One more moment"), ("là", "la"), ("now here", "nowhere"), ("9", "10")):
            with self.subTest(one=one):
                self.assertNotEqual(words_of(one), words_of(other))
