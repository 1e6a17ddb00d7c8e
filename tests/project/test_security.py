"""Headers and cookies of the pages for people."""

from __future__ import annotations

from html.parser import HTMLParser

from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.test import TestCase

POLICY = {
    "default-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
    "media-src": "'self' blob:",
}


class Inline(HTMLParser):
    """Collects what a strict policy would block: inline scripts, styles and handlers, and foreign addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.violations: list[str] = []
        self.static: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        is_data = named.get("type") in ("application/json", "text/template")
        if (tag == "script" and "src" not in named and not is_data) or tag == "style":
            self.violations.append(f"inline <{tag}>")
        for name, value in attributes:
            if name == "style" or name.startswith("on"):
                self.violations.append(f"<{tag} {name}>")
            if tag in ("script", "link", "img") and name in ("src", "href") and value:
                if value.startswith("/static/"):
                    self.static.add(value.removeprefix("/static/"))
                elif not value.startswith("/"):
                    self.violations.append(f"<{tag} {name}={value}>")


class PageTests(TestCase):
    def setUp(self) -> None:
        self.client.force_login(get_user_model().objects.create_superuser("admin"))

    def test_every_page_carries_the_strict_policy(self) -> None:
        for path in ("/admin/", "/admin/login/", "/admin/no/such/page/"):
            with self.subTest(path=path):
                header = self.client.get(path).headers["Content-Security-Policy"]
                policy = dict(part.strip().split(" ", 1) for part in header.split(";") if part.strip())
                self.assertEqual(policy, POLICY)

    def test_admin_pages_have_nothing_that_the_policy_blocks_and_every_file_they_name(self) -> None:
        paths = ["/admin/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/password_change/"]
        paths += ["/admin/calls/calllog/", "/admin/businesses/business/add/", "/admin/businesses/phonenumber/add/"]
        for path in paths:
            with self.subTest(path=path):
                response = self.client.get(path)
                self.assertEqual(response.status_code, 200)
                page = Inline()
                page.feed(response.content.decode())
                self.assertEqual(page.violations, [])
                self.assertTrue(page.static)
                self.assertEqual([name for name in page.static if finders.find(name) is None], [])

    def test_pages_are_not_framed_sniffed_or_told_to_others(self) -> None:
        headers = self.client.get("/admin/").headers
        self.assertEqual(headers["X-Frame-Options"], "DENY")
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(headers["Referrer-Policy"], "same-origin")

    def test_a_session_lasts_a_working_day(self) -> None:
        self.client.logout()
        get_user_model().objects.create_superuser("anna", password="a long enough password")
        self.client.post("/admin/login/", {"username": "anna", "password": "a long enough password"})
        self.assertEqual(self.client.cookies["sessionid"]["max-age"], 8 * 3600)
        self.assertTrue(self.client.cookies["sessionid"]["httponly"])
