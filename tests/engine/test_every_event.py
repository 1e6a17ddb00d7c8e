"""Finds every event and command class by itself, so that a new one cannot be forgotten."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.states import CallState
from tests.engine.driver import CallDriver, audio, talking

EVENT_CLASSES: tuple[type[Any], ...] = typing.get_args(events.Event)
COMMAND_CLASSES: tuple[type[Any], ...] = typing.get_args(commands.Command)
VALUES: dict[Any, Any] = {
    str: "x",
    str | None: None,
    float: 1.0,
    float | None: None,
    bool: False,
    bytes: b"\x55" * 160,
    events.Usage: events.Usage(),
}


def an(event: type[Any], **known: Any) -> Any:
    """An instance of an event class, with the values a field of that type may have."""
    hints = typing.get_type_hints(event)
    named = {"payload": audio(20), "digit": "1", "status": "completed", **known}
    return event(**{f.name: named.get(f.name, VALUES.get(hints[f.name])) for f in dataclasses.fields(event)})


def classes_in(module: ModuleType) -> set[type[Any]]:
    classes = {each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__}
    return {each for each in classes if dataclasses.is_dataclass(each)}


def in_state(state: CallState) -> CallDriver:
    driver = CallDriver()
    match state:
        case CallState.STREAM_OPEN:
            driver.stream_starts()
        case CallState.MODEL_OPEN:
            driver.model_is_ready()
        case CallState.TALKING:
            driver = talking()
        case CallState.SAYING_GOODBYE:
            driver = talking()
            driver.agent_begins("Goodbye.", 2000)
            driver.agent_calls("end_call")
        case CallState.SETTLING:
            driver = talking()
            driver.caller_says(None)
            driver.hang_up()
        case CallState.OVER:
            driver = talking()
            driver.end()
        case CallState.CONNECTING:
            pass
    assert driver.call.state is state
    return driver


class EveryClass(SimpleTestCase):
    def test_all_events_are_in_the_union(self) -> None:
        self.assertEqual(set(EVENT_CLASSES), classes_in(events) - {events.Usage})

    def test_all_commands_are_in_the_union(self) -> None:
        self.assertEqual(set(COMMAND_CLASSES), classes_in(commands) - {commands.Turn})

    def test_all_are_frozen_and_slotted(self) -> None:
        for each in (*EVENT_CLASSES, *COMMAND_CLASSES):
            self.assertTrue(each.__dataclass_params__.frozen, each)
            self.assertTrue(hasattr(each, "__slots__"), each)

    def test_every_event_is_met_in_every_state(self) -> None:
        for state in CallState:
            for event in EVENT_CLASSES:
                with self.subTest(state=state, event=event.__name__):
                    driver = in_state(state)
                    driver.send(an(event))
                    if state is CallState.OVER:
                        self.assertTrue(driver.over)
                    driver.end()

    def test_something_that_is_no_event_is_refused_loudly(self) -> None:
        refused: Callable[..., Any] = talking().call.receive
        with self.assertRaises(AssertionError):
            refused(object(), 0.0)
