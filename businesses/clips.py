"""Which sentences of which versions are to be rendered, and what became of them: the one door for whoever renders
them (media.tasks), who knows no rows.

A clip is due when it is missing, when its sentence is another one by now, or when somebody wants it again. Taking it
counts as a try, so that what cannot be rendered is tried ever more seldom, also when its renderer dies. What was
rendered before stays in use until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, OuterRef, QuerySet, Subquery

from businesses import sentences
from businesses.models import AgentVersion, Clip
from businesses.snapshots import AgentSnapshot

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
MAX_ERROR_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Order:
    """Sentences to render, by key, and the agent whose voice they are to have."""

    agent: AgentSnapshot
    texts: dict[str, str]


def take(version_id: int, now: datetime, *, hurry: bool = False) -> Order | None:
    """Take what is due of a published version, so that nobody else renders it meanwhile. None: nothing is.

    `hurry`: also what was tried a moment ago.
    """
    version = _published().select_related("agent__business").filter(pk=version_id).first()
    if version is None:
        return None
    texts = sentences.of_agent(version.greeting, version.language)
    taken = {}
    for clip in _noted(version, texts):
        if not clip.is_due or not (hurry or _is_time(clip, now)):
            continue
        unchanged = Clip.objects.filter(pk=clip.pk, is_due=True, tried_at=clip.tried_at)
        if unchanged.update(tries=F("tries") + 1, tried_at=now):
            taken[clip.key] = texts[clip.key]
    return Order(version.snapshot(), taken) if taken else None


def store(version_id: int, key: str, text: str, audio: bytes, now: datetime) -> None:
    """Keep a rendered sentence."""
    Clip.objects.filter(agent_version=version_id, key=key).update(
        text=text, audio=audio, rendered_at=now, is_due=False, tries=0, error=""
    )


def store_failure(version_id: int, key: str, error: str) -> None:
    """Keep why a sentence could not be rendered, by a short code."""
    Clip.objects.filter(agent_version=version_id, key=key).update(error=error[:MAX_ERROR_CHARACTERS])


def errors(version_id: int) -> dict[str, str]:
    """Why what is due of a version was not rendered when it was tried last, by key."""
    failed = Clip.objects.filter(agent_version=version_id, is_due=True).exclude(error="")
    return dict(failed.values_list("key", "error"))


def want_again(version_id: int) -> None:
    """Have everything of a version rendered once more."""
    Clip.objects.filter(agent_version=version_id).update(is_due=True, tries=0, tried_at=None, error="")


def versions_due(now: datetime, limit: int) -> list[int]:
    """At most `limit` of the versions in use that something is due of, the newest first."""
    versions = list(versions_in_use().only("greeting", "language"))
    clips: dict[int, dict[str, Clip]] = {version.pk: {} for version in versions}
    for clip in Clip.objects.without_audio().filter(agent_version__in=clips):
        clips[clip.agent_version_id][clip.key] = clip
    due = [version.pk for version in versions if _is_due(version, clips[version.pk], now)]
    return due[:limit]


def versions_in_use() -> QuerySet[AgentVersion]:
    """Those that new calls get: the newest published one of each agent of an active business."""
    newest = _published().filter(agent=OuterRef("agent")).order_by("-number")
    in_use = _published().filter(agent__business__is_active=True, pk=Subquery(newest.values("pk")[:1]))
    return in_use.order_by("-published_at")


def _published() -> QuerySet[AgentVersion]:
    return AgentVersion.objects.filter(published_at__isnull=False)


def _noted(version: AgentVersion, texts: dict[str, str]) -> list[Clip]:
    """A row for each sentence; those whose sentence is another one by now are due."""
    Clip.objects.bulk_create(
        (Clip(agent_version=version, key=key, text=text) for key, text in texts.items()), ignore_conflicts=True
    )
    rows = list(Clip.objects.without_audio().filter(agent_version=version, key__in=texts))
    for clip in rows:
        if not clip.is_due and clip.text != texts[clip.key]:
            Clip.objects.filter(pk=clip.pk).update(is_due=True)
            clip.is_due = True
    return rows


def _is_due(version: AgentVersion, clips: dict[str, Clip], now: datetime) -> bool:
    texts = sentences.of_agent(version.greeting, version.language)
    return any(
        key not in clips
        or (clips[key].text != text and not clips[key].is_due)
        or (clips[key].is_due and _is_time(clips[key], now))
        for key, text in texts.items()
    )


def _is_time(clip: Clip, now: datetime) -> bool:
    if clip.tried_at is None or not clip.tries:
        return True
    doublings = min(clip.tries - 1, 10)
    return now - clip.tried_at >= min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)
