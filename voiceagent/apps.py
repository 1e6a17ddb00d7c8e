"""What happens once in every process, when Django is set up."""

from django.apps import AppConfig


class VoiceagentConfig(AppConfig):
    name = "voiceagent"

    def ready(self) -> None:
        from voiceagent import checks, logs

        logs.configure_structlog()
        checks.register()
