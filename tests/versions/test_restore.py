from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.lockfile import LockedCode, LockedModel, VersionLock
from comfywatchman.versions.restore import RestoredModel, RestoreTools, restore_models
from comfywatchman.versions.verify import verify_models
from tests.versions.hosts import hash_file

GOOD = b"weights"
MODEL = LockedModel(
    path="vae/sub/a.safetensors",
    size=len(GOOD),
    sha256="9cff17a5cef3c3abf05b5a4bcbfa3ba9d8ea3cd8c9f3f5a9bd8d30c1b8d8d5e7",
)


@pytest.fixture
def lock(tmp_path: Path) -> VersionLock:
    sample = tmp_path / "sample"
    sample.write_bytes(GOOD)
    size, sha256 = hash_file(sample)
    model = LockedModel(path=MODEL.path, size=size, sha256=sha256)
    return VersionLock(tag="first", comfyui=LockedCode(name="ComfyUI", source="folder"), models=(model,))


def restore(lock: VersionLock, models: Path, content: bytes | None, *, overwrite: bool = False) -> list[RestoredModel]:
    def find_model(path: str) -> Path | None:
        place = models / path
        return place if place.exists() else None

    def place_model(_model: LockedModel, path: Path) -> None:
        if content is None:
            raise Failure("version-model-unavailable", "Nobody has it.")
        assert not path.exists()
        path.write_bytes(content)

    findings = list(verify_models(lock.models, find_model, hash_file=hash_file))
    return list(restore_models(lock, findings, models, RestoreTools(place_model, hash_file), overwrite=overwrite))


def test_missing_model_is_put_back(lock: VersionLock, tmp_path: Path) -> None:
    assert restore(lock, tmp_path, GOOD) == [RestoredModel(path=MODEL.path, is_restored=True)]
    assert (tmp_path / MODEL.path).read_bytes() == GOOD
    assert restore(lock, tmp_path, None) == []


def test_other_content_is_replaced_only_on_request(lock: VersionLock, tmp_path: Path) -> None:
    path = tmp_path / MODEL.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"changed")
    assert restore(lock, tmp_path, GOOD) == []
    assert path.read_bytes() == b"changed"
    assert restore(lock, tmp_path, GOOD, overwrite=True)[0].is_restored
    assert path.read_bytes() == GOOD
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name]


@pytest.mark.parametrize("content", [None, b"neither"])
def test_file_comes_back_when_its_successor_cannot_be_had(
    lock: VersionLock, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / MODEL.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"changed")
    (outcome,) = restore(lock, tmp_path, content, overwrite=True)
    assert (outcome.is_restored, outcome.code) == (False, "version-model-unavailable")
    assert path.read_bytes() == b"changed"
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name]


def test_link_to_nowhere_gives_way(lock: VersionLock, tmp_path: Path) -> None:
    path = tmp_path / MODEL.path
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "gone")
    assert restore(lock, tmp_path, GOOD)[0].is_restored
    assert not path.is_symlink()


def test_folder_that_cannot_be_made_is_a_failure(lock: VersionLock, tmp_path: Path) -> None:
    (tmp_path / "vae").write_text("a file")
    assert [one.code for one in restore(lock, tmp_path, GOOD)] == ["state-unwritable"]
