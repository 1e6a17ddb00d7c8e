"""A strict reading of TwiML: what Twilio would not do becomes a complaint (twilio.com/docs/voice/twiml)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

from simulators.carrier.ledger import Complaint

_SAY = frozenset({"voice", "language", "loop"})
_PLAY = frozenset({"loop", "digits"})
_STREAM = frozenset(
    {"url", "name", "track", "statusCallback", "statusCallbackMethod", "connectorName", "audioFormat", "sampleRate"}
)
_RECORDING_CALLBACK = frozenset(
    {"recordingStatusCallback", "recordingStatusCallbackMethod", "recordingStatusCallbackEvent"}
)
_STATUS_CALLBACK = frozenset({"statusCallback", "statusCallbackMethod", "statusCallbackEvent"})
_MACHINE = frozenset(
    {
        "machineDetection",
        "machineDetectionTimeout",
        "machineDetectionSpeechThreshold",
        "machineDetectionSpeechEndThreshold",
        "machineDetectionSilenceTimeout",
        "amdStatusCallback",
        "amdStatusCallbackMethod",
    }
)

ATTRIBUTES: dict[str, frozenset[str]] = {
    "Say": _SAY,
    "Play": _PLAY,
    "Pause": frozenset({"length"}),
    "Connect": frozenset({"action", "method"}),
    "Start": frozenset({"action", "method"}),
    "Stop": frozenset(),
    "Stream": _STREAM,
    "Parameter": frozenset({"name", "value"}),
    "Recording": _RECORDING_CALLBACK | {"trim", "track", "channels", "recordingConfigurationId", "name"},
    "Record": _RECORDING_CALLBACK
    | {
        "action",
        "method",
        "timeout",
        "finishOnKey",
        "maxLength",
        "playBeep",
        "trim",
        "transcribe",
        "transcribeCallback",
    },
    "Redirect": frozenset({"method"}),
    "Hangup": frozenset(),
    "Reject": frozenset({"reason"}),
    "Gather": frozenset(
        {"action", "method", "input", "timeout", "numDigits", "finishOnKey", "speechTimeout", "language", "hints"}
        | {"actionOnEmptyResult", "speechModel", "enhanced", "profanityFilter", "bargeIn"}
        | {"partialResultCallback", "partialResultCallbackMethod"}
    ),
    "Dial": _RECORDING_CALLBACK
    | {"action", "method", "timeout", "callerId", "answerOnBridge", "record", "hangupOnStar", "timeLimit", "trim"}
    | {"ringTone", "recordingTrack", "referUrl", "referMethod", "sequential"},
    "Number": _STATUS_CALLBACK | _MACHINE | {"url", "method", "sendDigits", "byoc"},
    "Sip": _STATUS_CALLBACK | _MACHINE | {"url", "method", "username", "password"},
    "Client": _STATUS_CALLBACK | {"url", "method"},
    "Conference": _STATUS_CALLBACK
    | {
        "muted",
        "beep",
        "startConferenceOnEnter",
        "endConferenceOnExit",
        "waitUrl",
        "waitMethod",
        "maxParticipants",
        "record",
    },
    "Queue": frozenset({"url", "method", "reservationSid", "postWorkActivitySid"}),
    "Enqueue": frozenset({"action", "method", "waitUrl", "waitUrlMethod", "maxQueueSize", "workflowSid"}),
    "Leave": frozenset(),
}
CHILDREN: dict[str, frozenset[str]] = {
    "Response": frozenset(ATTRIBUTES)
    - {"Stream", "Parameter", "Recording", "Number", "Sip", "Client", "Conference", "Queue"},
    "Connect": frozenset({"Stream"}),
    "Start": frozenset({"Stream", "Recording"}),
    "Stop": frozenset({"Stream", "Recording"}),
    "Stream": frozenset({"Parameter"}),
    "Gather": frozenset({"Say", "Play", "Pause"}),
    "Dial": frozenset({"Number", "Sip", "Client", "Conference", "Queue"}),
}
_VALUES: dict[tuple[str, str], frozenset[str]] = {
    ("Reject", "reason"): frozenset({"rejected", "busy"}),
    ("Recording", "channels"): frozenset({"mono", "dual"}),
    ("Recording", "track"): frozenset({"inbound", "outbound", "both"}),
    ("Recording", "trim"): frozenset({"trim-silence", "do-not-trim"}),
    ("Dial", "answerOnBridge"): frozenset({"true", "false"}),
    ("Record", "playBeep"): frozenset({"true", "false"}),
    ("Record", "trim"): frozenset({"trim-silence", "do-not-trim"}),
    ("Gather", "input"): frozenset({"dtmf", "speech", "dtmf speech", "speech dtmf"}),
    ("Gather", "actionOnEmptyResult"): frozenset({"true", "false"}),
    ("Gather", "profanityFilter"): frozenset({"true", "false"}),
    ("Enqueue", "method"): frozenset({"GET", "POST"}),
    ("Enqueue", "waitUrlMethod"): frozenset({"GET", "POST"}),
}
_RANGES: dict[tuple[str, str], range] = {  # of whole numbers
    ("Dial", "timeout"): range(5, 601),
    ("Dial", "timeLimit"): range(1, 14_401),
    ("Gather", "numDigits"): range(1, 1000),
    ("Gather", "timeout"): range(1, 601),
}
_EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})
_RECORDING_EVENTS = frozenset({"in-progress", "completed", "absent"})
LONGEST_RECORDING = 14_400
MAX_PARAMETER = 500
MAX_HINTS, MAX_HINT = 500, 100
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
MAX_NUMBERS = 10
MAX_QUEUE_NAME = 64


@dataclass(frozen=True, slots=True)
class Verb:
    """One element. `text` is its stripped text, `children` what it contains."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    children: tuple["Verb", ...] = ()

    def get(self, attribute: str, default: str = "") -> str:
        return self.attributes.get(attribute, default)


