"""The sentences that agents say in their own voice: which are due, who renders them, and what a call gets."""

from __future__ import annotations

import io
import logging
import wave
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.contrib.auth.models import Permission
from django.test import SimpleTestCase, TestCase, override_settings
from django.urls import reverse
from redis.exceptions import ConnectionError as RedisGone

from businesses import clips, jobs, sentences, wav
from businesses.clip_memory import ClipMemory
from businesses.models import Agent, AgentVersion, Clip
from businesses.snapshots import SpokenClip
from calls import doors
from tests.businesses.test_admin import AdminCase
from tests.businesses.worlds import STARTED, World, make_world
from tests.calls.valkey import Valkey
from voiceagent.celery import app

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
SECONDS = timedelta(seconds=1)
SOUND = b"\xff\x7f" * 400


class SentencesTest(SimpleTestCase):
    def test_every_language_says_everything_and_what_else_is_spoken_hears_english(self) -> None:
        english = {key: sentences.sentence(key, "en") for key in sentences.KEYS}
        self.assertEqual({sentences.GREETING, *english}, set(sentences.PURPOSES))
        for language in ("de", "es", "fr"):
            said = {key: sentences.sentence(key, language) for key in sentences.KEYS}
            self.assertEqual(len(set(said.values())), len(said))
            self.assertFalse(set(said.values()) & set(english.values()))
        self.assertEqual(sentences.sentence("filler", "de-CH"), "Einen Moment, bitte.")
        self.assertEqual(sentences.sentence("filler", "tlh"), english["filler"])
        with self.assertRaises(KeyError):
            sentences.sentence("song", "en")

    def test_an_agent_without_a_greeting_has_none_to_render(self) -> None:
        self.assertEqual(next(iter(sentences.of_agent(" Hello. ", "en").items())), ("greeting", "Hello."))
        self.assertEqual(tuple(sentences.of_agent(" ", "en")), sentences.KEYS)

    def test_a_clip_is_a_sound_file(self) -> None:
        for size in (0, 799, 800):
            file = wav.of_mu_law(b"\xff" * size)
            self.assertEqual(len(file), 58 + size + size % 2)
            self.assertEqual(int.from_bytes(file[4:8], "little"), len(file) - 8)
            self.assertEqual(int.from_bytes(file[54:58], "little"), size)
        # 7 is mu-law, which Python's own reader does not know; it has read all up to there.
        with self.assertRaisesMessage(wave.Error, "unknown format: 7"), wave.open(io.BytesIO(file)):
            pass


class MemoryTest(SimpleTestCase):
    def test_clips_are_kept_as_long_as_they_are_what_the_database_has(self) -> None:
        memory = ClipMemory(limit=2)
        said = {"filler": SpokenClip("One moment, please.", SOUND)}
        self.assertIsNone(memory.recall(1, (1, NOW)))
        memory.keep(1, (1, NOW), said)
        self.assertIs(memory.recall(1, (1, NOW)), said)
        self.assertIsNone(memory.recall(1, (2, NOW)))
        self.assertIsNone(memory.recall(1, (1, NOW + SECONDS)))

    def test_the_version_that_was_kept_first_is_forgotten_first(self) -> None:
        memory = ClipMemory(limit=2)
        for version in (1, 2, 3):
            memory.keep(version, (1, NOW), {})
        self.assertEqual([memory.recall(version, (1, NOW)) for version in (1, 2, 3)], [None, {}, {}])
        memory.keep(2, (2, NOW), {})
        memory.keep(4, (1, NOW), {})
        self.assertEqual((memory.recall(2, (2, NOW)), memory.recall(3, (1, NOW))), ({}, None))


class ClipCase(TestCase):
    world: World

    @classmethod
    def setUpTestData(cls) -> None:
        cls.world = make_world("Harbor", 1)
        cls.world.clip.delete()

    def setUp(self) -> None:
        self.version = self.world.published
        self.texts = sentences.of_agent("Harbor greeting", "en")

    def render_all(self, version: AgentVersion | None = None, now: datetime = NOW) -> None:
        version = version or self.version
        order = clips.take(version.pk, now)
        assert order is not None
        for key, text in order.texts.items():
            clips.store(version.pk, key, text, SOUND, now)

    def due(self, now: datetime = NOW) -> list[int]:
        return clips.versions_due(now, 10)


