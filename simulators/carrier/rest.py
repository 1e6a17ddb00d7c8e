"""The REST API for calls and recordings, as far as a voice application needs it (twilio.com/docs/voice/api).

Errors have Twilio's JSON: `code`, `message`, `more_info`, `status`. The server has threads of its own, apart from the
event loop of the calls.
"""

import base64
import hmac
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from simulators.carrier import twiml
from simulators.carrier.account import TERMINAL, Account, CallResource, RecordingResource
from simulators.carrier.pauses import Pause
from simulators.carrier.recordings import wav

MAX_TWIML = 4000
CURRENT = "Twilio.CURRENT"  # in place of a RecordingSid: the one that is running
NUMBER = re.compile(r"\+[1-9]\d{6,14}|client:.+|sip:.+")
Fields = dict[str, list[str]]
CREATE_CALL = frozenset(
    {"To", "From", "Url", "Twiml", "ApplicationSid", "Method", "FallbackUrl", "FallbackMethod", "Timeout", "TimeLimit"}
    | {"StatusCallback", "StatusCallbackEvent", "StatusCallbackMethod", "SendDigits", "Record", "RecordingChannels"}
    | {"RecordingStatusCallback", "RecordingStatusCallbackEvent", "RecordingStatusCallbackMethod", "RecordingTrack"}
    | {"Trim", "CallerId", "CallReason", "CallToken", "SipAuthUsername", "SipAuthPassword", "Byoc"}
    | {"MachineDetection", "MachineDetectionTimeout", "MachineDetectionSpeechThreshold", "AsyncAmd"}
    | {"MachineDetectionSpeechEndThreshold", "MachineDetectionSilenceTimeout"}
    | {"AsyncAmdStatusCallback", "AsyncAmdStatusCallbackMethod"}
)
UPDATE_CALL = frozenset(
    {"Url", "Method", "Status", "Twiml", "FallbackUrl", "FallbackMethod", "StatusCallback", "StatusCallbackMethod"}
    | {"TimeLimit"}
)
LIST_CALLS = frozenset(
    {
        "To",
        "From",
        "ParentCallSid",
        "Status",
        "StartTime",
        "StartTime<",
        "StartTime>",
        "EndTime",
        "EndTime<",
        "EndTime>",
    }
    | {"PageSize", "Page", "PageToken"}
)
LARGEST_PAGE = 1000
DAY = re.compile(r"(\d{4}-\d\d-\d\d)(T\d\d:\d\d:\d\dZ)?")
CREATE_RECORDING = frozenset(
    {"RecordingStatusCallback", "RecordingStatusCallbackEvent", "RecordingStatusCallbackMethod"}
    | {"RecordingChannels", "RecordingTrack", "Trim"}
)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    content_type: str = "application/json"


class ConnectionBroken(Exception):
    """Whoever asked gets no answer, and sees the connection end."""


