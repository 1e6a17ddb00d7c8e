"""Sections that other apps add to the page of a call: calls shows them and does not know what they are."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest

from calls.models import CallLog

Section = Callable[[CallLog, HttpRequest], str]
"""Gives the section's HTML, marked as safe; empty: there is nothing to show to this user."""

_sections: list[Section] = []


def register(section: Section) -> Section:
    _sections.append(section)
    return section


def of(call: CallLog, request: HttpRequest) -> list[str]:
    return [html for section in _sections if (html := section(call, request))]
