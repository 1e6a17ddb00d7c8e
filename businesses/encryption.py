"""Secrets of businesses, encrypted while they lie in the database. A dump of it, without the keys, gives none away.

The keys are SECRETS_KEYS: Fernet keys, newest first. The newest encrypts, each of them decrypts. Where none is set the
key is derived from SECRET_KEY, so that nothing has to be set up; what was encrypted under it can still be read after
SECRETS_KEYS was set (or SECRET_KEY replaced and kept in SECRET_KEY_FALLBACKS), until `manage.py rotate_secrets` has
encrypted everything under the newest key.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

SHOWN_CHARACTERS = 4
SHORTEST_SHOWN = 12  # of a shorter secret, four characters would tell too much


class Undecryptable(Exception):
    """None of the keys encrypted this, or it was changed since. Says nothing of what it was."""


def encrypt(secret: str) -> str:
    """Return the secret as it may lie in the database; empty stays empty."""
    return _fernet().encrypt(secret.encode()).decode() if secret else ""


def decrypt(token: str) -> str:
    """Return the secret. Raise Undecryptable."""
    if not token:
        return ""
    try:
        return _fernet().decrypt(token.encode()).decode()
    except InvalidToken:
        raise Undecryptable from None


def encrypt_again(token: str) -> str:
    """Return the secret encrypted under the newest key. Raise Undecryptable."""
    if not token:
        return ""
    try:
        return _fernet().rotate(token.encode()).decode()
    except InvalidToken:
        raise Undecryptable from None


def ending(secret: str) -> str:
    """Return the end of a secret, by which its owner knows it: its last four characters, or of a short one nothing."""
    return secret[-SHOWN_CHARACTERS:] if len(secret) >= SHORTEST_SHOWN else ""


def unusable_keys(keys: Iterable[str]) -> list[int]:
    """Return the places, from 1, of those that are no Fernet keys."""
    return [place for place, key in enumerate(keys, start=1) if not _is_key(key)]


def _is_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:  # also what base64 raises
        return False
    return True


def _fernet() -> MultiFernet:
    derived = [_derived_key(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    return MultiFernet([Fernet(key) for key in (*settings.SECRETS_KEYS, *derived)])


def _derived_key(secret_key: str) -> bytes:
    """A key for this purpose alone: who learns it knows nothing of SECRET_KEY, which signs sessions."""
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"voiceagent.businesses.encryption")
    return urlsafe_b64encode(hkdf.derive(secret_key.encode()))