@dataclass(frozen=True, slots=True)
class Document:
    """One TwiML answer, the URL it came from, what is wrong with it. `usable` false: Twilio would drop the call."""

    url: str
    verbs: tuple[Verb, ...] = ()
    complaints: tuple[Complaint, ...] = ()
    usable: bool = True


def parse(body: bytes, content_type: str, url: str) -> Document:
    """Reads one answer. Relative URLs in it are later resolved against `url`."""
    media_type = content_type.partition(";")[0].strip().lower()
    complaints = []
    if media_type not in {"text/xml", "application/xml"}:
        complaints.append(Complaint(12300, "invalid Content-Type of TwiML", content_type or "none"))
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        return Document(url, (), (*complaints, Complaint(12100, "TwiML with a document type")), usable=False)
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - no entities, checked above
    except ElementTree.ParseError as error:
        return Document(url, (), (*complaints, Complaint(12100, "TwiML does not parse", str(error))), usable=False)
    if root.tag != "Response":
        return Document(
            url, (), (*complaints, Complaint(12102, "root of TwiML is not Response", root.tag)), usable=False
        )
    complaints += _complaints(root, url)
    return Document(url, tuple(_verb(child) for child in root), tuple(complaints))


def stream_url(document_url: str, attribute: str) -> str:
    """The absolute wss:// URL of a `<Stream>`; a relative one is of the document's origin."""
    if "://" in attribute:
        return attribute
    joined = urljoin(document_url, attribute)
    return "wss" + joined[joined.index(":") :]


def _verb(element: ElementTree.Element) -> Verb:
    children = tuple(_verb(child) for child in element)
    return Verb(element.tag, dict(element.attrib), (element.text or "").strip(), children)


def _complaints(element: ElementTree.Element, url: str) -> Iterator[Complaint]:
    name = element.tag
    allowed = ATTRIBUTES.get(name, frozenset())
    for attribute, value in element.attrib.items():
        if attribute not in allowed:
            yield Complaint(12200, "unknown attribute in TwiML", f"{name} {attribute}")
        elif value not in _VALUES.get((name, attribute), {value}):
            yield Complaint(12200, "unknown value in TwiML", f"{name} {attribute}={value}")
        elif (name, attribute) in _RANGES and not (value.isdigit() and int(value) in _RANGES[name, attribute]):
            yield Complaint(12200, "value out of range in TwiML", f"{name} {attribute}={value}")
        elif name == "Number" and attribute == "statusCallbackEvent" and not set(value.split()) <= _EVENTS:
            yield Complaint(12200, "unknown value in TwiML", f"{name} {attribute}={value}")
    if unknown := set(element.get("recordingStatusCallbackEvent", "").split()) - _RECORDING_EVENTS:
        yield Complaint(12200, "unknown event of a recording", min(unknown))
    if name in {"Response", "Connect", "Start", "Stop", "Stream"} and (element.text or "").strip():
        yield Complaint(12200, "text where TwiML has none", name)
    for child in element:
        if child.tag not in CHILDREN.get(name, frozenset()):
            yield Complaint(12200, "unknown element in TwiML", f"{child.tag} in {name}")
        else:
            yield from _complaints(child, url)
    yield from _rules(element, url)


