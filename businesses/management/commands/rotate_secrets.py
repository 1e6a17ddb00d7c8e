"""Encrypt the secrets of HTTP tools again, under the newest key."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from businesses import stored_secrets


class Command(BaseCommand):
    help = (
        "Encrypt every stored secret again under the newest key: the first of SECRETS_KEYS, or where that is empty the "
        "one derived from SECRET_KEY. To replace a key: put the new one first, restart all processes, run this, then "
        "remove the old one and restart. Safe to run at any time."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        rotation = stored_secrets.rotate()
        self.stdout.write(f"Under the newest key: {rotation.done}.")
        if rotation.unreadable:
            raise CommandError(
                f"None of the keys decrypts the secret of: {', '.join(rotation.unreadable)}. Add the key they were "
                "encrypted with at the end of SECRETS_KEYS, or enter the secrets in admin again and publish."
            )
