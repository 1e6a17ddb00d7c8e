"""Times as the people of a business read them. Pure."""

from datetime import datetime, tzinfo

from django.utils import dateformat


def date_and_time(moment: datetime | None, zone: tzinfo) -> str:
    """Write a moment with its zone's name, like 23 Nov 2026, 14:05:12 EST; empty for none."""
    return dateformat.format(moment.astimezone(zone), "j M Y, H:i:s T") if moment else ""


def date_and_minute(moment: datetime | None, zone: tzinfo) -> str:
    """Write a moment for a list, like 23 Nov 2026, 14:05 EST; empty for none."""
    return dateformat.format(moment.astimezone(zone), "j M Y, H:i T") if moment else ""


def time_of_day(moment: datetime | None, zone: tzinfo) -> str:
    """Write a moment like 14:05:12; empty for none."""
    return dateformat.format(moment.astimezone(zone), "H:i:s") if moment else ""