class OrderTest(ClipCase):
    def test_a_new_version_is_taken_once_with_all_its_sentences(self) -> None:
        order = clips.take(self.version.pk, NOW)
        assert order is not None
        self.assertEqual(order.texts, self.texts)
        self.assertEqual((order.agent.version_id, order.agent.voice), (self.version.pk, "marin"))
        self.assertIsNone(clips.take(self.version.pk, NOW))
        self.assertEqual(self.due(), [])

    def test_what_nobody_brought_is_tried_ever_more_seldom(self) -> None:
        now, pauses = NOW, []
        for _ in range(8):
            self.assertIsNotNone(clips.take(self.version.pk, now))
            pauses.append(next(pause for pause in range(0, 7200, 60) if self.due(now + pause * SECONDS)))
            self.assertIsNone(clips.take(self.version.pk, now + (pauses[-1] - 1) * SECONDS))
            now += pauses[-1] * SECONDS
        self.assertEqual(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600])

    def test_whoever_is_in_a_hurry_does_not_wait(self) -> None:
        clips.take(self.version.pk, NOW)
        self.assertIsNotNone(clips.take(self.version.pk, NOW, hurry=True))

    def test_of_two_who_take_at_once_one_gets_it(self) -> None:
        noted = clips._noted(self.version, self.texts)
        with mock.patch.object(clips, "_noted", return_value=noted):
            self.assertIsNotNone(clips.take(self.version.pk, NOW))
            self.assertIsNone(clips.take(self.version.pk, NOW))

    def test_a_failure_is_kept_as_a_code_until_it_succeeds(self) -> None:
        clips.take(self.version.pk, NOW)
        clips.store_failure(self.version.pk, "filler", "x" * 100)
        self.assertEqual(clips.errors(self.version.pk), {"filler": "x" * 64})
        self.assertEqual(self.version.snapshot().clips, {})
        self.assertEqual(self.due(NOW + 59 * SECONDS), [])
        self.assertEqual(self.due(NOW + 60 * SECONDS), [self.version.pk])
        clips.store(self.version.pk, "filler", self.texts["filler"], SOUND, NOW)
        self.assertEqual(clips.errors(self.version.pk), {})
        self.assertEqual(Clip.objects.get(key="filler").tries, 0)

    def test_what_is_rendered_is_not_due(self) -> None:
        self.render_all()
        self.assertEqual(self.due(NOW + timedelta(days=9)), [])
        self.assertIsNone(clips.take(self.version.pk, NOW, hurry=True))

    def test_a_sentence_of_a_newer_release_replaces_the_older_and_the_older_serves_until_then(self) -> None:
        Clip.objects.filter(agent_version=self.version).delete()
        self.render_all()
        with mock.patch.dict(sentences._SENTENCES["en"], {"filler": "Just a second."}):
            self.assertEqual(self.due(), [self.version.pk])
            order = clips.take(self.version.pk, NOW)
            assert order is not None
            self.assertEqual(order.texts, {"filler": "Just a second."})
            self.assertEqual(self.version.snapshot().clips["filler"].text, "One moment, please.")
            clips.store(self.version.pk, "filler", "Just a second.", b"new", NOW + SECONDS)
            self.assertEqual(self.version.snapshot().clips["filler"], SpokenClip("Just a second.", b"new"))
            self.assertEqual(self.due(), [])

    def test_everything_can_be_wanted_again(self) -> None:
        self.render_all()
        clips.want_again(self.version.pk)
        self.assertEqual(set(self.version.snapshot().clips), set(self.texts))
        order = clips.take(self.version.pk, NOW)
        assert order is not None
        self.assertEqual(order.texts, self.texts)

    def test_drafts_and_what_is_not_there_are_not_rendered(self) -> None:
        self.assertIsNone(clips.take(self.world.draft.pk, NOW))
        self.assertIsNone(clips.take(self.version.pk + 1000, NOW))
        self.assertFalse(Clip.objects.exists())

    def test_due_are_the_versions_that_new_calls_use(self) -> None:
        self.assertEqual(self.due(), [self.version.pk])
        self.world.draft.publish()
        self.assertEqual(self.due(), [self.world.draft.pk])
        other = make_world("Other", 2)
        self.assertEqual(self.due(), [other.published.pk, self.world.draft.pk])
        self.assertEqual(clips.versions_due(NOW, 1), [other.published.pk])
        other.business.is_active = False
        other.business.save()
        self.assertEqual(self.due(), [self.world.draft.pk])
        self.render_all(self.world.draft)
        self.assertEqual(self.due(), [])

    def test_an_agent_that_was_never_published_has_none(self) -> None:
        agent = Agent.objects.create(business=self.world.business, name="Sam")
        AgentVersion.objects.create(agent=agent, number=1, instructions="x", greeting="y")
        self.assertEqual(self.due(), [self.version.pk])


