"""The carrier's webhooks about calls that we placed, under /twilio/outbound/."""

from django.urls import path

from outbound import views

urlpatterns = [
    path("voice/", views.voice, name="twilio-outbound-voice"),
    path("status/", views.status, name="twilio-outbound-status"),
    path("machine/", views.machine, name="twilio-outbound-machine"),
]
