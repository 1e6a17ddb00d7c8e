"""/metrics, for a Prometheus that knows the token."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from console import collect, prometheus


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """404 while METRICS_TOKEN is not set; 401 without it as a bearer token."""
    if not settings.METRICS_TOKEN:
        raise Http404
    if not has_token(request.headers.get("Authorization", ""), settings.METRICS_TOKEN):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(prometheus.exposition(collect.collect()), content_type=CONTENT_TYPE_LATEST)


def has_token(header: str, token: str) -> bool:
    """Compared in constant time, as bytes: a header may hold anything."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
