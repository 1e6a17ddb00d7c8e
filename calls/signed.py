"""Who may ask: requests that carry the carrier's signature, about calls of our account; and the form of an answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from calls.carriers import twilio

logger = logging.getLogger(__name__)


def from_carrier(view: Callable[[HttpRequest, str], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Let only Twilio's signed POSTs about calls of our account through, with their CallSid."""

    @csrf_exempt
    @require_POST
    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        call_sid = request.POST.get("CallSid", "")
        refusal = ""
        if not twilio.request_is_signed(request):
            refusal = "bad_signature"
        elif not twilio.is_call_sid(call_sid):
            refusal = "malformed_call_sid"
        elif not twilio.is_our_account(request.POST.get("AccountSid", "")):
            refusal = "other_account"
        if refusal:
            logger.warning("carrier request refused", extra={"reason": refusal, "path": request.path})
            return HttpResponse("Refused\n", status=403, content_type="text/plain")
        return view(request, call_sid)

    return checked


def twiml(document: str) -> HttpResponse:
    return HttpResponse(document, content_type="text/xml")
