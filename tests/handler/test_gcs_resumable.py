"""Large outputs in a Google Cloud Storage on 127.0.0.1: uploads in chunks, each of which may fail in each way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.handler.gcs import GcsSettings, GcsStore
from comfywatchman.handler.result import StoredOutput
from tests.servers.gcs import BUCKET, GcsServer

pytestmark = pytest.mark.slow

CHUNK_BYTES = 3 << 20
CONTENT = bytes(range(256)) * (9 << 12)
"""9 MiB: Google's library sends up to 8 MiB in one request. Here it makes three chunks."""

SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = f"comfy/outputs/k/{SHA256[:16]}-made.mp4"
RECOVERED = (408, 429, 500, 502, 503, 504, "early", "cut", "half", "none", "part", "part-cut", "expired", "gone")


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    with GcsServer() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "output.mp4"
    path.write_bytes(CONTENT)
    return path


def store(path: Path, *, retries: int = 3) -> StoredOutput:
    settings = GcsSettings(BUCKET, project="p", retries=retries, retry_sleep_seconds=0.001, chunk_bytes=CHUNK_BYTES)
    gcs_store = GcsStore(settings)
    return gcs_store.store(path, run_name="k", filename="made.mp4", media_type="video/mp4", sha256=SHA256)


def fail(path: Path, *, retries: int = 3) -> Failure:
    with pytest.raises(Failure) as raised:
        store(path, retries=retries)
    return raised.value


def test_large_output_is_sent_in_chunks(gcs: GcsServer, output: Path) -> None:
    store(output)
    assert (gcs.objects, gcs.types) == ({NAME: CONTENT}, {NAME: "video/mp4"})
    assert (len(gcs.chunks), gcs.uploads) == (3, 1)


@pytest.mark.parametrize("fault", [408, 429, 503, "early", "cut"])
def test_session_begins_again(gcs: GcsServer, output: Path, fault: int | str) -> None:
    gcs.faults = [fault, fault]
    store(output)
    assert gcs.objects == {NAME: CONTENT}


@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("fault", RECOVERED)
def test_fault_in_a_chunk_loses_and_doubles_nothing(gcs: GcsServer, output: Path, fault: int | str, chunk: int) -> None:
    gcs.chunk_faults = [*[""] * chunk, fault]
    store(output)
    assert gcs.objects == {NAME: CONTENT}


@pytest.mark.parametrize("fault", [401, 403])
def test_lost_permission_ends_the_upload(gcs: GcsServer, output: Path, fault: int) -> None:
    gcs.chunk_faults = ["", fault]
    assert fail(output).code == "gcs-no-access"
    assert (gcs.uploads, len(gcs.chunks), gcs.objects) == (1, 2, {})


@pytest.mark.parametrize("fault", [503, "early", "none", "part", "expired"])
def test_endless_fault_ends(gcs: GcsServer, output: Path, fault: int | str) -> None:
    gcs.chunk_faults = [fault] * 100
    assert fail(output, retries=2).code == "gcs-failed"
    assert len(gcs.chunks) == 3
    assert gcs.objects == {}


def test_corrupt_object_is_replaced(gcs: GcsServer, output: Path) -> None:
    gcs.chunk_faults = ["", "", "corrupt"]
    store(output)
    assert gcs.objects == {NAME: CONTENT}


def test_corrupt_object_that_may_not_be_deleted_is_a_failure(gcs: GcsServer, output: Path) -> None:
    gcs.may_delete = False
    gcs.chunk_faults = ["", "", "corrupt"]
    failure = fail(output)
    assert failure.code == "gcs-failed"
    assert "Another object" in failure.message


def test_object_of_another_upload_that_ends_first_is_the_same(gcs: GcsServer, output: Path) -> None:
    gcs.chunk_faults = ["", "", "raced"]
    store(output)
    assert gcs.objects == {NAME: CONTENT}