class SnapshotTest(ClipCase):
    def test_a_call_gets_what_is_rendered_by_then(self) -> None:
        self.assertEqual(self.version.snapshot().clips, {})
        self.render_all()
        said = self.version.snapshot().clips
        self.assertEqual(said["greeting"], SpokenClip("Harbor greeting", SOUND))
        self.assertEqual(set(said), set(self.texts))

    def test_audio_is_read_once_and_again_when_something_was_rendered(self) -> None:
        self.render_all()
        first = self.version.snapshot().clips
        with self.assertNumQueries(1):
            self.assertIs(Clip.objects.spoken_by(self.version.pk), first)
        clips.store(self.version.pk, "filler", self.texts["filler"], b"new", NOW + SECONDS)
        with self.assertNumQueries(2):
            self.assertEqual(Clip.objects.spoken_by(self.version.pk)["filler"].audio, b"new")

    def test_the_next_call_replaces_what_the_process_remembers_of_the_agent(self) -> None:
        self.addCleanup(doors.forget_agents)
        doors.remember(self.version.snapshot())
        self.render_all()
        doors.remember(self.version.snapshot())  # as the webhook does for every call
        self.assertEqual(set(doors._agents[self.version.pk].clips), set(self.texts))

    def test_who_looks_for_work_does_not_read_audio(self) -> None:
        self.render_all()
        clips.want_again(self.version.pk)
        with self.assertNumQueries(2), mock.patch.object(Clip, "refresh_from_db", side_effect=AssertionError):
            clips.versions_due(NOW, 10)


class PublishingTest(ClipCase):
    def test_publishing_asks_for_its_sentences_once_it_is_committed(self) -> None:
        with mock.patch.object(jobs, "ask_to_render") as ask:
            with self.captureOnCommitCallbacks(execute=True):
                self.world.draft.publish()
                ask.assert_not_called()
            ask.assert_called_once_with(self.world.draft.pk)

    def test_a_broker_that_is_away_is_only_logged(self) -> None:
        for error in (RedisGone("canary"), TimeoutError("canary")):
            with (
                self.subTest(error=type(error).__name__),
                mock.patch.object(app, "send_task", side_effect=error),
                self.assertLogs("businesses.jobs", "WARNING") as logs,
            ):
                self.assertFalse(jobs.ask_to_render(7))
                self.assertEqual(vars(logs.records[0])["error"], type(error).__name__)
                self.assertNotIn("canary", str(vars(logs.records[0])))

    def test_a_broker_that_hangs_is_not_waited_for(self) -> None:
        valkey = Valkey()
        self.addCleanup(valkey.close)
        with (
            mock.patch.object(jobs, "current_app", conf=mock.Mock(broker_url=valkey.broker_url), amqp=app.amqp) as fake,
            self.assertLogs("businesses.jobs", "WARNING"),
        ):
            fake.send_task = app.send_task
            self.assertTrue(jobs.ask_to_render(7))
            valkey.hang()
            self.assertFalse(jobs.ask_to_render(8))
            valkey.go_on()
        self.assertEqual(len(valkey.queued("default")), 1)

    def test_the_job_names_ids_only(self) -> None:
        with mock.patch.object(app, "send_task") as send:
            self.assertTrue(jobs.ask_to_render(7))
        self.assertEqual(send.call_args.args, ("media.tasks.render_clips",))
        facts = {name: send.call_args.kwargs[name] for name in ("args", "queue", "retry")}
        self.assertEqual(facts, {"args": (7,), "queue": "default", "retry": False})

    @override_settings(RENDER_CLIPS=False)
    def test_it_can_be_switched_off(self) -> None:
        with mock.patch.object(app, "send_task", side_effect=AssertionError):
            self.assertFalse(jobs.ask_to_render(7))


