"""Reading a list of numbers that are not to be called, as a CSV file. Pure."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

from businesses.phone_numbers import normalized

MAX_BYTES = 1024 * 1024
MAX_LINES = 20_000
NOTE_CHARACTERS = 200


@dataclass(slots=True)
class Listed:
    """What a file says: numbers in E.164 form with their notes, and a sentence for each line that is wrong."""

    numbers: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def read_csv(data: bytes, home_country: str) -> Listed:
    """A number in each line, and, if it is wanted, a note after a comma or semicolon. The first line may be a
    heading."""
    listed = Listed()
    if len(data) > MAX_BYTES:
        listed.errors.append("The file is larger than 1 MB. Split it.")
        return listed
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        listed.errors.append("The file is not in UTF-8. Save it as “CSV UTF-8”.")
        return listed
    if "\x00" in text:
        listed.errors.append("The file is not text. Save it as “CSV UTF-8”.")
        return listed
    first = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text), delimiter=";" if ";" in first else ",")
    try:
        for row in rows:
            if rows.line_num > MAX_LINES:
                listed.errors.append(f"The file has more than {MAX_LINES} lines. Split it.")
                break
            _read_row(listed, rows.line_num, row, home_country)
    except csv.Error:
        listed.errors.append(f"Line {rows.line_num}: this is not CSV.")
    return listed


def _read_row(listed: Listed, line: int, row: list[str], home_country: str) -> None:
    cells = [cell.strip() for cell in row]
    if not any(cells):
        return
    number = normalized(cells[0], home_country)
    if not number:
        if line == 1 and not any(character.isdigit() for character in cells[0]):
            return
        listed.errors.append(f"Line {line}: “{cells[0][:40]}” is not a phone number.")
        return
    note = cells[1] if len(cells) > 1 else ""
    if len(note) > NOTE_CHARACTERS:
        listed.errors.append(f"Line {line}: the note is longer than {NOTE_CHARACTERS} characters.")
        return
    listed.numbers.setdefault(number, note)
