"""Addresses served over HTTP."""

from django.contrib import admin
from django.urls import include, path

from console import views as console

urlpatterns = [
    path("admin/", admin.site.urls),
    path("twilio/outbound/", include("outbound.urls")),
    path("twilio/", include("calls.urls")),
    path("metrics", console.metrics, name="metrics"),
]
