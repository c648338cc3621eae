"""Builds of torch come from an index of their own, which uv knows: here it is on 127.0.0.1, behind a proxy."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.governance.uv.client import Uv, find_uv
from comfywatchman.governance.uv.file_hashes import find_file_hashes
from tests.governance.wheels import add_wheel
from tests.servers.base import LocalServer, Page, Reply
from tests.servers.certificates import TlsServer, make_certificate
from tests.servers.proxy import ProxyServer

pytestmark = pytest.mark.slow

TABLE = NetworkTable(offline=False, cache_dir="", index_url="", no_index=False, find_links=())


def find_index_host(tmp_path: Path, backend: str) -> str:
    """Return the host that uv asks for builds of torch; nothing answers it."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("torch\n")
    with LocalServer() as nobody, ProxyServer(nobody.port, refusal=502) as proxy:
        uv = Uv(find_uv(), build_variables(tmp_path / "cache", proxy.port), TABLE)
        uv.resolve_files([requirements], python=Path(sys.executable), torch_backend=backend)
        return proxy.targets[0].partition(":")[0]


def build_variables(cache: Path, proxy_port: int, certificate: Path | None = None) -> dict[str, str]:
    variables = {
        "HTTPS_PROXY": f"http://127.0.0.1:{proxy_port}",
        "UV_HTTP_RETRIES": "0",
        "UV_CACHE_DIR": str(cache),
        "NO_PROXY": "",
    }
    return variables if certificate is None else {**variables, "SSL_CERT_FILE": str(certificate)}


@contextmanager
def serve_builds(tmp_path: Path, backend: str) -> Iterator[tuple[Uv, Path]]:
    """Serve one build of torch as the index of torch does; yield a client of it, and the wheel."""
    wheel = add_wheel(tmp_path / "wheels", "torch", f"2.9.0+{backend}")
    address = wheel.name.replace("+", "%2B")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    page = f'<a href="/{address}#sha256={digest}">{wheel.name}</a>'.encode()
    pages: dict[str, Page | Reply] = {
        f"/whl/{backend}/torch/": Reply(page, headers={"content-type": "text/html"}),
        f"/{address}": Reply(wheel.read_bytes()),
    }
    host = find_index_host(tmp_path, backend)
    certificate = make_certificate(tmp_path / "tls", host, is_authority=False)
    with TlsServer(certificate, pages) as index, ProxyServer(index.port) as proxy:
        yield Uv(find_uv(), build_variables(tmp_path / "cache", proxy.port, certificate), TABLE), wheel


@pytest.mark.parametrize("backend", ["cpu", "cu126", "cu128", "rocm6.4", "xpu"])
def test_locked_build_is_found_and_installed(tmp_path: Path, backend: str) -> None:
    with serve_builds(tmp_path, backend) as (uv, wheel):
        package = InstalledPackage("torch", f"2.9.0+{backend}")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        found = find_file_hashes(uv, [package], python=Path(sys.executable), torch_backend=backend)
        assert found == {package: (digest,)}
        environment = tmp_path / "environment"
        assert uv.make_environment(environment, python=Path(sys.executable), seed=False).is_success
        pins = tmp_path / "pins.txt"
        pins.write_text(f"torch=={package.version} --hash=sha256:{digest}\n")
        result = uv.install_pins(environment, pins, require_hashes=True, link_mode="copy", torch_backend=backend)
        assert result.is_success, result.errors
    assert (next(environment.glob("lib/python3.*/site-packages")) / f"torch-2.9.0+{backend}.dist-info").is_dir()
