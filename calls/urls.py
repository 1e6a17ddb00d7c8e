"""The carrier's webhooks, under /twilio/."""

from django.urls import path

from calls import recording_views, transfer_views, views, voicemail

urlpatterns = [
    path("voice/", views.voice, name="twilio-voice"),
    path("consent/", views.consent, name="twilio-consent"),
    path("stream-ended/", views.stream_ended, name="twilio-stream-ended"),
    path("status/", views.status, name="twilio-status"),
    path("transfer-ended/", transfer_views.transfer_ended, name="twilio-transfer-ended"),
    path("transfer-briefing/", transfer_views.briefing, name="twilio-transfer-briefing"),
    path("transfer-answer/", transfer_views.answer, name="twilio-transfer-answer"),
    path("hold/", transfer_views.hold, name="twilio-hold"),
    path("hold-ended/", transfer_views.hold_ended, name="twilio-hold-ended"),
    path("leg-status/", transfer_views.leg_status, name="twilio-leg-status"),
    path("message-left/", voicemail.message_left, name="twilio-message-left"),
    path("recording/", recording_views.recording, name="twilio-recording"),
]
