"""Every scenario, by what of issue 4 it is about."""

from tests.scenarios.catalogue import (
    endings,
    failures,
    interruptions,
    lines,
    openings,
    records,
    sessions,
    silences,
    sounds,
    tools,
)
from tests.scenarios.scenario import Scenario

SCENARIOS: list[Scenario] = [
    *openings.SCENARIOS,
    *interruptions.SCENARIOS,
    *sounds.SCENARIOS,
    *endings.SCENARIOS,
    *silences.SCENARIOS,
    *records.SCENARIOS,
    *tools.SCENARIOS,
    *sessions.SCENARIOS,
    *failures.SCENARIOS,
    *lines.SCENARIOS,
]
