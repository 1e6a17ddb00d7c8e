"""The ASGI application: HTTP goes to Django, the media stream's websocket to its consumer."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")

http = get_asgi_application()  # first: it loads the apps, and the imports below need them

from calls.journal import get_journal  # noqa: E402
from media.realtime import get_model  # noqa: E402
from media.routing import websockets  # noqa: E402

get_model()  # its library takes a second to import; not within somebody's call
get_journal()  # its keeper begins with what dead processes have left

application = ProtocolTypeRouter({"http": http, "websocket": websockets})
