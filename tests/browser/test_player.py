"""The player of a recording in a real browser: it plays, goes to a turn, by mouse and by keyboard, and outlives its
address."""

from __future__ import annotations

import io
import math
import os
import tempfile
import time
from datetime import timedelta
from typing import Any
from unittest import mock

from django.test import override_settings
from django.utils import timezone

from analysis.models import Transcription
from businesses import demo
from calls import ranges, recording_files, recording_pages, services, waveform
from calls.models import CallLog, CallMessage, ConversationTurn, Recording
from tests.browser.browsing import DESK, PHONE, BrowserTest
from tests.calls.test_recording_files import a_wav

SECONDS, TURNS = 60, 6


def a_conversation() -> io.BytesIO:
    """Caller and agent by turns, five seconds each, in waves that can be told apart."""
    caller, agent = [], []
    for sample in range(SECONDS * 8000):
        loud = int(9000 * (1 + math.sin(sample / 900)) / 2 * (1 if sample // 8 % 2 else -1))
        speaks = sample // 40000 % 2
        caller.append(0 if speaks else loud)
        agent.append(loud // 2 if speaks else 0)
    return a_wav(caller, agent)


class PlayerInABrowserTest(BrowserTest):
    def setUp(self) -> None:
        super().setUp()
        self.enterContext(override_settings(MEDIA_ROOT=self.enterContext(tempfile.TemporaryDirectory())))
        business = demo.seed()
        began = timezone.now() - timedelta(minutes=5)
        call = CallLog.objects.create(
            call_sid="CA" + "1" * 32,
            business=business,
            agent_version=business.agents.get().published_version(),
            from_number="+15550100155",
            status="completed",
            started_at=began,
            duration_seconds=SECONDS,
            expected_turns=TURNS,
            streams={"0": {"turns": TURNS}},
            is_complete=True,
            recording_consent="announced",
        )
        for index in range(TURNS):
            ConversationTurn.objects.create(
                call=call,
                turn_index=index,
                user_text="When are you open?" if index else "",
                bot_reply="From eight in the morning until five.",
                started_at=began + timedelta(seconds=10 * index),
            )
        recording = Recording.objects.create(
            business=business, call=call, recording_sid="RE" + "1" * 32, state="waiting", started_at=began
        )
        content = a_conversation()
        size, heard = len(content.getvalue()), waveform.read(content)
        recording_files.stored(recording, recording_files.keep(recording, content), size, heard)
        self.pages = {
            "call": f"/admin/calls/calllog/{call.pk}/change/",
            "recordings": "/admin/calls/recording/",
            "messages": "/admin/calls/callmessage/",
            "transcriptions": "/admin/analysis/transcription/",
            "message": f"/admin/calls/callmessage/{self.a_spoken_message(call).pk}/change/",
        }

    def a_spoken_message(self, call: CallLog) -> CallMessage:
        sid = "RE" + "2" * 32
        told: dict[str, Any] = {
            "duration_seconds": SECONDS,
            "started_at": timezone.now().isoformat(),
            "consent": "voicemail",
        }
        services.save_recording(call.call_sid, call.business_id, sid, "waiting", **told)
        recording, content = Recording.objects.get(recording_sid=sid), a_wav([6000, -6000] * SECONDS * 4000)
        size, heard = len(content.getvalue()), waveform.read(content)
        recording_files.stored(recording, recording_files.keep(recording, content), size, heard)
        message = CallMessage.objects.get(key=sid)
        Transcription.objects.create(business=call.business, message=message, state="failed", error="x" * 40)
        CallMessage.objects.filter(pk=message.pk).update(text_state="failed")
        return message

    def place(self, page: Any) -> float:
        seconds: float = page.eval_on_selector(".player__audio", "audio => audio.currentTime")
        return seconds

    def playing_from(self, page: Any, seconds: float) -> None:
        page.wait_for_function(
            """from => { const audio = document.querySelector(".player__audio");
            return !audio.paused && audio.currentTime > from && audio.currentTime < from + 5; }""",
            arg=seconds,
            timeout=10_000,
        )

    def open_muted(self, browser: Any, size: tuple[int, int]) -> Any:
        page = self.logged_in(browser, size)
        self.open(page, "call")
        page.wait_for_function("document.querySelector('.player__audio').readyState > 0", timeout=10_000)
        page.eval_on_selector(".player__audio", "audio => { audio.muted = true; }")
        return page

    def test_it_plays_and_goes_to_a_turn_at_a_desk_and_on_a_phone(self) -> None:
        # Smaller parts than a browser asks for, so that it has to come back for the rest.
        with mock.patch.object(ranges, "MOST", 64 * 1024), self.browser() as browser:
            for size in (DESK, PHONE):
                with self.subTest(width=size[0]):
                    page = self.open_muted(browser, size)
                    self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), size[0])
                    self.assertEqual(page.locator(".player").first.locator(".player__lane").count(), 2)
                    self.assertEqual(page.locator(".player__turns a").count(), TURNS)
                    length = page.eval_on_selector(".player__audio", "audio => audio.duration")
                    self.assertAlmostEqual(length, SECONDS, delta=0.1)
                    page.click('.player__turns a[data-turn="3"]')
                    self.playing_from(page, 30)
                    page.wait_for_selector("#turn-3.turn--now")
                    box = page.locator(".player__wave").first.bounding_box()
                    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 20)
                    self.playing_from(page, SECONDS * 0.75)
                    page.focus("#turn-1 .turn__play")
                    page.keyboard.press("Enter")
                    self.playing_from(page, 10)
                    page.wait_for_selector("#turn-1.turn--now")
                    if folder := os.environ.get("SCREENSHOTS"):
                        page.screenshot(path=f"{folder}/player-{size[0]}.png", full_page=True)
                    self.open(page, "recordings")
                    self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), size[0])
                    inner, outer = page.eval_on_selector(".results", "box => [box.scrollWidth, box.clientWidth]")
                    self.assertLessEqual(inner, outer)
                    if folder:
                        page.screenshot(path=f"{folder}/recordings-{size[0]}.png", full_page=True)
        self.assertEqual(self.complaints, [])
        self.assertEqual(self.hosts, {self.live_server_url.removeprefix("http://")})

    def test_a_spoken_message_is_heard_on_its_page(self) -> None:
        with self.browser() as browser:
            for size in (DESK, PHONE):
                page = self.logged_in(browser, size)
                for name in ("messages", "transcriptions", "message"):
                    with self.subTest(page=name, width=size[0]):
                        self.open(page, name)
                        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), size[0])
                        if folder := os.environ.get("SCREENSHOTS"):
                            page.screenshot(path=f"{folder}/{name}-{size[0]}.png", full_page=True)
                        if name != "message":
                            inner, outer = page.eval_on_selector(".results", "b => [b.scrollWidth, b.clientWidth]")
                            self.assertLessEqual(inner, outer)
                self.assertEqual(page.locator(".player__lane").count(), 1)
                page.eval_on_selector(".player__audio", "audio => { audio.muted = true; }")
                box = page.locator(".player__wave").first.bounding_box()
                page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 10)
                self.playing_from(page, SECONDS / 2)
        self.assertEqual(self.complaints, [])

    def test_a_page_that_was_left_open_gets_a_new_address(self) -> None:
        real = time.time
        with mock.patch.object(ranges, "MOST", 64 * 1024), self.browser() as browser:
            page = self.open_muted(browser, DESK)
            old = page.get_attribute(".player__audio", "src")
            later = recording_pages.LIFETIME_SECONDS + 60
            with mock.patch("django.core.signing.time.time", lambda: real() + later):
                page.click('.player__turns a[data-turn="4"]')
                self.playing_from(page, 40)
            self.assertNotEqual(page.get_attribute(".player__audio", "src"), old)
            self.assertFalse(page.is_visible(".player__note"))
        # The browser itself notes that the old address was not found; nothing else.
        self.assertEqual([said for said in self.complaints if "404" not in said], [])
