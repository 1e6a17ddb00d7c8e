"""Recordings to be heard: the drawing, parts of a file, and by whom and for how long an address may be used."""

from __future__ import annotations

import io
import re
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, Permission, User
from django.core import signing
from django.test import AsyncClient, SimpleTestCase, TestCase, override_settings
from django.urls import reverse

from businesses.models import Business
from calls import player, ranges, recording_files, recording_pages, waveform
from calls.models import CallLog, ConversationTurn, Recording
from tests.businesses.worlds import staff_member
from tests.calls.support import CALL_SID, a_business
from tests.calls.test_recording_files import a_wav

BEGAN = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)


class RangesTest(SimpleTestCase):
    def test_one_range_is_read(self) -> None:
        for header, part in (
            ("bytes=0-", (0, 1000)),
            ("bytes=0-0", (0, 1)),
            ("bytes=10-19", (10, 20)),
            ("bytes=990-5000", (990, 1000)),
            ("bytes=-5", (995, 1000)),
            ("bytes=-5000", (0, 1000)),
        ):
            with self.subTest(header):
                self.assertEqual(ranges.read(header, 1000), part)

    def test_no_more_than_a_mebibyte_at_once(self) -> None:
        self.assertEqual(ranges.read("bytes=5-", 10**9), (5, 5 + ranges.MOST))

    def test_what_is_not_supported_or_no_range_is_the_whole_file(self) -> None:
        for header in ("", "bytes=", "bytes=-", "bytes=1-2,5-6", "lines=1-2", "bytes=7-3", "bytes=a-", "bytes=\u0661-"):
            with self.subTest(header):
                self.assertIsNone(ranges.read(header, 1000))

    def test_what_begins_after_the_end_is_said_so(self) -> None:
        for header, size in (("bytes=1000-", 1000), ("bytes=-0", 1000), ("bytes=0-", 0)):
            with self.subTest(header), self.assertRaises(ranges.NotInTheFile):
                ranges.read(header, size)


class DrawingTest(SimpleTestCase):
    def test_each_side_has_a_lane_drawn_to_the_loudest_of_both(self) -> None:
        drawing = player.draw([[0, 128], [64, 0]], 10, None, [])
        self.assertEqual(drawing.lanes, ["M1.5 2V38", "M0.5 51V69"])
        self.assertEqual((drawing.middles, drawing.height, drawing.marks), ([20, 60], 80, []))

    def test_noise_on_a_silent_line_is_not_drawn_as_speech(self) -> None:
        self.assertEqual(player.draw([[1]], 10, None, []).lanes, ["M0.5 19.4V20.6"])

    def test_turns_lie_along_it_until_the_next_one_begins(self) -> None:
        turns = [(0, BEGAN - timedelta(seconds=0.4)), (1, BEGAN + timedelta(seconds=5)), (2, None)]
        turns.append((3, BEGAN + timedelta(seconds=60)))
        marks = player.draw([[0]], 10, BEGAN, turns).marks
        self.assertEqual([(mark.index, mark.seconds) for mark in marks], [(0, 0.0), (1, 5.0), (3, 10.0)])
        self.assertEqual([(mark.x, mark.width) for mark in marks], [(0.0, 300.0), (300.0, 300.0), (600.0, 0.0)])

    def test_without_a_length_or_without_turns_nothing_can_be_placed(self) -> None:
        self.assertEqual(player.draw([], 0, BEGAN, [(0, BEGAN)]).marks, [])
        for turns in ([], [(0, None)]):
            self.assertEqual(player.draw([[0]], 10, BEGAN, turns).marks, [])


