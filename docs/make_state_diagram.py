"""Draw the states of a call, from the table that the engine itself uses, into docs/how-a-call-works.md.

python docs/make_state_diagram.py            rewrite the marked block of the page
python docs/make_state_diagram.py --check    change nothing; exit with 1 if the page is out of date
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from media.engine.states import INITIAL, MOVES, CallState, Move  # noqa: E402

PAGE = ROOT / "docs" / "how-a-call-works.md"
BEGIN, END = "<!-- states:begin -->", "<!-- states:end -->"


def diagram(moves: dict[CallState, dict[Move, CallState]]) -> str:
    """The table as a Mermaid stateDiagram."""
    lines = ["stateDiagram-v2"]
    lines += [f"    {state.name}: {state.value}" for state in moves]
    lines.append(f"    [*] --> {INITIAL.name}")
    for state, targets in moves.items():
        lines += [f"    {state.name} --> {target.name}: {move.value}" for move, target in targets.items()]
        if not targets:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(lines)


def redrawn(page: str) -> str:
    """The page with the diagram between its marks. Raise ValueError if the marks are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END} in the page")
    return f"{before}{BEGIN}\n```mermaid\n{diagram(MOVES)}\n```\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the states of a call into docs/how-a-call-works.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the page is out of date")
    arguments = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    wanted = redrawn(page)
    if wanted == page:
        return 0
    if arguments.check:
        sys.stderr.write(f"{PAGE.relative_to(ROOT)} is out of date; run: python docs/make_state_diagram.py\n")
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
