from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.network.settings import NetworkSettings


def test_environment_is_read_once() -> None:
    variables = {"HTTPS_PROXY": "http://127.0.0.1:8080"}
    settings = NetworkSettings(variables)
    variables.clear()
    proxy = settings.find_proxy("https", "hub.example", 443)
    assert proxy is not None
    assert (proxy.variable, proxy.port) == ("HTTPS_PROXY", 8080)


def test_connections_share_the_certificates(tmp_path: Path) -> None:
    settings = NetworkSettings({"SSL_CERT_DIR": str(tmp_path)})
    assert settings.tls_context() is settings.tls_context()


def test_certificates_that_appear_later_are_loaded(tmp_path: Path) -> None:
    settings = NetworkSettings({"SSL_CERT_DIR": str(tmp_path / "later")})
    with pytest.raises(Failure, match="SSL_CERT_DIR names no usable certificates"):
        settings.tls_context()
    (tmp_path / "later").mkdir()
    assert settings.tls_context().verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "The certificate of hub.example is not trusted: self-signed certificate."),
        (
            {"SSL_CERT_FILE": "/none"},
            "The certificate of hub.example is not trusted by those of SSL_CERT_FILE: self-signed certificate.",
        ),
    ],
)
def test_distrust_names_the_variable_that_applies(variables: dict[str, str], sentence: str) -> None:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_message = "self-signed certificate"
    assert NetworkSettings(variables).describe_distrust("hub.example", error) == sentence
