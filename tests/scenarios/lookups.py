"""A service that agents look things up at: answers when it is told to, and remembers who asked."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Lookups:
    """`/part-7/after/1500` answers a second and a half later, `/part-7/status/500` with that status. `asked` holds
    (path, headers) of every request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self._answer()

            def _answer(self) -> None:
                parts = urlsplit(self.path)
                owner.asked.append((parts.path, {name.lower(): value for name, value in self.headers.items()}))
                words = parts.path.strip("/").split("/")
                wishes = dict(zip(words[1::2], words[2::2], strict=False))
                time.sleep(float(wishes.get("after", 0)) / 1000)
                body = json.dumps({"found": True, "asked": parse_qs(parts.query)}).encode()
                try:
                    self.send_response(int(wishes.get("status", 200)))
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # whoever asked has given up

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="lookups", daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def of(self, part: str) -> list[dict[str, str]]:
        """The headers of every request of one part."""
        return [headers for path, headers in self.asked if path.split("/")[1] == part]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
