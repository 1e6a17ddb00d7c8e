"""What a server may send on a media stream, and what is refused."""

import base64
import json
from typing import Any

from django.test import SimpleTestCase

from simulators.carrier.outbound import Clear, Mark, Media, Refused, read

SID = "MZ" + "0" * 32


def media(payload: Any, **extra: Any) -> dict[str, Any]:
    return {"event": "media", "streamSid": SID, "media": {"payload": payload, **extra}}


class OutboundTests(SimpleTestCase):
    def refused(self, message: str | bytes) -> int:
        with self.assertRaises(Refused) as caught:
            read(message, SID)
        return caught.exception.complaint.code

    def test_the_three_messages(self) -> None:
        self.assertEqual(read(json.dumps(media("/////w==")), SID), Media(b"\xff\xff\xff\xff"))
        self.assertEqual(
            read(json.dumps({"event": "mark", "streamSid": SID, "mark": {"name": "m-1"}}), SID), Mark("m-1")
        )
        self.assertEqual(read(json.dumps({"event": "clear", "streamSid": SID}), SID), Clear())

    def test_what_is_not_text_of_a_json_object_is_malformed(self) -> None:
        for message in (json.dumps(media("/////w==")).encode(), "", "{", "[]", '"media"'):
            with self.subTest(message):
                self.assertEqual(self.refused(message), 31950)

    def test_every_message_twilio_would_call_invalid(self) -> None:
        for message in (
            {"event": "stop", "streamSid": SID},
            {"event": ["media"], "streamSid": SID},
            {"streamSid": SID},
            {**media("/////w=="), "streamSid": "MZ" + "1" * 32},
            {**media("/////w=="), "sequenceNumber": "1"},
            {"event": "media", "media": {"payload": "/////w=="}},
            {"event": "media", "streamSid": SID},
            {"event": "media", "streamSid": SID, "media": "/////w=="},
            media("/////w==", track="outbound"),
            media(""),
            media(7),
            media("not base64"),
            media("/////w"),
            media("/////x=="),
            media("\u00e9\u00e9\u00e9="),
            media(base64.b64encode(b"RIFF1234WAVE").decode()),
            {"event": "mark", "streamSid": SID, "mark": {}},
            {"event": "mark", "streamSid": SID, "mark": {"name": ""}},
            {"event": "mark", "streamSid": SID, "mark": {"name": 1}},
            {"event": "clear", "streamSid": SID, "clear": {}},
        ):
            with self.subTest(message):
                self.assertEqual(self.refused(json.dumps(message)), 31951)

    def test_a_field_given_twice(self) -> None:
        self.assertEqual(self.refused(f'{{"event":"clear","event":"clear","streamSid":"{SID}"}}'), 31951)
