"""The servers that can carry this application: uvicorn, with media streams by picows, and daphne.

Each module has `run(application, host, port, ready)`, which serves until it is stopped and gives `ready` a Running.

Beyond ASGI both offer an application on a websocket an extension, `voiceagent.direct`, for what comes and goes 50 times
a second, with no task in between. "write" sends texts, as UTF-8, before the loop looks at its sockets again, or says
that it cannot. "read" takes a function which is given each text first, as bytes that may not be UTF-8, unless others
wait in the application's queue. It says whether that was all; it must say no while the application is not waiting for a
message, for texts keep their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

SERVERS = ("uvicorn", "daphne")
MAX_MESSAGE_BYTES = 64 * 1024  # the same for every websocket here; a media frame has about 400


class CannotListen(Exception):
    """The address is taken, or not ours."""


class Running(Protocol):
    """A server that listens. It handles no signals: who stops it is somebody else's business."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def addresses(self) -> list[tuple[str, int]]: ...

    def answers(self) -> set[asyncio.Future[Any]]:
        """What is being answered at this moment, requests and websockets, as far as it is not done."""

    def stop(self) -> None:
        """Soon; `run` returns then."""


Ready = Callable[[Running], None]


def run(server: str, application: Any, host: str, port: int, ready: Ready, **options: Any) -> None:
    """Serve by the one of SERVERS, with what only that one can do as `options`. Raise CannotListen."""
    # Imported only now: each installs an event loop or takes a second to load.
    import_module(f"voiceagent.serving.by_{server}").run(application, host, port, ready, **options)
