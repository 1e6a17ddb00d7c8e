import base64
import json
import typing

from django.test import SimpleTestCase

from media.engine import commands, events
from media.wire import twilio
from media.wire.twilio import Connected, Start, WireError

CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
START = (
    '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","streamSid":"MZ1","callSid":"CA1",'
    '"tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},'
    '"customParameters":{"token":"t"}},"streamSid":"MZ1"}'
)
MEDIA = (
    '{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"1","timestamp":"5",'
    '"payload":"%s"},"streamSid":"MZ1"}'
)
DTMF = '{"event":"dtmf","streamSid":"MZ1","sequenceNumber":"5","dtmf":{"track":"inbound_track","digit":"%s"}}'
MARK = '{"event":"mark","sequenceNumber":"4","streamSid":"MZ1","mark":{"name":"m-17"}}'
STOP = '{"event":"stop","sequenceNumber":"5","streamSid":"MZ1","stop":{"accountSid":"AC1","callSid":"CA1"}}'


class FromTwilio(SimpleTestCase):
    def test_the_documented_messages_are_understood(self) -> None:
        frame = base64.b64encode(b"\xff" * 160).decode()
        expected = {
            CONNECTED: Connected(),
            START: Start("MZ1", "CA1", "AC1", {"token": "t"}),
            MEDIA % frame: events.CallerAudio(frame),
            MARK: events.MarkReached("m-17"),
            STOP: events.StreamStopped(),
        }
        for raw, meaning in expected.items():
            self.assertEqual(twilio.decode(raw), meaning)
            self.assertEqual(twilio.decode(raw.encode()), meaning)

    def test_every_key_of_a_telephone_is_understood(self) -> None:
        for digit in "0123456789*#ABCD":
            self.assertEqual(twilio.decode(DTMF % digit), events.DtmfPressed(digit))

    def test_what_is_no_key_is_refused(self) -> None:
        for digit in ("", "11", "x", "1\\n", "\\u0661"):
            with self.assertRaises(WireError):
                twilio.decode(DTMF % digit)

    def test_a_start_without_parameters_has_none(self) -> None:
        start = twilio.decode(START.replace(',"customParameters":{"token":"t"}', ""))
        self.assertEqual(start, Start("MZ1", "CA1", "AC1", {}))

    def test_audio_of_another_format_is_refused(self) -> None:
        for wrong in ('"sampleRate":16000', '"sampleRate":"8000"'):
            with self.assertRaisesMessage(WireError, "unexpected value at $.start.mediaFormat"):
                twilio.decode(START.replace('"sampleRate":8000', wrong))

    def test_fields_nobody_has_heard_of_are_tolerated(self) -> None:
        self.assertEqual(twilio.decode(MARK.replace("{", '{"new":[1],', 1)), events.MarkReached("m-17"))

    def test_kinds_nobody_has_heard_of_are_tolerated(self) -> None:
        self.assertEqual(twilio.decode('{"event":"hologram"}'), events.UnknownCarrierEvent("hologram"))
        self.assertEqual(twilio.decode('{"event":"%s"}' % ("x" * 999)), events.UnknownCarrierEvent("x" * 64))

    def test_audio_that_cannot_be_audio_is_refused(self) -> None:
        self.assertEqual(twilio.decode(MEDIA % ("A" * 65536)), events.CallerAudio("A" * 65536))
        for wrong in (MEDIA % "", MEDIA % ("A" * 65537), MEDIA.replace('"%s"', "7"), MEDIA.replace('"%s"', "null")):
            with self.assertRaisesMessage(WireError, "unexpected value at $.media.payload"):
                twilio.decode(wrong)

    def test_what_is_no_message_is_refused_without_repeating_it(self) -> None:
        expected = {
            "secret": "not JSON",
            '{"event":"media"': "not JSON",
            '["secret"]': "no kind at $.event",
            '{"event":7}': "no kind at $.event",
            "{}": "no kind at $.event",
            '{"event":"mark","mark":"secret"}': "unexpected value at $.mark",
            '{"event":"mark"}': "unexpected value at ",
        }
        for raw, reason in expected.items():
            with self.assertRaises(WireError) as caught:
                twilio.decode(raw)
            self.assertIn(reason, str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))
        with self.assertRaisesMessage(WireError, "not JSON"):
            twilio.decode(b"\xff\xfe")
        with self.assertRaisesMessage(WireError, "not JSON"):
            twilio.decode(b'{"event":"mark","mark":{"name":"\xff"}}')


class ToTwilio(SimpleTestCase):
    EXPECTED: typing.ClassVar[dict[commands.PlayAudio | commands.SendMark | commands.ClearPlayback, object]] = {
        commands.PlayAudio(b"\xff\xff"): {"event": "media", "streamSid": "MZ1", "media": {"payload": "//8="}},
        commands.SendMark("m7"): {"event": "mark", "streamSid": "MZ1", "mark": {"name": "m7"}},
        commands.ClearPlayback(): {"event": "clear", "streamSid": "MZ1"},
    }

    def test_every_command_has_exactly_the_documented_fields(self) -> None:
        for command, message in self.EXPECTED.items():
            text = twilio.encode(command, "MZ1")
            self.assertIsInstance(text, bytes)
            self.assertEqual(json.loads(text), message)

    def test_no_command_to_the_carrier_is_forgotten(self) -> None:
        kinds = set(typing.get_args(commands.CarrierCommand))
        self.assertEqual({type(command) for command in self.EXPECTED}, kinds - {commands.CloseStream})
