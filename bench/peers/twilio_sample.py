"""What Twilio's Python sample for OpenAI Realtime does (twilio-samples/speech-assistant-openai-realtime-api-python),
written anew on FastAPI and websockets: every message through `json`, a mark after each piece of the answer, `clear` and
`truncate` when the caller speaks. Its prints are left out, and it runs on uvloop, so that it is measured at its best.

    python twilio_sample.py PORT MODEL_PORT
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvicorn
import websockets
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed

PORT, MODEL_PORT = int(sys.argv[1]), int(sys.argv[2])
SESSION = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "instructions": "You are a helpful assistant.",
    "audio": {
        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
        "output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"},
    },
}

app = FastAPI()


class Bridge:
    def __init__(self, phone: WebSocket, model: Any) -> None:
        self.phone, self.model = phone, model
        self.stream_sid = ""
        self.timestamp = 0
        self.item: str | None = None
        self.marks: list[str] = []
        self.began: int | None = None

    async def from_phone(self) -> None:
        try:
            async for message in self.phone.iter_text():
                data = json.loads(message)
                if data["event"] == "media":
                    self.timestamp = int(data["media"]["timestamp"])
                    append = {"type": "input_audio_buffer.append", "audio": data["media"]["payload"]}
                    await self.model.send(json.dumps(append))
                elif data["event"] == "start":
                    self.stream_sid = data["start"]["streamSid"]
                elif data["event"] == "mark" and self.marks:
                    self.marks.pop(0)
        except WebSocketDisconnect:
            pass
        await self.model.close()

    async def from_model(self) -> None:
        try:
            async for message in self.model:
                event = json.loads(message)
                if event["type"] == "response.output_audio.delta":
                    await self._play(event)
                elif event["type"] == "input_audio_buffer.speech_started" and self.item:
                    await self._interrupt()
        except (WebSocketDisconnect, ConnectionClosed):
            pass

    async def _play(self, event: dict[str, Any]) -> None:
        media = {"event": "media", "streamSid": self.stream_sid, "media": {"payload": event["delta"]}}
        await self.phone.send_json(media)
        if self.began is None:
            self.began = self.timestamp
        self.item = event["item_id"]
        mark = {"event": "mark", "streamSid": self.stream_sid, "mark": {"name": "responsePart"}}
        await self.phone.send_json(mark)
        self.marks.append("responsePart")

    async def _interrupt(self) -> None:
        if not self.marks or self.began is None:
            return
        place = {"item_id": self.item, "content_index": 0, "audio_end_ms": self.timestamp - self.began}
        await self.model.send(json.dumps({"type": "conversation.item.truncate", **place}))
        await self.phone.send_json({"event": "clear", "streamSid": self.stream_sid})
        self.marks.clear()
        self.item = self.began = None


@app.websocket("/media-stream")
async def media_stream(phone: WebSocket) -> None:
    await phone.accept()
    url = f"ws://127.0.0.1:{MODEL_PORT}/v1/realtime?model=bench"
    async with websockets.connect(url, additional_headers={"Authorization": "Bearer sk-bench"}, proxy=None) as model:
        await model.send(json.dumps({"type": "session.update", "session": SESSION}))
        await model.send(json.dumps({"type": "response.create"}))
        bridge = Bridge(phone, model)
        await asyncio.gather(bridge.from_phone(), bridge.from_model())


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, loop="uvloop", log_level="warning")
