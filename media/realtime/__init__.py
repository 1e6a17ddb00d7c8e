"""The speech models: one module each, behind the port of `base`. A new one is a module and a line here."""

from django.utils.module_loading import import_string

from media.realtime.base import SpeechModel

MODELS = {
    "openai_realtime": "media.realtime.openai_realtime.OpenAIRealtime",
}
DEFAULT_MODEL = "openai_realtime"


def get_model(name: str = DEFAULT_MODEL) -> SpeechModel:
    """Return the model of this name; the import is slow (a second) the first time, so servers do it at start."""
    model: SpeechModel = import_string(MODELS[name])()
    return model
