"""A finished call with a conversation, and the simulated text model in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import override_settings

from analysis.models import AfterCallSettings
from businesses.models import Agent, AgentVersion, Business
from calls.models import CallLog, ConversationTurn
from simulators.model import Fault, ModelServer, ModelSettings

KEY = "sk-analysis-test"
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TALK = (
    ("", "Thank you for calling, this is Robin."),
    ("My name is Ada Lovelace and I would like a table for 4", "I have booked a table for you."),
    ("Great, thank you", "You are welcome. Somebody will call you back."),
)


def a_business(word: str = "Harbor", **settings: Any) -> Business:
    business = Business.objects.create(name=f"{word} Dental", time_zone="America/New_York")
    wanted = AfterCallSettings.objects.create(business=business, **({"is_on": True} | settings))
    AfterCallSettings.objects.filter(pk=wanted.pk).update(since=NOW - timedelta(days=1))
    agent = Agent.objects.create(business=business, name="Robin")
    AgentVersion.objects.create(agent=agent, number=1, instructions="-", greeting="-", tools=["take_message"]).publish()
    return business


def a_call(business: Business, sid: str = "1", talk: tuple[tuple[str, str], ...] = TALK, **changes: Any) -> CallLog:
    ended = NOW - timedelta(minutes=1)
    fields: dict[str, Any] = {
        "call_sid": f"CA{sid:0>32}",
        "business": business,
        "agent_version": AgentVersion.objects.get(agent__business=business),
        "from_number": "+15550100142",
        "to_number": "+15550100100",
        "status": "completed",
        "started_at": ended - timedelta(minutes=2),
        "ended_at": ended,
        "is_complete": True,
    }
    call = CallLog.objects.create(**(fields | changes))
    for index, (caller, agent) in enumerate(talk):
        ConversationTurn.objects.create(call=call, turn_index=index, user_text=caller, bot_reply=agent)
    return call


@contextmanager
def text_model(*faults: str, **changes: Any) -> Iterator[ModelServer]:
    """The simulated model, with the settings leading to it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    settings = replace(ModelSettings(api_key=KEY, faults=tuple(map(Fault.parse, faults))), **changes)
    server = ModelServer(settings)
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
    try:
        with override_settings(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"http://127.0.0.1:{server.port}/v1"):
            yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
