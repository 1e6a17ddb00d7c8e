"""The addresses of websockets."""

from typing import Any, cast

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable
from channels.routing import URLRouter
from django.urls import re_path

from media.consumers import MediaStreamConsumer


async def refuse(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer an address nobody serves with 403; Channels would raise, and log a traceback for every port scan."""
    await send({"type": "websocket.close", "code": 1008, "reason": None})


consumer: Any = MediaStreamConsumer.as_asgi()  # Any: the stubs know `re_path` with views only
routes: list[Any] = [
    re_path(r"^media/stream/(?P<call_sid>CA[0-9a-f]{32})/(?P<ticket>[^/]+)/?$", consumer),
    re_path(r"", cast(Any, refuse)),
]
websockets = URLRouter(routes)
