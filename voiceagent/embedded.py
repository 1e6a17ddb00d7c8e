"""The defaults of a machine that has only Python: a private Valkey, SQLite, a generated secret, all under var/."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def secret(name: str, var_dir: Path, *, length: int = 48, prefix: str = "") -> str:
    """Return the secret kept in var/<name>, made at first use of `length` random bytes; readable by this user only."""
    path = var_dir / name
    if not path.exists():
        var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # also the database with what was said
        # Write aside and link: of two processes that start at once, one wins and both read the same secret.
        with tempfile.NamedTemporaryFile("w", dir=var_dir, delete=False) as new:
            new.write(prefix + secrets.token_hex(length) if prefix else secrets.token_urlsafe(length))
        try:
            os.link(new.name, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(new.name)
    return path.read_text()


def demo_account_sid(var_dir: Path) -> str:
    """An account of the simulated carrier, in Twilio's form: AC and 32 hex digits."""
    return secret("twilio_account_sid", var_dir, length=16, prefix="AC")


def socket_path(var_dir: Path) -> Path:
    """A short path (a unix socket's is limited to about 100 bytes), one for each var directory and user."""
    key = hashlib.sha256(str(var_dir).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"voiceagent-{os.getuid()}-{key}" / "valkey.sock"


def redis_url(var_dir: Path) -> str:
    return f"unix://:{quote(secret('redis_password', var_dir))}@{socket_path(var_dir)}?db=0"


def database(env: Any, var_dir: Path) -> dict[str, Any]:
    """The DATABASES entry: DATABASE_URL (PostgreSQL or SQLite), or SQLite under var/."""
    if env.str("DATABASE_URL", default=""):
        config: dict[str, Any] = env.db("DATABASE_URL")
    else:
        config = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(var_dir / "db.sqlite3")}
    options = config.setdefault("OPTIONS", {})
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # Write-ahead mode lets readers go on; IMMEDIATE takes the write lock at once, so that waiting for it works.
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 20)
        options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        # A file, because the end-to-end tests read it from a worker's process too.
        config["TEST"] = {"NAME": str(var_dir / "test.sqlite3")}
    else:
        # Under ASGI connections belong to a pool, not to threads (Django, Databases, "Connection pool"). Its default
        # timeout of 30 s would hide a wrong host behind a long silence.
        options.setdefault("pool", {"min_size": 1, "max_size": env.int("DATABASE_POOL_SIZE", default=10), "timeout": 5})
        options.setdefault("connect_timeout", 3)
        options.setdefault("options", "-c statement_timeout=10000 -c lock_timeout=5000")
        config["CONN_HEALTH_CHECKS"] = True
        config["CONN_MAX_AGE"] = 0
    return config