class PageTest(AdminCase):
    def setUp(self) -> None:
        super().setUp()
        self.version = self.world.published
        self.page = reverse("admin:businesses_agentversion_change", args=[self.version.pk])
        self.again = reverse("admin:businesses_agentversion_render_again", args=[self.version.pk])

    def sound_url(self, version: AgentVersion, key: str = "greeting") -> str:
        return reverse("admin:businesses_agentversion_play", args=[version.pk, key])

    def test_the_page_of_a_version_shows_what_it_says_and_how_far_that_is(self) -> None:
        clips.take(self.version.pk, NOW)
        clips.store_failure(self.version.pk, "apology", "other_words")
        page = self.client.get(self.page)
        for text in ("After a silence", "Are you still there?", "failed: other_words", "not rendered yet"):
            self.assertContains(page, text)
        self.assertContains(page, f'src="{self.sound_url(self.version)}"')
        self.assertContains(page, "23 Nov 2026, 09:05:12 EST")
        self.assertContains(page, "<audio", count=1)

    def test_a_draft_has_no_voice_yet(self) -> None:
        page = self.client.get(reverse("admin:businesses_agentversion_change", args=[self.world.draft.pk]))
        self.assertNotContains(page, "In its own voice")

    def test_looking_at_the_page_reads_no_audio(self) -> None:
        with mock.patch.object(Clip, "refresh_from_db", side_effect=AssertionError):
            self.assertContains(self.client.get(self.page), "<audio")

    def test_a_sentence_is_played(self) -> None:
        response = self.client.get(self.sound_url(self.version))
        self.assertEqual(response["Content-Type"], "audio/wav")
        self.assertEqual(response.content, wav.of_mu_law(b"Harbor"))

    def test_a_browser_jumps_in_a_sentence(self) -> None:
        url, file = self.sound_url(self.version), wav.of_mu_law(b"Harbor")
        for asked, part, said in (
            ("bytes=0-", file, "bytes 0-63/64"),
            ("bytes=0-1", file[:2], "bytes 0-1/64"),
            ("bytes=60-999", file[60:], "bytes 60-63/64"),
        ):
            with self.subTest(asked=asked):
                response = self.client.get(url, headers={"Range": asked})
                self.assertEqual((response.status_code, response["Content-Range"]), (206, said))
                self.assertEqual(response.content, part)
        for asked in ("bytes=64-", "bytes=5-4", "bytes=-5", "bytes=0-1,4-5", "lines=0-1", "x"):
            with self.subTest(asked=asked):
                response = self.client.get(url, headers={"Range": asked})
                self.assertEqual((response.status_code, response.content), (200, file))

    def test_what_is_not_rendered_or_not_there_is_not_played(self) -> None:
        clips.take(self.version.pk, NOW)
        for url in (self.sound_url(self.version, "filler"), self.sound_url(self.version, "song")):
            self.assertEqual(self.client.get(url).status_code, 404)
        self.assertEqual(self.client.get(self.sound_url(self.world.draft)).status_code, 404)

    def test_another_businesss_sentences_are_neither_played_nor_rendered(self) -> None:
        theirs = make_world("Theirs", 2)
        self.assertEqual(self.client.get(self.sound_url(theirs.published)).status_code, 404)
        url = reverse("admin:businesses_agentversion_render_again", args=[theirs.published.pk])
        with mock.patch.object(jobs, "ask_to_render", side_effect=AssertionError):
            self.assertEqual(self.client.post(url).status_code, 404)
        self.assertFalse(Clip.objects.get(agent_version=theirs.published).is_due)
        self.client.logout()
        self.assertEqual(self.client.get(self.sound_url(self.version)).status_code, 302)

    def test_everything_is_rendered_again(self) -> None:
        for answered, text in ((True, "The sentences are being rendered."), (False, "No worker could be asked")):
            with (
                self.subTest(answered=answered),
                mock.patch.object(jobs, "ask_to_render", return_value=answered) as ask,
            ):
                self.assertContains(self.client.post(self.again, follow=True), text)
                ask.assert_called_once_with(self.version.pk)
        clip = Clip.objects.get(agent_version=self.version)
        self.assertEqual((clip.is_due, clip.rendered_at), (True, STARTED))
        history = self.client.get(reverse("admin:businesses_agentversion_history", args=[self.version.pk]))
        self.assertContains(history, "Sentences to be rendered again.")

    @override_settings(RENDER_CLIPS=False)
    def test_where_it_is_switched_off_that_is_said(self) -> None:
        self.assertContains(self.client.post(self.again, follow=True), "RENDER_CLIPS is off")
        self.assertFalse(Clip.objects.get(agent_version=self.version).is_due)

    def test_a_link_renders_nothing_and_neither_does_whoever_may_only_look(self) -> None:
        self.assertEqual(self.client.get(self.again).status_code, 405)
        self.user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        self.assertContains(self.client.get(self.page), "In its own voice")
        self.assertNotContains(self.client.get(self.page), "Render sentences again")
        self.assertEqual(self.client.post(self.again).status_code, 403)
        self.assertEqual(self.client.get(self.sound_url(self.version)).status_code, 200)
        self.user.user_permissions.clear()
        self.assertEqual(self.client.get(self.sound_url(self.version)).status_code, 403)

    def test_a_page_is_published_though_the_broker_is_away(self) -> None:
        logging.disable(logging.CRITICAL)
        with (
            mock.patch.object(app, "send_task", side_effect=RedisGone),
            self.captureOnCommitCallbacks(execute=True),
        ):
            response: Any = self.post_agent("_publish", self.world.draft)
        self.assertContains(response, "Version 2 is published: new calls use it.")
