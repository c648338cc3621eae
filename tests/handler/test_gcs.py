"""Outputs in a Google Cloud Storage on 127.0.0.1."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud import storage
from google.oauth2 import service_account

from comfywatchman.base.errors import Failure
from comfywatchman.handler.gcs import GcsSettings, GcsStore, RetryBudget, build_link, build_object_name, is_transient
from comfywatchman.handler.result import StoredOutput
from tests.servers.gcs import BUCKET, GcsServer

CONTENT = b"\x89PNG\r\n\x1a\n\r\n\r\nmade\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = f"comfy/outputs/k/{SHA256[:16]}-made.png"
SETTINGS = {"project": "p", "retry_sleep_seconds": 0.001}


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    with GcsServer() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "output.png"
    path.write_bytes(CONTENT)
    return path


def store(path: Path, **settings: object) -> StoredOutput:
    gcs_store = GcsStore(GcsSettings(BUCKET, **{**SETTINGS, **settings}))  # type: ignore[arg-type]
    return gcs_store.store(path, run_name="k", filename="made.png", media_type="image/png", sha256=SHA256)


def fail(path: Path, **settings: object) -> str:
    with pytest.raises(Failure) as raised:
        store(path, **settings)
    return raised.value.code


def test_output_is_stored_under_a_name_of_its_content(gcs: GcsServer, output: Path) -> None:
    assert store(output) == StoredOutput(f"gs://{BUCKET}/{NAME}", f"gs://{BUCKET}/{NAME}")
    assert (gcs.objects, gcs.types) == ({NAME: CONTENT}, {NAME: "image/png"})


@pytest.mark.parametrize("fault", [408, 429, 500, 502, 503, 504, "early", "cut", "half"])
def test_passing_faults_lose_and_double_nothing(gcs: GcsServer, output: Path, fault: int | str) -> None:
    gcs.faults = [fault, fault]
    store(output)
    assert gcs.objects == {NAME: CONTENT}
    assert gcs.uploads == (2 if fault in {"cut", "half"} else 3)


@pytest.mark.parametrize(
    ("fault", "code", "uploads"), [(401, "gcs-no-access", 1), (403, "gcs-no-access", 1), (404, "gcs-no-access", 1)]
)
def test_lasting_faults_are_not_repeated(gcs: GcsServer, output: Path, fault: int, code: str, uploads: int) -> None:
    gcs.faults = [fault]
    assert fail(output) == code
    assert (gcs.uploads, gcs.objects) == (uploads, {})


def test_endless_fault_ends(gcs: GcsServer, output: Path) -> None:
    gcs.faults = [503] * 100
    assert fail(output, retries=2) == "gcs-failed"
    assert gcs.uploads == 3
    assert fail(output, retries=90, upload_seconds=0.01) == "gcs-failed"
    assert gcs.uploads < 90


def test_same_output_again_is_the_same_object(gcs: GcsServer, output: Path) -> None:
    assert store(output) == store(output)
    gcs.objects[NAME] = b"other"
    assert fail(output) == "gcs-failed"
    assert gcs.objects[NAME] == b"other"


def test_permission_is_checked(gcs: GcsServer) -> None:
    gcs_store = GcsStore(GcsSettings(BUCKET, project="p"))
    gcs_store.check_access()
    for permissions, status in (([], 200), (["storage.objects.create"], 403)):
        gcs.permissions, gcs.iam_status = permissions, status
        with pytest.raises(Failure) as raised:
            gcs_store.check_access()
        assert raised.value.code == "gcs-no-access"


def test_links(gcs: GcsServer, output: Path) -> None:
    assert store(output, is_public=True).link == f"https://storage.googleapis.com/{BUCKET}/{NAME}"
    unsigned = store(output, signed_seconds=60)
    assert unsigned.link == f"gs://{BUCKET}/{NAME}"
    assert unsigned.note is not None
    assert list(gcs.objects) == [NAME]


@pytest.mark.slow
def test_key_of_a_service_account_signs_links() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {"client_email": "a@example.org", "token_uri": "http://127.0.0.1:9/", "private_key": pem}
    credentials: Any = service_account.Credentials
    credentials = credentials.from_service_account_info(account)
    client = storage.Client(project="p", credentials=credentials)
    blob = client.bucket(BUCKET).blob("made/a.png")
    link, note = build_link(blob, GcsSettings(BUCKET, signed_seconds=3600))
    assert link.startswith(f"https://storage.googleapis.com/{BUCKET}/made/a.png?X-Goog-Algorithm=")
    assert "X-Goog-Expires=3600" in link
    assert note is None


@pytest.mark.parametrize(
    "settings",
    [
        GcsSettings("Upper"),
        GcsSettings("a/b"),
        GcsSettings(BUCKET, signed_seconds=-1),
        GcsSettings(BUCKET, signed_seconds=604_801),
        GcsSettings(BUCKET, retries=-1),
        GcsSettings(BUCKET, retry_sleep_seconds=-1),
    ],
)
def test_wrong_settings_are_refused(settings: GcsSettings) -> None:
    with pytest.raises(Failure) as raised:
        GcsStore(settings)
    assert raised.value.code == "gcs-settings-invalid"


def test_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    with pytest.raises(Failure) as raised:
        GcsStore(GcsSettings(BUCKET))
    assert raised.value.code == "gcs-extra-missing"


def test_missing_credentials_are_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    for content in (None, "{secret"):
        path = tmp_path / "key.json"
        if content is not None:
            path.write_text(content)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        with pytest.raises(Failure) as raised:
            GcsStore(GcsSettings(BUCKET, project="p"))
        assert raised.value.code == "gcs-no-access"
        assert "secret" not in str(raised.value)


def test_object_names_are_safe() -> None:
    assert build_object_name("/a/", "k:1", "../ä b.png", SHA256).startswith("a/k_1/")
    name = build_object_name("", "k", "../../ä b.png", SHA256)
    assert name.isascii()
    assert name.count("/") == 1


def test_other_errors_are_not_repeated() -> None:
    is_repeated = RetryBudget(1).limit(is_transient)
    assert not is_repeated(ValueError())
    assert is_repeated(ConnectionError())
    assert not is_repeated(ConnectionError())
