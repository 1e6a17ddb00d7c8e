"""Recordings of one call: begun by TwiML or the REST API, complete when the call is, reported by callback."""

import asyncio
import io
import wave
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from simulators.carrier.account import Account, RecordingResource
from simulators.carrier.audio import BYTES_PER_SECOND, SILENCE, pcm
from simulators.carrier.pauses import Pause, without
from simulators.carrier.stream import MediaStream
from simulators.carrier.twiml import Document, Verb

if TYPE_CHECKING:
    from simulators.carrier.call import Call


class CallRecordings:
    """All recordings of one call."""

    def __init__(self, call: "Call", account: Account) -> None:
        self._call, self._account = call, account

    async def start(self, document: Document, verb: Verb) -> None:
        """`<Start><Recording>`: begins before the next verb (twilio.com/docs/voice/twiml/recording)."""
        for child in verb.children:
            if child.name != "Recording":
                self._call.tell(f"Start {child.name} is read but not acted on")
                continue
            channels = 2 if child.get("channels") == "dual" and child.get("track", "both") == "both" else 1
            sid = self._call.ledger.call_sid
            recording = self._account.add_recording(
                sid, channels, "StartCallRecordingTwiML", child.get("track", "both")
            )
            url = child.get("recordingStatusCallback")
            recording.callback = {
                "url": urljoin(document.url, url) if url else "",
                "method": child.get("recordingStatusCallbackMethod", "POST"),
                "events": child.get("recordingStatusCallbackEvent", "completed"),
            }
            await self.begun(recording)

    async def begun(self, recording: RecordingResource) -> None:
        """A recording has started, by TwiML or by the API."""
        self._call.ledger.recordings.append(recording.sid)
        self._call.tell(f"recording {recording.sid} started")
        await self._report(recording)

    async def finish(self) -> None:
        """The call is over: every recording gets its audio and its last callback."""
        if self._account.recordings_of(self._call.ledger.call_sid):
            await asyncio.sleep(self._call.settings.faults.recording_delay_ms / 1000)
        for recording in self._account.recordings_of(self._call.ledger.call_sid):
            if recording.duration is None:
                recording.tracks = recording.tracks or tracks(self._call.streams, recording.pauses)
                await self.complete(recording)

    async def complete(self, recording: RecordingResource) -> None:
        """All of it is there: its length, and its last callback."""
        said = (recording.tracks or (b"",))[0]
        recording.duration = round(len(said) / BYTES_PER_SECOND)
        recording.status = "completed" if said else "absent"
        await self._report(recording)

    async def _report(self, recording: RecordingResource) -> None:
        callback = recording.callback
        if not callback.get("url") or recording.status not in callback["events"].split():
            return
        call = self._call
        api = f"https://api.twilio.com/2010-04-01/Accounts/{call.ledger.account_sid}/Recordings/{recording.sid}"
        params = {
            "AccountSid": call.ledger.account_sid,
            "CallSid": recording.call_sid,
            "RecordingSid": recording.sid,
            "RecordingUrl": api,
            "RecordingStatus": recording.status,
            "RecordingChannels": str(recording.channels),
            "RecordingStartTime": recording.started.strftime("%a, %d %b %Y %H:%M:%S +0000"),
            "RecordingSource": recording.source,
            "RecordingTrack": recording.track,
        }
        if recording.duration is not None:
            params["RecordingDuration"] = str(recording.duration)
        answer = await call.request("recording", callback["method"], callback["url"], params)
        if not answer.ok:
            call.error(11200, f"recording callback answered {answer.status or answer.error}", fault=True)


def tracks(streams: list[MediaStream], pauses: Sequence[Pause] = ()) -> tuple[bytes, bytes]:
    """Caller and agent as heard, one after the other stream, each track of the same length, but for the pauses."""
    caller, agent = bytearray(), bytearray()
    stretches = []
    for stream in streams:
        offset = len(caller)
        caller += stream.caller_audio
        agent += SILENCE * (len(caller) - len(agent))
        for started, audio in stream.ears.playback.heard_runs:
            position = offset + max(0, round((started - stream.started_at) * BYTES_PER_SECOND))
            piece = audio[: max(0, len(caller) - position)]
            agent[position : position + len(piece)] = piece
        stretches.append((stream.started_at, offset, len(caller)))
    return without(bytes(caller), stretches, pauses), without(bytes(agent), stretches, pauses)


def wav(recording: RecordingResource, channels: int) -> bytes:
    """A complete recording as 16-bit WAV: caller left and agent right, or both mixed into one channel."""
    caller, agent = (pcm(track) for track in recording.tracks or (b"", b""))
    if channels == 2:
        samples = caller[:0]
        for left, right in zip(caller, agent, strict=True):
            samples.append(left)
            samples.append(right)
    else:
        samples = caller[:0]
        samples.extend(max(-32768, min(32767, a + b)) for a, b in zip(caller, agent, strict=True))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(BYTES_PER_SECOND)
        writer.writeframes(samples.tobytes())
    return file.getvalue()
