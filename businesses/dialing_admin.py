"""Admin of whom a business may call: its dial policy, on its own page, the list of those it never calls again, and
those whom callers are put through to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from businesses import do_not_call, phone_numbers
from businesses.local_time import date_and_minute
from businesses.models import Business, DialPolicy, DoNotCall, DoNotCallSource, TransferTarget
from businesses.tenancy import BusinessFilter, TenantAdmin

if TYPE_CHECKING:
    AnyStackedInline = admin.StackedInline[Any, Any]
    AnyModelForm = forms.ModelForm[Any]
    AnyModelChoiceField = forms.ModelChoiceField[Any]
else:
    AnyStackedInline = admin.StackedInline
    AnyModelForm = forms.ModelForm
    AnyModelChoiceField = forms.ModelChoiceField

_SHOWN_ERRORS = 50


class CountriesField(forms.CharField):
    """Country codes with spaces or commas between them; a list in the database."""

    def prepare_value(self, value: Any) -> Any:
        return " ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        return sorted({code.upper() for code in (super().to_python(value) or "").replace(",", " ").split()})

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial or []) != self.to_python(data or ""))

    def validate(self, value: Any) -> None:
        unknown = [code for code in value if code not in phone_numbers.countries()]
        if unknown:
            raise ValidationError(f"Not a country: {', '.join(unknown)}. Use codes of two letters, like AT or CH.")


class DialPolicyForm(AnyModelForm):
    allowed_countries = CountriesField(
        required=False, label="Other countries", help_text="Besides the home country, like AT CH."
    )

    def clean_home_country(self) -> str:
        code = str(self.cleaned_data["home_country"]).upper()
        if code not in phone_numbers.countries():
            raise ValidationError("Not a country. Use a code of two letters, like US or DE.")
        return code


class DialPolicyInline(AnyStackedInline):
    """Where there is none yet, the form shows the defaults, which hold until it is saved with a change."""

    model = DialPolicy
    form = DialPolicyForm
    can_delete = False
    verbose_name_plural = "whom it may call"
    fields = [
        ("home_country", "allowed_countries"),
        ("max_per_hour", "max_per_day"),
        ("max_at_once", "max_attempts"),
        ("calls_from", "calls_until"),
        "max_call_seconds",
    ]


def home_country_of(business: Business) -> str:
    policy = DialPolicy.objects.filter(business=business).first() or DialPolicy()
    return policy.home_country


class NumberForm(AnyModelForm):
    """A number may be written as people of the business's home country write it; it is kept in E.164 form."""

    number = forms.CharField(max_length=phone_numbers.LONGEST)

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        business, number = data.get("business") or getattr(self.instance, "business", None), data.get("number")
        if business is not None and number:
            data["number"] = phone_numbers.normalized(number, home_country_of(business))
            if not data["number"]:
                self.add_error("number", "There is no such phone number.")
        return data


class ImportForm(forms.Form):
    business = AnyModelChoiceField(Business.objects.none())
    file = forms.FileField(
        help_text="CSV in UTF-8: a number in each line, and after a comma a note, if you like. "
        "Numbers without a plus are read as in the home country of the business."
    )


@admin.register(DoNotCall)
class DoNotCallAdmin(TenantAdmin):
    """A number is added or taken off; what is known of how it came onto the list is not edited."""

    business_lookup = "business"
    form = NumberForm
    fields = ["business", "number", "note"]
    list_display = ["number", "business", "source", "note", "added"]
    list_filter = ["source", BusinessFilter]
    list_select_related = ["business"]
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    search_fields = ["number__startswith"]
    search_help_text = "The beginning of a number, with its plus."
    change_list_template = "admin/businesses/donotcall/change_list.html"

    @admin.display(description="added", ordering="created_at")
    def added(self, row: DoNotCall) -> str:
        return date_and_minute(row.created_at, row.business.zone)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["business"] if obj else []

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.import_list)
        return [path("import/", view, name="businesses_donotcall_import"), *super().get_urls()]

    def import_list(self, request: HttpRequest) -> HttpResponse:
        """Add the numbers of a file, all of them or, if one line is wrong, none."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ImportForm(request.POST or None, request.FILES or None)
        field = form.fields["business"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Business.objects.visible_to(request.user)
        if len(only := list(field.queryset[:2])) == 1:
            field.initial = only[0]
        errors: list[str] = []
        if request.method == "POST" and form.is_valid():
            business = form.cleaned_data["business"]
            data = form.cleaned_data["file"].read(do_not_call.MAX_BYTES + 1)
            listed = do_not_call.read_csv(data, home_country_of(business))
            errors = listed.errors or ([] if listed.numbers else ["There is no number in this file."])
            if not errors:
                self._add(request, business, listed.numbers)
                return HttpResponseRedirect(reverse("admin:businesses_donotcall_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": "Import numbers that are not to be called",
            "opts": self.opts,
            "form": form,
            "errors": errors[:_SHOWN_ERRORS],
            "more_errors": max(0, len(errors) - _SHOWN_ERRORS),
        }
        return TemplateResponse(request, "admin/businesses/donotcall/import.html", context)

    def _add(self, request: HttpRequest, business: Business, numbers: dict[str, str]) -> None:
        before = DoNotCall.objects.filter(business=business).count()
        DoNotCall.objects.bulk_create(
            [
                DoNotCall(business=business, number=number, note=note, source=DoNotCallSource.IMPORT)
                for number, note in numbers.items()
            ],
            ignore_conflicts=True,
            batch_size=500,
        )
        added = DoNotCall.objects.filter(business=business).count() - before
        known = f" {len(numbers) - added} were on the list already." if added < len(numbers) else ""
        self.log_change(request, business, f"Imported {added} numbers that are not to be called.")
        self.message_user(request, f"{added} numbers added.{known}", messages.SUCCESS)


@admin.register(TransferTarget)
class TransferTargetAdmin(TenantAdmin):
    """Agents know a target by its name, from the next call on."""

    business_lookup = "business"
    form = NumberForm
    fields = ["name", "business", "description", "number", "kind", "ring_seconds", "is_active"]
    list_display = ["name", "business", "number", "kind", "description", "is_active"]
    list_filter = [BusinessFilter, "is_active"]
    list_select_related = ["business"]
    search_fields = ["name", "number"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["business"] if obj else []  # calls that were put through name it
