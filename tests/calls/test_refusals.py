"""Who says in a call not to be called again is on the list at once, in whatever order the facts come."""

from __future__ import annotations

import json
from typing import Any

from django.test import TestCase

from businesses.models import DoNotCall
from calls import services
from calls.models import ToolState
from tests.calls.support import CALL_SID, a_business, a_tool_use

NUMBER = "+12125550123"


class RefusalTest(TestCase):
    def setUp(self) -> None:
        self.business, _ = a_business()
        self.identity: dict[str, Any] = {"call_sid": CALL_SID, "business_id": self.business.pk}
        self.use = a_tool_use(1, name="do_not_call", output=json.dumps({"ok": True, "number": NUMBER}))

    def listed(self) -> list[tuple[str, str, str]]:
        return list(DoNotCall.objects.values_list("number", "source", "call_sid"))

    def test_as_soon_as_the_tool_is_done_and_once(self) -> None:
        for state in (ToolState.STARTED, ToolState.FAILED):
            services.save_tool_use(**self.identity, **{**self.use, "tool_call_id": state, "state": state})
        self.assertEqual(self.listed(), [])
        for _ in range(2):
            services.save_tool_use(**self.identity, **self.use)
        self.assertEqual(self.listed(), [(NUMBER, "callee", CALL_SID)])

    def test_the_end_of_the_call_says_it_again(self) -> None:
        services.finalize_call_log(
            **self.identity, status="completed", duration_seconds=9, transcript="", tool_uses=[self.use]
        )
        self.assertEqual(self.listed(), [(NUMBER, "callee", CALL_SID)])

    def test_other_tools_and_broken_outputs_put_nobody_onto_it(self) -> None:
        for number, output in enumerate(("", "x", "[]", '{"number": 7}', '{"number": "911"}')):
            use: dict[str, Any] = {**self.use, "tool_call_id": f"b{number}", "output": output}
            services.save_tool_use(**self.identity, **use)
        services.save_tool_use(**self.identity, **{**self.use, "tool_call_id": "c", "name": "look_up"})
        self.assertEqual(self.listed(), [])

    def test_another_businesss_call_puts_nobody_onto_it(self) -> None:
        services.save_tool_use(**self.identity, **a_tool_use(9))
        other, _ = a_business("+15550100109", name="Other")
        services.save_tool_use(**{**self.identity, "business_id": other.pk}, **self.use)
        self.assertEqual(self.listed(), [])
