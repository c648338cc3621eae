from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.network.certificates import create_tls_context, find_variable


@pytest.fixture
def one_certificate(tmp_path: Path) -> Path:
    text = Path(certifi.where()).read_text("utf-8")
    end = "-----END CERTIFICATE-----"
    path = tmp_path / "one.pem"
    path.write_text(text[: text.index(end) + len(end)] + "\n", "utf-8")
    return path


def failure_of(variable: str, path: Path) -> str:
    with pytest.raises(Failure) as raised:
        create_tls_context({variable: str(path)})
    assert raised.value.code == "network-settings"
    return raised.value.message


def test_file_comes_before_folder_and_empty_variable_counts_as_unset() -> None:
    assert find_variable({"SSL_CERT_DIR": "b", "SSL_CERT_FILE": "a"}) == "SSL_CERT_FILE"
    assert find_variable({"SSL_CERT_DIR": "b", "SSL_CERT_FILE": ""}) == "SSL_CERT_DIR"
    assert find_variable({"SSL_CERT_FILE": ""}) is None


def test_file_replaces_the_default_certificates(one_certificate: Path) -> None:
    context = create_tls_context({"SSL_CERT_FILE": str(one_certificate)})
    assert len(context.get_ca_certs()) == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_named_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "it is not a regular file" in failure_of("SSL_CERT_FILE", tmp_path / "pipe")


def test_file_without_certificates_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "notes.pem").write_text("no certificate")
    assert "it contains no certificate" in failure_of("SSL_CERT_FILE", tmp_path / "notes.pem")


def test_one_of_several_folders_must_exist(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert "it is not a folder" in failure_of("SSL_CERT_DIR", missing)
    context = create_tls_context({"SSL_CERT_DIR": f"{missing}{os.pathsep}{tmp_path}"})
    assert context.get_ca_certs() == []
