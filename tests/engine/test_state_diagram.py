import importlib.util
from pathlib import Path
from types import ModuleType

from django.test import SimpleTestCase

from media.engine import states

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "make_state_diagram.py"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_state_diagram", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TheDiagramInTheDocs(SimpleTestCase):
    def test_it_is_up_to_date(self) -> None:
        made = generator()
        page = made.PAGE.read_text(encoding="utf-8")
        self.assertEqual(made.redrawn(page), page, "run: python docs/make_state_diagram.py")

    def test_it_shows_every_state_and_every_move(self) -> None:
        drawn = generator().diagram(states.MOVES)
        for state, moves in states.MOVES.items():
            self.assertIn(f"{state.name}: {state.value}", drawn)
            for move, target in moves.items():
                self.assertIn(f"{state.name} --> {target.name}: {move.value}", drawn)

    def test_a_page_without_marks_is_an_error(self) -> None:
        with self.assertRaises(ValueError):
            generator().redrawn("# A page")
