"""Self-signed certificates for servers of the tests, made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from tests.servers.base import LocalServer, Page, Reply


def make_certificate(folder: Path, *names: str, is_authority: bool = True) -> Path:
    """Make a certificate for names, and its key `key.pem` beside it; skip the test without openssl."""
    folder.mkdir(exist_ok=True)
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    alternatives = ",".join(f"IP:{name}" if name.replace(".", "").isdigit() else f"DNS:{name}" for name in names)
    # uv accepts no certificate of an authority for a server; OpenSSL trusts no other that signs itself.
    kind = "" if is_authority else "-addext basicConstraints=critical,CA:FALSE "
    files = f"{kind}-addext subjectAltName={alternatives} -keyout {folder}/key.pem -out {folder}/cert.pem"
    try:
        made = subprocess.run(f"{command} {files}".split(), check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    if made.returncode:
        pytest.skip("no openssl here")
    return folder / "cert.pem"


def load_server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


class TlsServer(LocalServer):
    """The same over TLS."""

    def __init__(self, certificate: Path, pages: dict[str, Page | Reply]) -> None:
        super().__init__(pages)
        self._server.socket = load_server_tls(certificate).wrap_socket(self._server.socket, server_side=True)
