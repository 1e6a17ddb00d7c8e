"""Leads as a table that a spreadsheet opens. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""


def cell(value: object) -> str:
    """The value as text that stays text: a caller may well say "=HYPERLINK(...)". Phone numbers get the sign, too."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if isinstance(value, int | float) or not text.lstrip(" ").startswith(_FORMULA):
        return text
    return f"'{text}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV, every cell quoted."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow([cell(name) for name in header])
    writer.writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()
