"""What a new system needs before anybody can use it: somebody who may log in, and somebody to answer calls."""

from __future__ import annotations

from pathlib import Path

from django.contrib.auth import get_user_model

from businesses import demo
from businesses.models import Business
from voiceagent import embedded

ADMIN = "admin"


def make_admin(var_dir: Path) -> str | None:
    """Make the superuser `admin` when there is no superuser yet; return its new password, else None.

    The password also stays in var/admin_password, readable by this user only.
    """
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    (var_dir / "admin_password").unlink(missing_ok=True)  # of another database
    password = embedded.secret("admin_password", var_dir, length=12)
    users.create_superuser(ADMIN, password=password)
    return password


def make_business() -> None:
    """Make the demonstration business, its agent and its number when there is no business yet."""
    if not Business.objects.exists():
        demo.seed()
