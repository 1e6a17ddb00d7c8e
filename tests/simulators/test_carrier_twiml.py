"""TwiML is read as strictly as Twilio reads it, or more."""

from django.test import SimpleTestCase

from simulators.carrier.twiml import Document, parse, stream_url

URL = "https://agent.example.com/voice/"


def read(body: str, content_type: str = "text/xml") -> Document:
    return parse(body.encode(), content_type, URL)


def codes(body: str, content_type: str = "text/xml") -> list[int]:
    return [complaint.code for complaint in read(body, content_type).complaints]


def stream(attributes: str, inside: str = "") -> str:
    return f"<Response><Connect><Stream {attributes}>{inside}</Stream></Connect></Response>"


GOOD = "url='wss://agent.example.com/media/'"


class TwimlTests(SimpleTestCase):
    def test_everything_a_voice_application_uses_is_read_without_complaint(self) -> None:
        document = read(
            """<?xml version="1.0" encoding="UTF-8"?><Response>
            <Start><Recording channels="dual" recordingStatusCallback="https://agent.example.com/rec"/></Start>
            <Say voice="Polly.Amy" language="en-GB">Hello</Say><Pause length="2"/><Play digits="1ww2"/>
            <Connect action="/ended/" method="POST"><Stream url="wss://agent.example.com/media/" name="call-1"
              statusCallback="https://agent.example.com/s"><Parameter name="token" value="x"/></Stream></Connect>
            <Dial action="/dialled/" callerId="+15550100100" timeout="20" answerOnBridge="true">
              <Number url="/whisper/" statusCallback="/n/" statusCallbackEvent="answered">+15550100111</Number></Dial>
            <Record maxLength="30" action="/recorded/"/><Enqueue waitUrl="/wait/">support</Enqueue>
            <Reject reason="busy"/><Redirect method="POST">/voice/</Redirect><Hangup/></Response>"""
        )
        self.assertEqual(document.complaints, ())
        self.assertEqual(
            [verb.name for verb in document.verbs],
            ["Start", "Say", "Pause", "Play", "Connect", "Dial", "Record", "Enqueue", "Reject", "Redirect", "Hangup"],
        )
        parameter = document.verbs[4].children[0].children[0]
        self.assertEqual((parameter.get("name"), parameter.get("value")), ("token", "x"))

    def test_what_does_not_parse_drops_the_call(self) -> None:
        for body, code in (
            ("<Response>", 12100),
            ("", 12100),
            ("<!DOCTYPE x><Response/>", 12100),
            ("<response/>", 12102),
        ):
            with self.subTest(body):
                self.assertFalse(read(body).usable)
                self.assertEqual(codes(body), [code])

    def test_a_content_type_that_is_not_xml_is_complained_about(self) -> None:
        self.assertEqual(codes("<Response/>", "text/html; charset=utf-8"), [12300])
        self.assertEqual(codes("<Response/>", ""), [12300])
        self.assertEqual(codes("<Response/>", "application/xml; charset=utf-8"), [])

    def test_unknown_verbs_attributes_and_values(self) -> None:
        for body in (
            "<Response><Speak>hi</Speak></Response>",
            "<Response><Say volume='9'>hi</Say></Response>",
            "<Response><Stream url='wss://agent.example.com/m/'/></Response>",
            "<Response><Reject reason='tired'/></Response>",
            "<Response><Pause length='short'/></Response>",
            "<Response>text</Response>",
            "<Response><Connect/></Response>",
            "<Response><Dial/></Response>",
            "<Response><Hangup><Say>no</Say></Hangup></Response>",
            stream(GOOD + " secret='1'"),
            stream(GOOD, "<Parameter value='1'/>"),
            stream(GOOD, "<Parameter name='a' value='1'/><Parameter name='a' value='2'/>"),
        ):
            with self.subTest(body):
                self.assertEqual(codes(body), [12200])

    def test_a_stream_url_must_be_wss_without_a_query(self) -> None:
        for url, code in (
            ("ws://agent.example.com/m/", 31922),
            ("https://agent.example.com/m/", 31922),
            ("wss://agent.example.com/m/?token=1", 31923),
            ("wss://agent.example.com/m/#x", 31923),
            ("wss:///m/", 31923),
            ("wss://agent.example.com:port/m/", 31923),
            ("", 31923),
        ):
            with self.subTest(url):
                self.assertEqual(codes(stream(f"url='{url}'")), [code])

    def test_a_relative_stream_url_belongs_to_the_documents_origin(self) -> None:
        self.assertEqual(codes(stream("url='/media/x/'")), [])
        self.assertEqual(stream_url(URL, "/media/x/"), "wss://agent.example.com/media/x/")

    def test_a_connect_stream_hears_the_inbound_track_only(self) -> None:
        self.assertEqual(codes(stream(GOOD + " track='inbound_track'")), [])
        self.assertEqual(codes(stream(GOOD + " track='both_tracks'")), [31941])

    def test_a_parameter_has_fewer_than_500_characters(self) -> None:
        self.assertEqual(codes(stream(GOOD, f"<Parameter name='token' value='{'x' * 494}'/>")), [])
        self.assertEqual(codes(stream(GOOD, f"<Parameter name='token' value='{'x' * 495}'/>")), [12200])

    def test_a_dial_rings_at_most_ten_numbers(self) -> None:
        self.assertEqual(codes(f"<Response><Dial>{'<Number>+15550100111</Number>' * 11}</Dial></Response>"), [13221])
