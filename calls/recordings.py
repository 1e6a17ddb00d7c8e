"""Which of two states of a recording counts, out of facts that come in any order. Pure; states are
calls.models.RecordingState's.

The further one does. Before `failed`, which is also what becomes of a file that was not had in many tries, comes
`waiting`: the carrier's word that is told again does not begin the tries anew, an operator does.
"""

from __future__ import annotations

RANKS = {"in-progress": 0, "absent": 1, "waiting": 2, "failed": 3, "stored": 4, "deleted": 5}
