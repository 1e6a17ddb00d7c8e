"""A browser that is logged in to admin, for tests of pages.

Needs playwright (requirements/e2e.txt, `make test-browser`) and a Chromium of the system; nothing is downloaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import skipUnless

from django.contrib.auth.models import User
from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.test import override_settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HAS_PLAYWRIGHT = importlib.util.find_spec("playwright") is not None
FLAGS = [
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
DESK, PHONE = (1280, 900), (390, 844)


@skipUnless(CHROMIUM, "Admin in a browser: needs Chromium (apt install chromium)")
@skipUnless(HAS_PLAYWRIGHT, "Admin in a browser: needs playwright (make test-browser)")
@override_settings(MODEL_IS_SIMULATED=True)
class BrowserTest(StaticLiveServerTestCase):
    """The browser runs an event loop in this thread, so all rows are made before it starts. `pages`: addresses by
    name; `complaints` and `hosts`: what the pages complained of, and asked."""

    pages: dict[str, str]

    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        User.objects.create_superuser("boss", password="a long password")
        self.complaints: list[str] = []
        self.hosts: set[str] = set()

    @contextmanager
    def browser(self) -> Iterator[Any]:
        sync_playwright = importlib.import_module("playwright.sync_api").sync_playwright  # not a dependency of dev
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=[*FLAGS, *(["--no-sandbox"] if root else [])]
            )
            try:
                yield browser
            finally:
                browser.close()

    def logged_in(self, browser: Any, size: tuple[int, int]) -> Any:
        page = browser.new_context(viewport={"width": size[0], "height": size[1]}).new_page()
        page.on("console", lambda said: self.complaints.extend([said.text] if said.type == "error" else []))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.goto(f"{self.live_server_url}/admin/")
        page.fill("#id_username", "boss")
        page.fill("#id_password", "a long password")
        page.click("[type=submit]")
        page.wait_for_selector("#user-tools")
        return page

    def open(self, page: Any, name: str) -> None:
        page.goto(self.live_server_url + self.pages[name])
