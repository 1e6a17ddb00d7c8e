"""The forms of businesses.admin."""

from __future__ import annotations

import json
import zoneinfo
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.text import Truncator

from businesses import encryption
from businesses.encryption import Undecryptable
from businesses.models import Agent, AgentVersion, HttpTool, default_tools, default_turn_detection
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


def _help(field: str, model: type[AgentVersion | HttpTool] = AgentVersion) -> str:
    return str(getattr(model._meta.get_field(field), "help_text", ""))


def tool_choices(business_id: int | None, named: Iterable[str]) -> list[tuple[str, str]]:
    """What an agent of the business may be given, and what it has been given (`named`), though it is there no more."""
    of_business = HttpTool.objects.active().filter(business=business_id) if business_id else HttpTool.objects.none()
    choices = dict(TOOLS)
    for tool in of_business:
        choices[tool.name] = f"{tool.name}: {Truncator(tool.description).chars(100)}"
    for name in named:
        choices.setdefault(name, f"{name} (switched off or deleted)")
    return list(choices.items())


class DraftForm(AnyModelForm):
    greeting = LinesField(widget=forms.Textarea(attrs={"rows": 2, "cols": 80}), help_text=_help("greeting"))
    instructions = LinesField(widget=forms.Textarea(attrs={"rows": 18, "cols": 80}), help_text=_help("instructions"))
    tools = forms.MultipleChoiceField(
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

    def __init__(self, *args: Any, business_id: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tools = self.fields["tools"]
        assert isinstance(tools, forms.MultipleChoiceField)
        tools.choices = tool_choices(business_id, self.initial.get("tools") or [])


class DraftFormSet(AnyInlineFormSet):
    """At most one form: the draft, or, where there is none, what the newest published version says.

    The latter becomes a new draft when something in it was changed.
    """

    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_form_kwargs(index)
        return {**kwargs, "business_id": self.instance.business_id}

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


class HttpToolForm(AnyModelForm):
    """The secret can be written here, and never read."""

    description = LinesField(
        max_length=1024, widget=forms.Textarea(attrs={"rows": 3, "cols": 80}), help_text=_help("description", HttpTool)
    )
    parameters = ReadableJSONField(
        initial=HttpTool._meta.get_field("parameters").get_default,
        widget=forms.Textarea(attrs={"rows": 12, "cols": 60, "spellcheck": "false"}),
        help_text=_help("parameters", HttpTool),
    )
    url = forms.CharField(
        label="Address",
        max_length=500,
        widget=forms.TextInput(attrs={"class": "vLargeTextField", "spellcheck": "false"}),
        help_text=_help("url", HttpTool),
    )
    secret = forms.CharField(
        required=False,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Sent as “Authorization: Bearer …”. Leave it empty if the address needs none.",
    )
    remove_secret = forms.BooleanField(required=False, help_text="From now on nothing is sent.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.encrypted_secret:
            self.fields["secret"].help_text = f"{_of_secret(self.instance)} Leave it empty to keep that one."
        else:
            self.fields.pop("remove_secret", None)

    def clean_secret(self) -> str:
        secret: str = self.cleaned_data["secret"]
        if not all("!" <= character <= "~" for character in secret):
            raise ValidationError("A secret is sent in a header: ASCII characters without spaces only.")
        return secret

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data.get("secret"):
            self.instance.set_secret(self.cleaned_data["secret"])
        elif self.cleaned_data.get("remove_secret"):
            self.instance.set_secret("")
        return super().save(commit)


def _of_secret(tool: HttpTool) -> str:
    try:
        ending = encryption.ending(tool.secret())
    except Undecryptable:
        return "There is one, but this server's keys do not decrypt it: enter it again."
    return f"There is one, ending in {ending}." if ending else "There is one."
