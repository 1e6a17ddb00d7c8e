"""Opening a media stream: the signed websocket upgrade, over the wss:// URL exactly as the TwiML gives it."""

import secrets
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus

from simulators.carrier import signing
from simulators.carrier.settings import Settings
from simulators.carrier.web import FORWARDED, address

HANDSHAKE_SECONDS = 10.0


class StreamRefused(Exception):
    """No stream: Twilio's error code, the HTTP status if there was an answer, and words for the ledger."""

    def __init__(self, code: int, status: int | None, what: str) -> None:
        super().__init__(what)
        self.code, self.status = code, status


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc  # Twilio follows no redirect here: whatever is not 101 is error 31920


async def open_stream(settings: Settings, url: str, signature: str, form: str) -> ClientConnection:
    """The upgraded socket. `signature` is right, wrong or missing; `form` the variant of the URL that is signed.

    Raises StreamRefused.
    """
    headers = dict(FORWARDED)
    if signature != "missing":
        signed = {"plain": url, "port": signing.with_port(url, 443), "slash": signing.with_slash_toggled(url)}[form]
        secret = settings.auth_token if signature == "right" else secrets.token_hex(16)
        headers["X-Twilio-Signature"] = signing.signature(secret, signed)
    host, port = address(settings, url)
    parts = urlsplit(url)
    try:
        return await _Connect(
            f"ws://{parts.netloc}{parts.path}",
            host=host,
            port=port,
            additional_headers=headers,
            user_agent_header="Twilio.TmeWs/1.0",
            compression=None,
            proxy=None,
            max_size=None,
            ping_interval=None,
            open_timeout=HANDSHAKE_SECONDS,
            close_timeout=2,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        raise StreamRefused(31920, status, f"handshake answered {status}") from None
    except InvalidHandshake as error:
        raise StreamRefused(31920, None, f"broken handshake: {type(error).__name__}") from None
    except TimeoutError:
        raise StreamRefused(31901, None, "handshake timed out") from None
    except OSError:
        raise StreamRefused(31902, None, "connection refused") from None
