"""Twilio's request signature, written from its documentation (twilio.com/docs/usage/security), not with its package."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit


def signed_url(url: str) -> str:
    """The form of a URL that is signed: as used on the wire, without user information and without the fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def signature(auth_token: str, url: str, params: Iterable[tuple[str, str]] = ()) -> str:
    """base64(HMAC-SHA1(token, url + sorted names and values)); a repeated name counts once per distinct value."""
    text = signed_url(url) + "".join(name + value for name, value in sorted(set(params)))
    digest = hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def with_port(url: str, port: int) -> str:
    """The same URL with an explicit port: one of the forms in which a handshake may be signed."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, f"{parts.hostname}:{port}", parts.path, parts.query, ""))


def with_slash_toggled(url: str) -> str:
    """The same URL with its trailing slash taken away, or added if it had none."""
    parts = urlsplit(url)
    path = parts.path[:-1] if parts.path.endswith("/") else parts.path + "/"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
