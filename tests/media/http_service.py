"""A service for HTTP tools to ask: a real HTTP server on this machine, in threads of its own, that keeps what it was
asked and answers what it was told to. With a certificate it speaks TLS, as a host of any name."""

from __future__ import annotations

import datetime
import ssl
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """`wait`: this is set before the answer goes on; without a length the body ends with the connection."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    wait: threading.Event | None = None
    says_length: bool = True
    breaks_off: bool = False


class Service:
    def __init__(self, certificate: Certificate | None = None) -> None:
        self.asked: list[Asked] = []
        self.answer = Answer()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.asked.append(Asked(self.command, self.path, headers, body))
                service.reply(self)

            do_POST = do_GET

            def log_message(self, *args: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            self._server.socket = certificate.server().wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def reply(self, handler: BaseHTTPRequestHandler) -> None:
        answer = self.answer
        handler.close_connection = not answer.says_length or answer.breaks_off
        try:
            if answer.wait is not None:
                answer.wait.wait(10)
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            if answer.says_length:
                handler.send_header("Content-Length", str(len(answer.body) + (10 if answer.breaks_off else 0)))
            handler.end_headers()
            handler.wfile.write(answer.body)
        except OSError:
            pass  # the client has gone, which some tests are about

    def close(self) -> None:
        if self.answer.wait is not None:
            self.answer.wait.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away, or do not trust the certificate, are what tests are about."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Certificate:
    """A certificate for one name, signed by itself."""

    def __init__(self, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self._certificate = made.public_bytes(serialization.Encoding.PEM)
        self._key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            both = Path(directory) / "both.pem"
            both.write_bytes(self._certificate + self._key)
            context.load_cert_chain(both)
        return context

    def client(self) -> ssl.SSLContext:
        """A client that trusts this certificate alone."""
        return ssl.create_default_context(cadata=self._certificate.decode())