class ApiError(Exception):
    """An answer with one of Twilio's error codes."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(slots=True)
class Api:
    """The resources, without any HTTP. `dial` places a call that was created; without it, created calls stay queued."""

    account: Account
    auth_token: str
    dial: Callable[[CallResource, dict[str, str]], None] | None = None
    fail_next: list[int] = field(default_factory=list)  # HTTP statuses of the next answers, whatever is asked
    delay_next: list[float] = field(default_factory=list)  # seconds before the next answers, whatever is asked
    # HTTP statuses of the next answers to a created call, which is placed all the same; 0: none within `hang_seconds`;
    # -1: the connection breaks.
    fail_after_create: list[int] = field(default_factory=list)
    hang_seconds: float = 15.0
    # So many requests for a call to this number get lost before anything was placed: the connection breaks.
    lost_on_the_way: Counter[str] = field(default_factory=Counter)
    list_lag: int = 0  # so many lists that it belongs in do not show a new call yet
    # So often the file of each recording is asked for in vain though it is complete.
    media_lag: int = 0
    owned: frozenset[str] = frozenset()  # the account's numbers; none: any number may be called from
    not_permitted: frozenset[str] = frozenset()  # numbers that the account may not call
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _media_asked: Counter[str] = field(default_factory=Counter)
    _left_out: Counter[str] = field(default_factory=Counter)

    def answer(self, method: str, target: str, fields: Fields, authorization: str) -> Reply:
        """One request."""
        self.requests.append(f"{method} {target}")
        if self.delay_next:
            time.sleep(self.delay_next.pop(0))
        try:
            self._fail_if_told()
            self._authenticate(authorization)
            return self._route(method, target, fields)
        except ApiError as error:
            more = f"https://www.twilio.com/docs/errors/{error.code}"
            data = {"code": error.code, "message": str(error), "more_info": more, "status": error.status}
            return _json(error.status, data)

    def _fail_if_told(self) -> None:
        if self.fail_next:
            status = self.fail_next.pop(0)
            raise ApiError(
                status, 20429 if status == 429 else 20500, "Too many requests" if status == 429 else "Failed"
            )

    def _authenticate(self, authorization: str) -> None:
        expected = base64.b64encode(f"{self.account.sid}:{self.auth_token}".encode()).decode()
        if not hmac.compare_digest(authorization.encode(), f"Basic {expected}".encode()):
            raise ApiError(401, 20003, "Authenticate")

    def _route(self, method: str, target: str, fields: Fields) -> Reply:
        parts = urlsplit(target)
        prefix = f"/2010-04-01/Accounts/{self.account.sid}"
        path = parts.path.removeprefix(prefix)
        if path != parts.path:
            for verb, pattern, handler in _ROUTES:
                if verb == method and (match := re.fullmatch(pattern, path)):
                    return handler(self, fields or parse_qs(parts.query), **match.groupdict())
        raise ApiError(404, 20404, f"The requested resource {parts.path} was not found")

    def create_call(self, fields: Fields) -> Reply:
        self._known(fields, CREATE_CALL)
        to, from_number = _one(fields, "To"), _one(fields, "From")
        if not to:
            raise ApiError(400, 21201, "No 'To' number is specified")
        if not from_number:
            raise ApiError(400, 21213, "No 'From' number is specified")
        if not NUMBER.fullmatch(to):
            raise ApiError(400, 21211, f"Invalid 'To' Phone Number: {to}")
        if not NUMBER.fullmatch(from_number):
            raise ApiError(400, 21212, f"Invalid 'From' Phone Number: {from_number}")
        if self.owned and from_number not in self.owned:
            raise ApiError(400, 21210, f"'From' phone number not verified: {from_number}")
        if to in self.not_permitted:
            raise ApiError(400, 21215, f"Geo Permission configuration is not permitting call to {to}")
        if not any(_one(fields, name) for name in ("Url", "Twiml", "ApplicationSid")):
            raise ApiError(400, 21205, "Url parameter is required")
        self._check_instructions(fields)
        _check_options(fields)
        if self.lost_on_the_way[to]:
            self.lost_on_the_way[to] -= 1
            raise ConnectionBroken
        callback = urlsplit(_one(fields, "StatusCallback"))
        if "_" in (callback.hostname or ""):
            raise ApiError(400, 21609, "StatusCallback host may not contain an underscore")
        call = self.account.add_call("outbound-api", from_number, to)
        if self.dial:
            options = {name: " ".join(values) for name, values in fields.items()}
            self.dial(call, options)
        self._lose_the_answer()
        return _json(201, self.account.call_json(call))

    def _lose_the_answer(self) -> None:
        """The call is placed, and whoever asked for it does not learn of it."""
        if not self.fail_after_create:
            return
        if (status := self.fail_after_create.pop(0)) == -1:
            raise ConnectionBroken
        if status:
            raise ApiError(status, 20500, "Failed")
        time.sleep(self.hang_seconds)

    def fetch_call(self, fields: Fields, sid: str) -> Reply:
        return _json(200, self.account.call_json(self._call(sid)))

    def list_calls(self, fields: Fields) -> Reply:
        """The newest first. Times are of a day, as documented: the time of day in a filter changes nothing."""
        self._known(fields, LIST_CALLS)
        for name in fields:
            if name.startswith(("StartTime", "EndTime")) and not DAY.fullmatch(_one(fields, name)):
                raise ApiError(400, 20001, f"Invalid parameter {name}")
        if not 1 <= int(_one(fields, "PageSize") or 50) <= LARGEST_PAGE:
            self.complaints.append("PageSize is not from 1 to 1000")
        with self.account.lock:
            calls = [call for call in reversed(self.account.calls.values()) if _matches(call, fields)]
            calls = [call for call in calls if self._is_shown(call.sid)]
        return self._page("calls", "/Calls.json", [self.account.call_json(call) for call in calls], fields)

    def _is_shown(self, sid: str) -> bool:
        self._left_out[sid] += 1
        return self._left_out[sid] > self.list_lag

    def update_call(self, fields: Fields, sid: str) -> Reply:
        self._known(fields, UPDATE_CALL)
        call, status = self._call(sid), _one(fields, "Status")
        if status not in {"", "completed", "canceled"}:
            raise ApiError(400, 21218, f"Invalid Status: {status}")
        if _one(fields, "Url") and _one(fields, "Twiml"):
            raise ApiError(400, 21220, "Url and Twiml are mutually exclusive")
        if call.status in TERMINAL or (status == "canceled" and call.status == "in-progress"):
            raise ApiError(400, 21220, f"Call {sid} is not in-progress. Cannot redirect.")
        self._check_instructions(fields)
        if call.update:
            call.update({name: values[0] for name, values in fields.items()})
        elif status:
            self.account.set_status(sid, status)
        return _json(200, self.account.call_json(call))

    def create_recording(self, fields: Fields, sid: str) -> Reply:
        self._known(fields, CREATE_RECORDING)
        call = self._call(sid)
        if call.status != "in-progress":
            raise ApiError(400, 21220, f"Requested resource is not eligible for recording: call is {call.status}")
        track = _one(fields, "RecordingTrack") or "both"
        channels = 2 if _one(fields, "RecordingChannels") == "dual" and track == "both" else 1
        recording = self.account.add_recording(sid, channels, "StartCallRecordingAPI", track)
        recording.callback = {
            "url": _one(fields, "RecordingStatusCallback"),
            "method": _one(fields, "RecordingStatusCallbackMethod") or "POST",
            "events": " ".join(fields.get("RecordingStatusCallbackEvent", ["completed"])),
        }
        if call.start_recording:
            call.start_recording(recording)
        return _json(201, self.account.recording_json(recording))

    def update_recording(self, fields: Fields, sid: str, recording_sid: str) -> Reply:
        self._known(fields, frozenset({"Status", "PauseBehavior"}))
        self._call(sid)
        recording = self.account.current_recording(sid) if recording_sid == CURRENT else self._recording(recording_sid)
        if recording is None or recording.call_sid != sid:
            raise ApiError(404, 20404, f"The requested resource /Recordings/{recording_sid}.json was not found")
        status, behaviour = _one(fields, "Status"), _one(fields, "PauseBehavior")
        if behaviour not in {"", "skip", "silence"} or (behaviour and status != "paused"):
            raise ApiError(400, 20001, f"Invalid PauseBehavior: {behaviour}")
        if status not in {"paused", "in-progress", "stopped"}:
            raise ApiError(400, 21218, f"Invalid Status: {status}")
        if recording.status not in {"in-progress", "paused"}:
            raise ApiError(400, 21220, f"Recording is {recording.status}")
        if status != "in-progress" and recording.status == "in-progress":
            recording.pauses.append(Pause(time.monotonic(), skips=behaviour == "skip" or status == "stopped"))
        elif status == "in-progress" and recording.status == "paused":
            recording.pauses[-1].ended = time.monotonic()
        recording.status = status
        return _json(200, self.account.recording_json(recording))

    def list_recordings(self, fields: Fields, sid: str) -> Reply:
        found = [
            self.account.recording_json(recording) for recording in self.account.recordings_of(self._call(sid).sid)
        ]
        return self._page("recordings", f"/Calls/{sid}/Recordings.json", found, fields)

    def fetch_recording(self, fields: Fields, recording_sid: str, sid: str = "") -> Reply:
        return _json(200, self.account.recording_json(self._recording(recording_sid)))

    def delete_recording(self, fields: Fields, recording_sid: str) -> Reply:
        self._recording(recording_sid)
        with self.account.lock:
            del self.account.recordings[recording_sid]
        return Reply(204, b"")

    def delete_queue(self, fields: Fields, sid: str) -> Reply:
        """Only an empty one (twilio.com/docs/voice/api/queue-resource)."""
        with self.account.lock:
            queue = next((queue for queue in self.account.queues.values() if queue.sid == sid), None)
            if queue is None:
                raise ApiError(404, 20404, f"The requested resource /Queues/{sid}.json was not found")
            if queue.members:
                raise ApiError(400, 22001, "Queue is not empty")
            del self.account.queues[queue.name]
        return Reply(204, b"")

    def media(self, fields: Fields, recording_sid: str) -> Reply:
        """The WAV; 404 until it is ready, 16113 if two channels are wanted of a mono recording."""
        self._known(fields, frozenset({"RequestedChannels"}))
        recording = self._recording(recording_sid)
        wanted = _one(fields, "RequestedChannels")
        if wanted not in {"", "1", "2"}:
            raise ApiError(400, 20001, f"Invalid RequestedChannels: {wanted}")
        channels = int(wanted or recording.channels)
        if recording.tracks is None or self._lags(recording_sid):
            raise ApiError(404, 20404, f"The media of {recording_sid} is not ready")
        if channels == 2 and recording.channels == 1:
            raise ApiError(400, 16113, "Dual-channel media was requested of a mono recording")
        return Reply(200, wav(recording, channels), "audio/x-wav")

    def _lags(self, recording_sid: str) -> bool:
        self._media_asked[recording_sid] += 1
        return self._media_asked[recording_sid] <= self.media_lag

    def _known(self, fields: Fields, known: frozenset[str]) -> None:
        for name in sorted(set(fields) - known):
            self.complaints.append(f"unknown parameter {name}")

    def _check_instructions(self, fields: Fields) -> None:
        if (text := _one(fields, "Twiml")) and not _one(fields, "Url"):
            if len(text) > MAX_TWIML:
                raise ApiError(400, 21222, "Twiml is longer than 4000 characters")
            if not twiml.parse(text.encode(), "text/xml", "https://api.twilio.com/").usable:
                raise ApiError(400, 12100, "Twiml does not parse")
        if (url := _one(fields, "Url")) and not re.match(r"https?://[^/]", url):
            raise ApiError(400, 21205, f"Url is not a valid URL: {url}")

    def _call(self, sid: str) -> CallResource:
        with self.account.lock:
            if sid in self.account.calls:
                return self.account.calls[sid]
        raise ApiError(404, 20404, f"The requested resource /Calls/{sid}.json was not found")

    def _recording(self, sid: str) -> RecordingResource:
        with self.account.lock:
            if sid in self.account.recordings:
                return self.account.recordings[sid]
        raise ApiError(404, 20404, f"The requested resource /Recordings/{sid}.json was not found")

    def _page(self, name: str, path: str, items: list[dict[str, Any]], fields: Fields) -> Reply:
        size, page = int(_one(fields, "PageSize") or 50), int(_one(fields, "Page") or 0)
        filters = {key: values for key, values in fields.items() if key not in {"PageSize", "Page", "PageToken"}}
        query = urlencode({**filters, "PageSize": [str(size)]}, doseq=True)
        uri = f"/2010-04-01/Accounts/{self.account.sid}{path}?{query}&Page="
        shown = items[page * size : (page + 1) * size]
        data = {
            name: shown,
            "page": page,
            "page_size": size,
            "start": page * size,
            "end": max(page * size, page * size + len(shown) - 1),
            "uri": f"{uri}{page}",
            "first_page_uri": f"{uri}0",
            "previous_page_uri": f"{uri}{page - 1}" if page else None,
            "next_page_uri": f"{uri}{page + 1}" if (page + 1) * size < len(items) else None,
        }
        return _json(200, data)


_CALL, _RECORDING = r"/Calls/(?P<sid>CA[0-9a-f]{32})", r"/Recordings/(?P<recording_sid>RE[0-9a-f]{32})"
_ROUTES: tuple[tuple[str, str, Callable[..., Reply]], ...] = (
    ("POST", r"/Calls\.json", Api.create_call),
    ("GET", r"/Calls\.json", Api.list_calls),
    ("GET", rf"{_CALL}\.json", Api.fetch_call),
    ("POST", rf"{_CALL}\.json", Api.update_call),
    ("POST", rf"{_CALL}/Recordings\.json", Api.create_recording),
    ("GET", rf"{_CALL}/Recordings\.json", Api.list_recordings),
    ("POST", rf"{_CALL}{_RECORDING}\.json", Api.update_recording),
    ("POST", rf"{_CALL}/Recordings/(?P<recording_sid>{re.escape(CURRENT)})\.json", Api.update_recording),
    ("GET", rf"{_CALL}{_RECORDING}\.json", Api.fetch_recording),
    ("GET", rf"{_RECORDING}\.json", Api.fetch_recording),
    ("DELETE", rf"{_RECORDING}\.json", Api.delete_recording),
    ("DELETE", r"/Queues/(?P<sid>QU[0-9a-f]{32})\.json", Api.delete_queue),
    ("GET", rf"{_RECORDING}(\.wav)?", Api.media),
)


def _check_options(fields: Fields) -> None:
    """Values that Twilio documents for a call to be made; the codes are those of a parameter it does not take."""
    detection, is_async = _one(fields, "MachineDetection"), _one(fields, "AsyncAmd")
    wrong = [
        detection not in {"", "Enable", "DetectMessageEnd"},
        is_async not in {"", "true", "false"},
        is_async == "true" and not detection,
        bool(detection) and bool(_one(fields, "SendDigits")),  # which would switch detection off
        not 1 <= int(_one(fields, "Timeout") or 60) <= 600,
        not 1 <= int(_one(fields, "TimeLimit") or 14_400) <= 14_400,
        not set(fields.get("StatusCallbackEvent", [])) <= {"initiated", "ringing", "answered", "completed"},
    ]
    if any(wrong):
        raise ApiError(400, 20001, "Invalid parameter")


def _one(fields: Fields, name: str) -> str:
    return fields.get(name, [""])[0]


def _matches(call: CallResource, fields: Fields) -> bool:
    wanted = {"Status": call.status, "To": call.to_number, "From": call.from_number, "ParentCallSid": call.parent_sid}
    is_one = all(_one(fields, name) in {"", value} for name, value in wanted.items())
    return is_one and _is_within("StartTime", call.started, fields) and _is_within("EndTime", call.ended, fields)


def _is_within(name: str, moment: datetime | None, fields: Fields) -> bool:
    """What has no such time yet is in no list that is filtered by it."""
    days = {sign: _one(fields, name + sign)[:10] for sign in ("", "<", ">") if name + sign in fields}
    if not days or moment is None:
        return not days
    day = f"{moment:%Y-%m-%d}"
    return day == days.get("", day) and day >= days.get(">", day) and day <= days.get("<", day)


def _json(status: int, data: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps(data).encode())


class RestServer:
    """Serves an Api on 127.0.0.1; a context manager."""

    def __init__(self, api: Api, port: int = 0) -> None:
        self.api = api
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(api))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionResetError):  # whoever asked did not want to hear all of it
                super().handle()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            fields = parse_qs(body, keep_blank_values=True)
            try:
                reply = api.answer(self.command, self.path, fields, self.headers.get("Authorization", ""))
            except ConnectionBroken:
                self.close_connection = True
                return
            self.send_response(reply.status)
            if reply.status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="Twilio API"')
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked has given up waiting
                self.end_headers()
                self.wfile.write(reply.body)

        do_GET = do_POST = do_DELETE = _serve

    return Handler