class PlayingTest(TestCase):
    def setUp(self) -> None:
        self.enterContext(override_settings(MEDIA_ROOT=self.enterContext(tempfile.TemporaryDirectory())))
        self.business, _ = a_business()
        self.call = CallLog.objects.create(
            call_sid=CALL_SID, business=self.business, status="completed", started_at=BEGAN, is_complete=True
        )
        for index in range(3):
            ConversationTurn.objects.create(
                call=self.call, turn_index=index, bot_reply="Yes.", started_at=BEGAN + timedelta(seconds=index)
            )
        self.content = a_wav([8000] * 24000, [0] * 24000).getvalue()
        self.recording = Recording.objects.create(
            business=self.business, call=self.call, recording_sid="RE" + "3" * 32, state="waiting", started_at=BEGAN
        )
        name = recording_files.keep(self.recording, io.BytesIO(self.content))
        heard = waveform.read(io.BytesIO(self.content))
        self.assertEqual(recording_files.stored(self.recording, name, len(self.content), heard), "stored")
        self.user = staff_member(self.business)
        self.client.force_login(self.user)
        self.page = reverse("admin:calls_calllog_change", args=[self.call.pk])

    def address(self, user: User | None = None) -> str:
        self.recording.refresh_from_db()
        return recording_pages.address(self.recording, user or self.user)

    def renewing(self) -> str:
        return reverse("admin:calls_recording_address", args=[self.recording.pk])

    def test_the_page_of_the_call_has_a_player_with_both_sides_and_the_turns(self) -> None:
        page = self.client.get(self.page).content.decode()
        for mark, seconds in enumerate(("0.0", "1.0", "2.0")):
            self.assertIn(f'data-turn="{mark}" data-seconds="{seconds}"', page)
        self.assertIn("player__lane--caller", page)
        self.assertIn("player__lane--agent", page)
        found = re.search(r'<audio [^>]*src="([^"]+)"', page)
        assert found is not None
        self.assertEqual(self.client.get(found[1], headers={"Range": "bytes=0-3"}).content, b"RIFF")
        for inline in ("<script>", " style=", " onclick="):
            self.assertNotIn(inline, page.split('id="content-main"')[1])

    def test_any_part_of_the_file_can_be_asked_for(self) -> None:
        address, size = self.address(), len(self.content)
        part = self.client.get(address, headers={"Range": "bytes=100-199"})
        self.assertEqual((part.status_code, part.content), (206, self.content[100:200]))
        self.assertEqual(part["Content-Range"], f"bytes 100-199/{size}")
        self.assertEqual((part["Content-Length"], part["Content-Type"]), ("100", "audio/wav"))
        self.assertEqual(part["Accept-Ranges"], "bytes")
        self.assertIn("no-store", part["Cache-Control"])
        last = self.client.get(address, headers={"Range": "bytes=-10"})
        self.assertEqual(last.content, self.content[-10:])
        after = self.client.get(address, headers={"Range": f"bytes={size}-"})
        self.assertEqual((after.status_code, after["Content-Range"]), (416, f"bytes */{size}"))
        with mock.patch.object(ranges, "MOST", 1000):
            some = self.client.get(address, headers={"Range": "bytes=0-"})
        self.assertEqual((len(some.content), some["Content-Range"]), (1000, f"bytes 0-999/{size}"))

    def test_without_a_range_the_whole_file_is_streamed(self) -> None:
        client = AsyncClient()
        client.force_login(self.user)

        async def whole() -> tuple[Any, bytes]:
            response: Any = await client.get(self.address_now)
            return response, b"".join([piece async for piece in response.streaming_content])

        self.address_now = self.address()
        response, content = async_to_sync(whole)()
        self.assertEqual((response.status_code, response["Content-Length"]), (200, str(len(self.content))))
        self.assertEqual(content, self.content)

    def test_an_address_is_for_one_user_and_ten_minutes_and_cannot_be_made_up(self) -> None:
        colleague = staff_member(self.business, name="otto")
        mine = self.address()
        self.assertEqual(self.client.get(self.address(colleague)).status_code, 404)
        self.assertEqual(self.client.get(mine[:-3] + "x/").status_code, 404)
        forged = signing.dumps([self.user.pk, self.recording.pk], salt="another")
        self.assertEqual(self.client.get(reverse("admin:calls_recording_audio", args=[forged])).status_code, 404)
        odd = signing.dumps("odd", salt="calls.recording")
        self.assertEqual(self.client.get(reverse("admin:calls_recording_audio", args=[odd])).status_code, 404)
        later = time.time() + recording_pages.LIFETIME_SECONDS + 1
        with mock.patch("django.core.signing.time.time", lambda: later):
            self.assertEqual(self.client.get(mine).status_code, 404)
            self.assertEqual(self.client.get(self.renewing()).status_code, 200)
            fresh = self.client.get(self.renewing()).json()["address"]
            self.assertEqual(self.client.get(fresh, headers={"Range": "bytes=0-3"}).status_code, 206)

    def test_another_business_is_answered_as_if_it_were_not_there(self) -> None:
        other = Business.objects.create(name="Other")
        stranger = staff_member(other, name="stranger")
        self.client.force_login(stranger)
        for address in (self.address(stranger), self.address(), self.renewing()):
            self.assertEqual(self.client.get(address).status_code, 404)

    def test_without_the_permission_there_is_no_player_and_no_address(self) -> None:
        self.user.user_permissions.remove(Permission.objects.get(codename="view_recording"))
        page = self.client.get(self.page)
        self.assertEqual(page.status_code, 200)
        self.assertNotContains(page, "<audio")
        for address in (self.address(), self.renewing()):
            self.assertEqual(self.client.get(address).status_code, 404)

    def test_nobody_who_is_not_logged_in_hears_anything_and_nothing_is_posted(self) -> None:
        self.assertEqual(self.client.post(self.address()).status_code, 405)
        self.assertEqual(self.client.post(self.renewing()).status_code, 405)
        self.client.logout()
        for address in (self.address(), self.renewing()):
            self.assertEqual(self.client.get(address).status_code, 302)

    def test_one_that_is_not_stored_or_whose_file_is_gone_is_not_found(self) -> None:
        address = self.address()
        self.recording.file.storage.delete(str(self.recording.file.name))
        with self.assertLogs("calls.recording_pages", "ERROR"):
            self.assertEqual(self.client.get(address).status_code, 404)
        Recording.objects.update(state="waiting")
        self.assertEqual(self.client.get(address).status_code, 404)
        self.assertNotContains(self.client.get(self.page), "<audio")

    def test_operators_may_hear_recordings(self) -> None:
        permissions = Group.objects.get(name="Operators").permissions
        self.assertTrue(permissions.filter(codename="view_recording").exists())

    def test_the_list_of_recordings_says_how_they_are_and_has_failed_ones_fetched_again(self) -> None:
        Recording.objects.update(state="failed", error="not_there", tries=12)
        page = self.client.get(reverse("admin:calls_recording_changelist"))
        self.assertContains(page, "Could not be fetched")
        self.assertContains(page, "not_there, 12 tries")
        form = {"action": "fetch_again", "_selected_action": [self.recording.pk]}
        self.client.post(reverse("admin:calls_recording_changelist"), form)
        self.recording.refresh_from_db()
        self.assertEqual((self.recording.state, self.recording.tries), ("waiting", 0))