def _rules(element: ElementTree.Element, url: str) -> Iterator[Complaint]:
    match element.tag:
        case "Connect":
            if len(element) != 1:
                yield Complaint(12200, "Connect holds exactly one element", str(len(element)))
            for stream in element.iter("Stream"):
                if stream.get("track", "inbound_track") != "inbound_track":
                    yield Complaint(31941, "invalid track of a Connect Stream", stream.get("track", ""))
        case "Stream":
            yield from _stream_url_rules(element.get("url", ""), url)
            names = [child.get("name", "") for child in element]
            if len(set(names)) != len(names):
                yield Complaint(12200, "two Parameters of one name", ", ".join(names))
        case "Parameter":
            if not element.get("name"):
                yield Complaint(12200, "Parameter without a name")
            if len(element.get("name", "")) + len(element.get("value", "")) >= MAX_PARAMETER:
                yield Complaint(12200, "Parameter of 500 characters or more", element.get("name", ""))
        case "Redirect" if not (element.text or "").strip():
            yield Complaint(12100, "Redirect without a URL")
        case "Record" if not 1 < _whole(element.get("maxLength", "3600")) <= LONGEST_RECORDING:
            yield Complaint(12200, "Record maxLength is not a number from 2 to 14400", element.get("maxLength", ""))
        case "Record" if not _whole(element.get("timeout", "5")):
            yield Complaint(12200, "Record timeout is not a positive number", element.get("timeout", ""))
        case "Record" if set(element.get("finishOnKey", "#")) - set("0123456789*#"):
            yield Complaint(12200, "Record finishOnKey holds what is no key", element.get("finishOnKey", ""))
        case "Pause" if not element.get("length", "1").isdigit():
            yield Complaint(12200, "Pause length is not a number", element.get("length", ""))
        case "Gather":
            yield from _gather_rules(element)
        case "Dial" if len(element) > MAX_NUMBERS:
            yield Complaint(13221, "Dial of more than ten numbers", str(len(element)))
        case "Enqueue" | "Queue" if not 0 < len((element.text or "").strip()) <= MAX_QUEUE_NAME:
            yield Complaint(12200, "the name of a queue has 1 to 64 characters", element.tag)
        case "Dial" if len(element) > 1 and element.find("Queue") is not None:
            yield Complaint(12200, "a Queue is dialled alone")
        case "Dial" if not len(element) and not (element.text or "").strip():
            yield Complaint(12200, "Dial of nobody")


def _gather_rules(element: ElementTree.Element) -> Iterator[Complaint]:
    """What is asked of speech. `speechTimeout` in seconds; "auto" only where Twilio chooses the model (13327)."""
    pause = element.get("speechTimeout", "1")
    if not _whole(pause) and (pause != "auto" or "speechModel" in element.attrib):
        yield Complaint(13327, "invalid speechTimeout of a Gather", pause)
    hints = element.get("hints", "").split(",")
    if len(hints) > MAX_HINTS or max(len(hint.strip()) for hint in hints) > MAX_HINT:
        yield Complaint(12200, "too many or too long hints of a Gather", str(len(hints)))
    if not _LANGUAGE_TAG.fullmatch(element.get("language", "en-US")):
        yield Complaint(12200, "language of a Gather is no BCP 47 tag", element.get("language", ""))
    about_speech = {"speechTimeout", "hints", "language", "speechModel", "enhanced", "profanityFilter"}
    if "speech" not in element.get("input", "dtmf").split() and about_speech & set(element.attrib):
        yield Complaint(12200, "a Gather that hears no speech asks for it", min(about_speech & set(element.attrib)))


def _whole(number: str) -> int:
    """Zero for what is none."""
    return int(number) if number.isascii() and number.isdigit() else 0


def _stream_url_rules(attribute: str, document_url: str) -> Iterator[Complaint]:
    if not attribute:
        yield Complaint(31923, "Stream without a url")
        return
    try:
        parts = urlsplit(stream_url(document_url, attribute))
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        yield Complaint(31923, "malformed Stream url", str(error))
        return
    if parts.scheme != "wss":
        yield Complaint(31922, "Stream url is not wss", parts.scheme)
    if not host:
        yield Complaint(31923, "malformed Stream url", "no host")
    if parts.query or parts.fragment:
        yield Complaint(31923, "Stream url with a query string or fragment, which Twilio does not support")
