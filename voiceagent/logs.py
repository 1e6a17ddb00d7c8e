"""Logging: structlog over the standard library; JSON for machines, lines for people; no phone numbers in either."""

from __future__ import annotations

import logging
import logging.config
import re
from typing import Any

import structlog
from django.conf import settings
from structlog.types import EventDict, Processor

# E.164 with its plus, or a bare run of digits as long as a number. Not inside identifiers: a CallSid is hex digits, and
# dates and addresses have other characters around theirs.
PHONE_NUMBER = re.compile(r"(?<![\w.:/-])(\+|%2B)?[1-9]\d{6,14}(?![\w:])")
MASK = "…"


def mask_phone_numbers(text: str) -> str:
    """Keep the last two digits of what looks like a phone number: enough to tell two calls apart."""

    def masked(found: re.Match[str]) -> str:
        number = found[0]
        return MASK + number[-2:] if found[1] or len(number) >= 10 else number

    return PHONE_NUMBER.sub(masked, text)


def without_numbers(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """Mask phone numbers in every text of a log line, and keep it one line: a newline could forge another."""
    for key, value in event.items():
        if isinstance(value, str) and key != "timestamp":
            text = mask_phone_numbers(value)
            event[key] = text if key == "exception" else text.replace("\r", "\\r").replace("\n", "\\n")
    return event


SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,  # the CallSid, bound where a call or a job begins
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

# What a standard logger's `extra` may add to a line. A list, because Django and Celery pass whole requests and jobs.
EXTRAS = ("call_sid", "turn_index", "fact", "facts", "error", "reason", "path", "forwarded", "outcome", "held")


def logging_config(log_format: str, level: str) -> dict[str, Any]:
    """The LOGGING setting; `log_format` is "json" or "console"."""
    renderer: Processor = structlog.processors.JSONRenderer()
    if log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    without_numbers,
                    renderer,
                ],
                "foreign_pre_chain": [*SHARED, structlog.stdlib.ExtraAdder(EXTRAS)],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django's own handlers would print the same line again, unmasked.
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            # "succeeded in 0.01s: <return value>" for each job is two lines per turn and says nothing new.
            "celery.app.trace": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
        },
    }


def configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def configure_worker(loglevel: int | None = None, **_signal: object) -> None:
    """Give a Celery process the same logging as the rest, instead of its own. Receives the signal `setup_logging`."""
    logging.config.dictConfig(settings.LOGGING)
    if loglevel:
        logging.getLogger().setLevel(loglevel)
