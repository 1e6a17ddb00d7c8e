"""The tools that an agent's form offers are those that a live call knows."""

from django.test import SimpleTestCase

from businesses.tools import TOOL_NAMES
from media.tools import TOOLS


class ToolNamesTest(SimpleTestCase):
    def test_every_tool_of_a_live_call_can_be_chosen_and_no_other(self) -> None:
        self.assertEqual(set(TOOL_NAMES), set(TOOLS))
