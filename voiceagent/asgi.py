"""The ASGI application: HTTP goes to Django, the media stream's websocket to its consumer."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")

application = ProtocolTypeRouter({"http": get_asgi_application()})
