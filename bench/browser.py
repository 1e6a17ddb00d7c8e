"""Somebody logged in to admin, over one kept connection: what an operator's browser sends, without the browser."""

from __future__ import annotations

import re
import time
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Browser:
    """Speaks to a port of this machine as the proxy in front of `public_url` would."""

    def __init__(self, port: int, public_url: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._public_url = public_url
        self._cookies: dict[str, str] = {}

    def log_in(self, name: str, password: str) -> None:
        """Raise ValueError when the server does not take them."""
        path = "/admin/login/"
        found = _TOKEN.search(self.get(path))
        form = {"username": name, "password": password, "next": "/admin/"}
        body = urlencode({**form, "csrfmiddlewaretoken": found[1] if found else ""})
        status, _ = self._ask("POST", path, body)
        if status != 302:
            raise ValueError(f"{name} could not log in: {status}")

    def get(self, path: str) -> str:
        """The page. Raise ValueError when there is none."""
        status, page = self._ask("GET", path)
        if status != 200:
            raise ValueError(f"{path}: {status}")
        return page

    def timed(self, path: str) -> float:
        """Milliseconds from sending the request to the last byte of its answer."""
        began = time.perf_counter()
        self.get(path)
        return (time.perf_counter() - began) * 1000

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        headers = {
            "Host": urlsplit(self._public_url).netloc,
            "X-Forwarded-Proto": "https",
            "Referer": self._public_url + path,
            "Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()),
        }
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                cookie, _, content = value.partition(";")[0].partition("=")
                self._cookies[cookie] = content
        return answer.status, answer.read().decode()
