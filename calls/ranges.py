"""Which part of a file a browser asks for (RFC 9110, 14): one range of bytes. Pure."""

from __future__ import annotations

import re

# Of what is asked for so much is sent at once: whoever plays asks for the next part, and no answer is large in memory.
MOST = 1024 * 1024
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class NotInTheFile(Exception):
    """The range begins after the end of the file: 416."""


def read(header: str, size: int) -> tuple[int, int] | None:
    """The first byte to be sent and the one after the last. None: the header asks for the whole file, or for something
    that is not supported (several ranges) and passed over. Raise NotInTheFile."""
    match = _ONE_RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:  # so many bytes at the end
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= end:
        raise NotInTheFile
    return start, min(end, start + MOST)
