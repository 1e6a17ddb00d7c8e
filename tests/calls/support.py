"""A business to take calls for, and facts about one call of it."""

from __future__ import annotations

from typing import Any

from businesses.models import Agent, AgentVersion, Business, PhoneNumber

CALL_SID = "CA" + "1" * 32
ACCOUNT_SID = "AC" + "2" * 32
OUR_NUMBER = "+15550100100"
CALLER = "+15550100155"


def a_business(number: str = OUR_NUMBER, **fields: Any) -> tuple[Business, AgentVersion]:
    """A business with one number, answered by one agent with one published version."""
    business = Business.objects.create(**{"name": "Harbor Dental", **fields})
    agent = Agent.objects.create(business=business, name="Ada")
    version = AgentVersion(agent=agent, number=1, instructions="Be kind.", greeting="Harbor Dental, good morning.")
    version.publish()
    PhoneNumber.objects.create(number=number, business=business, agent=agent)
    return business, version


def at(seconds: float) -> str:
    """A time in the call, in seconds after it began to ring."""
    whole, part = divmod(seconds, 1)
    minutes, second = divmod(int(whole), 60)
    return f"2026-11-24T10:{minutes:02d}:{second:02d}.{int(part * 1_000_000):06d}+00:00"


def a_turn(index: int, revision: int = 0, **fields: Any) -> dict[str, Any]:
    """The arguments of a turn but the call's; index 0 is the greeting."""
    return {
        "turn_index": index,
        "revision": revision,
        "user_text": f"question {index} r{revision}" if index else "",
        "bot_reply": f"answer {index} r{revision}",
        "heard_text": f"answer {index}",
        "generated_ms": 2000 + index,
        "heard_ms": 1900 + index,
        "interrupted": False,
        "started_at": at(3 + 5 * index),
        "ended_at": at(6 + 5 * index),
        **fields,
    }


def a_tool_use(number: int, state: str = "finished", **fields: Any) -> dict[str, Any]:
    """The arguments of a tool's use but the call's, as it is known when it is in `state`."""
    has_ended = state != "started"
    return {
        "tool_call_id": f"call_{number}",
        "name": "look_up",
        "arguments": f'{{"number": {number}}}',
        "output": f'{{"found": "{state}"}}' if has_ended else "",
        "state": state,
        "started_at": at(10 + number),
        "ended_at": at(10.5 + number) if has_ended else "",
        **fields,
    }


def a_leg(which: int, state: str = "asked", **fields: Any) -> dict[str, Any]:
    """The arguments of a leg but the call's, as who asked for it knows it."""
    return {
        "key": f"call_{which}",
        "state": state,
        "kind": "cold",
        "target_name": "Nina",
        "briefing": f"The caller asks about {which}.",
        "asked_at": at(20 + which),
        **fields,
    }


def a_message(number: int, **fields: Any) -> dict[str, Any]:
    """The arguments of a message but the call's."""
    return {
        "key": f"call_{number}",
        "text": f"Please call me back about {number}.",
        "caller_name": "Nina",
        "callback_number": CALLER,
        "taken_at": at(15 + number),
        **fields,
    }
