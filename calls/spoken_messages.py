"""Messages that were spoken after the tone, and are still to be written down: the one door for whoever does that
(analysis), as calls.services is for facts."""

from __future__ import annotations

from django.db.models import QuerySet

from calls.card_numbers import masked
from calls.models import CallMessage, RecordingState, TextState


def to_write() -> QuerySet[CallMessage]:
    """Those whose sound is here and whose words are not."""
    waiting = CallMessage.objects.filter(text_state=TextState.WAITING, recording__state=RecordingState.STORED)
    return waiting.select_related("recording")


def written(message_id: int, text: str) -> None:
    """`text`: what was said, empty for nothing that could be understood."""
    CallMessage.objects.filter(pk=message_id).exclude(text_state="").update(text=masked(text), text_state="")


def given_up(message_id: int) -> None:
    CallMessage.objects.filter(pk=message_id, text_state=TextState.WAITING).update(text_state=TextState.FAILED)


def wanted(message_id: int) -> None:
    """It is to be written down after all, or once more."""
    CallMessage.objects.filter(pk=message_id).exclude(recording=None).update(text_state=TextState.WAITING)
