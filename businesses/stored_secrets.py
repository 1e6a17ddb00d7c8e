"""Every encrypted secret there is, of HTTP tools and of the copies that published versions keep of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import QuerySet

from businesses import encryption
from businesses.encryption import Undecryptable
from businesses.models import AgentVersion, HttpTool


@dataclass
class Rotation:
    """How many secrets are under the newest key now, and where the others are ("HTTP tool 3", "agent version 5")."""

    done: int = 0
    unreadable: list[str] = field(default_factory=list)


def rotate() -> Rotation:
    """Encrypt everything again, under the newest key. Safe to run at any time, and twice at once."""
    rotation = Rotation()
    for tool_id in list(HttpTool.objects.exclude(encrypted_secret="").values_list("pk", flat=True)):
        _rotate_tool(tool_id, rotation)
    for version_id in list(_versions().values_list("pk", flat=True)):
        _rotate_version(version_id, rotation)
    return rotation


def unreadable() -> Iterator[str]:
    """Where a secret is that none of the keys decrypts."""
    for tool in HttpTool.objects.exclude(encrypted_secret="").only("encrypted_secret"):
        if not _is_readable(tool.encrypted_secret):
            yield f"HTTP tool {tool.pk}"
    for version in _versions().only("frozen_http_tools"):
        if not all(_is_readable(tool["encrypted_secret"]) for tool in version.frozen_http_tools or []):
            yield f"agent version {version.pk}"


def _versions() -> QuerySet[AgentVersion]:
    return AgentVersion.objects.filter(frozen_http_tools__isnull=False).exclude(frozen_http_tools=[])


def _is_readable(token: str) -> bool:
    try:
        encryption.decrypt(token)
    except Undecryptable:
        return False
    return True


@transaction.atomic
def _rotate_tool(tool_id: int, rotation: Rotation) -> None:
    tool = HttpTool.objects.select_for_update().filter(pk=tool_id).first()  # nobody gives it another secret meanwhile
    if tool is None:
        return
    try:
        tool.encrypted_secret = encryption.encrypt_again(tool.encrypted_secret)
    except Undecryptable:
        rotation.unreadable.append(f"HTTP tool {tool_id}")
        return
    tool.save(update_fields=["encrypted_secret"])
    rotation.done += 1


@transaction.atomic
def _rotate_version(version_id: int, rotation: Rotation) -> None:
    """What a published version says does not change by this, so it is no change that its `save` has to refuse."""
    version = AgentVersion.objects.select_for_update().filter(pk=version_id).first()
    if version is None:
        return
    tools = version.frozen_http_tools or []
    for tool in tools:
        if not tool["encrypted_secret"]:
            continue
        try:
            tool["encrypted_secret"] = encryption.encrypt_again(tool["encrypted_secret"])
            rotation.done += 1
        except Undecryptable:
            rotation.unreadable.append(f"agent version {version_id}")
    AgentVersion.objects.filter(pk=version_id).update(frozen_http_tools=tools)
