"""The jobs that render sentences, from a published version to its rows."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from billiard.exceptions import SoftTimeLimitExceeded
from django.core.management import CommandError, call_command
from django.db import DataError, OperationalError, connections
from django.test import TestCase, override_settings
from django.utils import timezone

from businesses import clips, demo, jobs, sentences
from businesses.models import AgentVersion, Clip
from media import tasks
from media.clips import Rendered
from simulators.model import ModelServer, ModelSettings
from simulators.speech import all_clips
from tests.businesses.worlds import make_world
from voiceagent.celery import app

KEY = "sk-tasks"
CANARY = "canary-text"


@contextmanager
def simulated() -> Iterator[None]:
    """The simulated model in a thread with a loop of its own: the task under test runs one in this thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ModelServer(ModelSettings(time_scale=0.05, api_key=KEY, seed=1))
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        with override_settings(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"http://127.0.0.1:{server.port}/v1"):
            yield
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def half(agent: Any, texts: dict[str, str]) -> dict[str, Rendered]:
    """Render the greeting and nothing else."""
    return {key: Rendered(b"\xff") if key == "greeting" else Rendered(error="timeout") for key in texts}


class TaskCase(TestCase):
    version: AgentVersion

    @classmethod
    def setUpTestData(cls) -> None:
        demo.seed()
        cls.version = AgentVersion.objects.get()

    def run_command(self, *arguments: str) -> str:
        said = io.StringIO()
        try:
            call_command("render_clips", *arguments, stdout=said)
        except CommandError as error:
            return said.getvalue() + str(error)
        return said.getvalue()


class RenderTest(TaskCase):
    def test_a_version_is_rendered_by_the_model_and_calls_get_it(self) -> None:
        with simulated():
            self.assertEqual(tasks.render_clips.run(self.version.pk), f"version {self.version.pk}: 9 of 9")
            self.assertEqual(tasks.render_clips.run(self.version.pk), f"version {self.version.pk}: nothing due")
        said = self.version.snapshot().clips
        self.assertEqual(set(said), {"greeting", *sentences.KEYS})
        self.assertEqual(
            (said["greeting"].text, said["greeting"].audio), (demo.GREETING, all_clips()["greeting"].audio)
        )

    def test_what_failed_is_kept_as_a_code_and_what_succeeded_is_used(self) -> None:
        with mock.patch.object(tasks, "render", half), self.assertLogs("media.tasks", "WARNING") as logs:
            self.assertEqual(tasks.render_clips.run(self.version.pk), f"version {self.version.pk}: 1 of 9")
        self.assertEqual(set(self.version.snapshot().clips), {"greeting"})
        self.assertEqual(clips.errors(self.version.pk), dict.fromkeys(sentences.KEYS, "timeout"))
        facts = vars(logs.records[0])
        self.assertEqual((facts["agent_version_id"], facts["error"]), (self.version.pk, "timeout"))
        self.assertNotIn("moment", str([vars(record) for record in logs.records]))

    def test_a_database_that_fails_ends_the_job_without_its_text(self) -> None:
        with mock.patch.object(connections, "close_all") as close_all:  # the test's transaction is on one
            for error, closes in ((OperationalError(CANARY), 1), (DataError(CANARY), 0), (SoftTimeLimitExceeded(), 0)):
                close_all.reset_mock()
                with (
                    self.subTest(type(error).__name__),
                    mock.patch.object(clips, "take", side_effect=error),
                    self.assertLogs("media.tasks", "WARNING") as logs,
                ):
                    self.assertEqual(tasks.render_clips.run(self.version.pk), f"version {self.version.pk}: failed")
                    self.assertNotIn(CANARY, str([vars(record) for record in logs.records]))
                    self.assertEqual(close_all.call_count, closes)

    def test_it_can_be_switched_off(self) -> None:
        with override_settings(RENDER_CLIPS=False), mock.patch.object(clips, "take", side_effect=AssertionError):
            self.assertEqual(tasks.render_clips.run(self.version.pk), f"version {self.version.pk}: switched off")
            with mock.patch.object(clips, "versions_due", side_effect=AssertionError):
                tasks.render_missing_clips.run()

    def test_the_job_has_its_name_queue_and_limits(self) -> None:
        task = app.tasks[jobs.RENDER_CLIPS]
        self.assertEqual((task.queue, task.soft_time_limit, task.time_limit), ("default", 45, 55))
        self.assertLess(task.time_limit, app.conf.broker_transport_options["visibility_timeout"])
        self.assertIn("media.tasks.render_missing_clips", app.tasks)
        beat = app.conf.beat_schedule["render-missing-clips"]
        self.assertEqual((beat["task"], beat["schedule"]), ("media.tasks.render_missing_clips", 60.0))


class BeatTest(TaskCase):
    def asked(self, answers: bool = True) -> list[int]:
        with mock.patch.object(jobs, "ask_to_render", return_value=answers) as ask:
            tasks.render_missing_clips.run()
        return [call.args[0] for call in ask.call_args_list]

    def test_beat_asks_for_what_a_lost_job_left(self) -> None:
        self.assertEqual(self.asked(), [self.version.pk])
        clips.take(self.version.pk, timezone.now())
        self.assertEqual(self.asked(), [])

    def test_a_round_asks_for_a_few_and_stops_when_the_broker_does_not_answer(self) -> None:
        for digit in range(1, 8):
            make_world(f"World{digit}", digit)
        self.assertEqual(len(self.asked()), tasks.VERSIONS_PER_ROUND)
        self.assertEqual(len(self.asked(answers=False)), 1)

    def test_a_database_that_is_away_is_waited_for_and_another_error_is_seen(self) -> None:
        with (
            mock.patch.object(connections, "close_all"),
            mock.patch.object(clips, "versions_due", side_effect=OperationalError(CANARY)),
            self.assertLogs("media.tasks", "WARNING"),
        ):
            self.assertEqual(self.asked(), [])
        with mock.patch.object(clips, "versions_due", side_effect=DataError), self.assertRaises(DataError):
            self.asked()


class CommandTest(TaskCase):
    def test_it_renders_what_new_calls_use_and_says_so(self) -> None:
        with simulated():
            self.assertEqual(self.run_command(), f"version {self.version.pk}: 9 of 9.\n")
            self.assertEqual(self.run_command(), f"version {self.version.pk}: nothing due.\n")
            self.assertEqual(self.run_command("--again"), f"version {self.version.pk}: 9 of 9.\n")

    def test_it_names_what_failed_and_tries_it_at_once(self) -> None:
        for _ in range(2):
            with mock.patch.object(tasks, "render", half), self.assertLogs("media.tasks", "WARNING"):
                said = self.run_command("--agent-version", str(self.version.pk))
            self.assertIn("  filler: timeout\n", said)
            self.assertIn("Not everything could be rendered.", said)
        self.assertEqual(Clip.objects.get(key="filler").tries, 2)

    def test_a_version_that_is_not_published_has_nothing_due(self) -> None:
        self.assertEqual(self.run_command("--agent-version", "9999"), "version 9999: nothing due.\n")
