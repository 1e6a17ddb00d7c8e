"""A phone agent as pipecat-ai's own examples configure one: Twilio serializer, FastAPI websocket transport, OpenAI
Realtime with the model's turn detection, 8 kHz both ways, metrics on.

    python pipecat_bot.py PORT MODEL_PORT
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.openai.realtime.events import AudioConfiguration, AudioInput, SessionProperties, TurnDetection
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport

PORT, MODEL_PORT = int(sys.argv[1]), int(sys.argv[2])

app = FastAPI()


@app.websocket("/ws")
async def media_stream(websocket: WebSocket) -> None:
    await websocket.accept()
    _, call = await parse_telephony_websocket(websocket)
    serializer = TwilioFrameSerializer(
        stream_sid=call["stream_id"],
        call_sid=call["call_id"],
        params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
    )
    transport = FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True, audio_out_enabled=True, add_wav_header=False, serializer=serializer
        ),
    )
    properties = SessionProperties(audio=AudioConfiguration(input=AudioInput(turn_detection=TurnDetection())))
    llm = OpenAIRealtimeLLMService(
        api_key="sk-bench",
        base_url=f"ws://127.0.0.1:{MODEL_PORT}/v1/realtime",
        settings=OpenAIRealtimeLLMService.Settings(model="bench", session_properties=properties),
    )
    context = LLMContextAggregatorPair(LLMContext([{"role": "user", "content": "Say hello."}]))
    parts = [transport.input(), context.user(), llm, transport.output(), context.assistant()]
    rates = PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000, enable_metrics=True)
    task = PipelineTask(Pipeline(parts), params=rates)

    @transport.event_handler("on_client_connected")  # type: ignore[untyped-decorator, unused-ignore]
    async def connected(transport: Any, client: Any) -> None:
        await task.queue_frames([LLMRunFrame()])

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator, unused-ignore]
    async def disconnected(transport: Any, client: Any) -> None:
        await task.cancel()

    await PipelineRunner(handle_sigint=False).run(task)


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    uvicorn.run(app, host="127.0.0.1", port=PORT, loop="uvloop", log_level="warning")
