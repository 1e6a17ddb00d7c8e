"""The forms of businesses.admin."""

from __future__ import annotations

import json
import zoneinfo
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from businesses.models import Agent, AgentVersion, default_tools, default_turn_detection
from businesses.tools import TOOLS

if TYPE_CHECKING:
    AnyModelForm = forms.ModelForm[Any]
    AnyInlineFormSet = forms.BaseInlineFormSet[Any, Any, Any]
    AnyModelChoiceField = forms.ModelChoiceField[Any]
else:
    AnyModelForm = forms.ModelForm
    AnyInlineFormSet = forms.BaseInlineFormSet
    AnyModelChoiceField = forms.ModelChoiceField


class BusinessForm(AnyModelForm):
    time_zone = forms.ChoiceField(
        choices=lambda: [(name, name) for name in sorted(zoneinfo.available_timezones())],
        help_text="Times of calls are shown in this zone.",
    )


class ReadableJSONField(forms.JSONField):
    """JSON with one setting in each line."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, forms.fields.InvalidJSONInput):
            return value
        return json.dumps(value, ensure_ascii=False, indent=2)


class LinesField(forms.CharField):
    """Text of several lines. Browsers end lines with CRLF, which would count as a change of a text stored with LF."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n")


def _help(field: str) -> str:
    return str(getattr(AgentVersion._meta.get_field(field), "help_text", ""))


class DraftForm(AnyModelForm):
    greeting = LinesField(widget=forms.Textarea(attrs={"rows": 2, "cols": 80}), help_text=_help("greeting"))
    instructions = LinesField(widget=forms.Textarea(attrs={"rows": 18, "cols": 80}), help_text=_help("instructions"))
    tools = forms.MultipleChoiceField(
        choices=list(TOOLS.items()),
        required=False,
        initial=default_tools,
        widget=forms.CheckboxSelectMultiple,
        help_text=_help("tools"),
    )
    turn_detection = ReadableJSONField(
        initial=default_turn_detection,
        widget=forms.Textarea(attrs={"rows": 9, "cols": 60, "spellcheck": "false"}),
        help_text=_help("turn_detection"),
    )


class DraftFormSet(AnyInlineFormSet):
    """At most one form: the draft, or, where there is none, what the newest published version says.

    The latter becomes a new draft when something in it was changed.
    """

    def clean(self) -> None:
        """Hold the agent's row until the end of the request, so that two people cannot start a draft at once."""
        super().clean()
        if not self.instance.pk:
            return
        Agent.objects.select_for_update().get(pk=self.instance.pk)
        if any(form.instance.pk is None for form in self.initial_forms):  # Django would drop it without a word
            raise ValidationError(
                "Somebody has just published this draft or thrown it away. Copy your text, then load this page again."
            )
        starts_draft = any(form.has_changed() for form in self.extra_forms)
        if starts_draft and self.instance.draft() is not None:
            raise ValidationError(
                "Somebody has just started a draft of this agent. Copy your text, then load this page again."
            )

    def save_new(self, form: Any, commit: bool = True) -> Any:
        form.instance.number = self.instance.next_version_number()
        return super().save_new(form, commit)


class AgentChoiceField(AnyModelChoiceField):
    def label_from_instance(self, agent: Any) -> str:
        return f"{agent.name}, {agent.business}"
