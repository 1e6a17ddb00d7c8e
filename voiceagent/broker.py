"""Where Celery finds the broker. It writes addresses of unix sockets otherwise than redis-py and Django's cache do."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


def broker_url(redis_url: str) -> str:
    """CELERY_BROKER_URL out of REDIS_URL: redis://, rediss:// or unix://, with password and database.

    unix://:secret@/run/redis.sock?db=2 becomes redis+socket://:secret@/run/redis.sock?virtual_host=2. For rediss:// the
    certificate is checked unless the address says otherwise: kombu's own default would accept any.
    """
    parts = urlsplit(redis_url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        query["virtual_host"] = query.pop("db", "0")
        # Not urlunsplit: without user and password it would drop the empty host's slashes.
        return f"redis+socket://{parts.netloc}{parts.path}?{urlencode(query)}"
    if parts.scheme == "rediss":
        query.setdefault("ssl_cert_reqs", "required")
    path = parts.path
    if "db" in query:  # redis-py takes ?db=2 as well as /2
        path = f"/{query.pop('db')}"
    return urlunsplit((parts.scheme, parts.netloc, path, urlencode(query), ""))
