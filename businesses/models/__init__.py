"""Whom calls are answered for: businesses, who may see them, their agents and their numbers."""

from businesses.models.agents import (
    Agent,
    AgentVersion,
    Clip,
    ClipQuerySet,
    HttpMethod,
    HttpTool,
    HttpToolQuerySet,
    default_tools,
    default_turn_detection,
    no_parameters,
)
from businesses.models.business import Business, BusinessQuerySet, Membership, RecordingMode, WhenBusy, WhenClosed
from businesses.models.dialing import DialPolicy, DoNotCall, DoNotCallSource, TransferKind, TransferTarget
from businesses.models.numbers import Holiday, OpeningHours, PhoneNumber, Weekday

__all__ = [
    "Agent",
    "AgentVersion",
    "Business",
    "BusinessQuerySet",
    "Clip",
    "ClipQuerySet",
    "DialPolicy",
    "DoNotCall",
    "DoNotCallSource",
    "Holiday",
    "HttpMethod",
    "HttpTool",
    "HttpToolQuerySet",
    "Membership",
    "OpeningHours",
    "PhoneNumber",
    "RecordingMode",
    "TransferKind",
    "TransferTarget",
    "Weekday",
    "WhenBusy",
    "WhenClosed",
    "default_tools",
    "default_turn_detection",
    "no_parameters",
]
