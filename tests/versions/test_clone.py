from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json
from comfywatchman.versions.clone import check_clonable, clone_version
from comfywatchman.versions.collect import EnvironmentPlace, collect_version
from comfywatchman.versions.lockfile import (
    LockedModel,
    Unpinned,
    VersionLock,
    seal_lock,
)
from comfywatchman.versions.place import ClonePlace, read_marker
from tests.versions.builders import Builder
from tests.versions.hosts import VersionHost, make_host

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> VersionHost:
    return make_host(tmp_path)


@pytest.fixture
def lock(host: VersionHost) -> VersionLock:
    return collect_version("first", host.state(), host.tools())


def test_clone_gives_the_same_lock(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    place = clone_version(lock, tmp_path / "clone", Builder(host).tools())
    marker = read_marker(place.root)
    assert marker is not None
    assert marker.is_complete
    assert not (tmp_path / "clone.partial").exists()
    cloned = VersionHost(place.comfyui, place.environment / "site")
    state = replace(cloned.state(), environment=EnvironmentPlace(place.python, (cloned.site,)))
    assert to_json(collect_version("first", state, cloned.tools())) == to_json(lock)


STEPS = ["code ComfyUI", "code pack", "environment", "packages", "model", "start"]


@pytest.mark.parametrize("step", STEPS)
def test_interrupted_clone_goes_on_where_it_stopped(
    host: VersionHost, lock: VersionLock, tmp_path: Path, step: str
) -> None:
    with pytest.raises(Failure, match="interrupted"):
        clone_version(lock, tmp_path / "clone", Builder(host, fails_at=step).tools())
    assert not (tmp_path / "clone").exists()
    builder = Builder(host)
    place = clone_version(lock, tmp_path / "clone", builder.tools())
    assert (place.models / "vae" / "sub" / "a.safetensors").read_bytes() == b"weights"
    # Whole parts of the first run are not made again.
    assert ("code ComfyUI" in builder.calls) is (step == "code ComfyUI")
    assert ("model" in builder.calls) is (step != "start")


def test_broken_remains_are_made_again(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="interrupted"):
        clone_version(lock, tmp_path / "clone", Builder(host, fails_at="start").tools())
    partial = ClonePlace(tmp_path / "clone.partial")
    (partial.comfyui / "main.py").write_text("changed")
    shutil.rmtree(partial.custom_nodes / "pack" / ".git" / "objects")
    (partial.models / "vae" / "sub" / "a.safetensors").write_bytes(b"other")
    place = clone_version(lock, tmp_path / "clone", Builder(host).tools())
    assert (place.comfyui / "main.py").read_text() == "print('ComfyUI')\n"


def test_wrong_parts_are_never_published(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    def place_other(_model: LockedModel, path: Path) -> None:
        path.write_bytes(b"Weights")

    with pytest.raises(Failure) as caught:
        clone_version(lock, tmp_path / "clone", Builder(host).tools(place_model=place_other))
    assert caught.value.code == "version-clone-differs"
    assert "vae/sub/a.safetensors is different" in caught.value.message
    assert not (tmp_path / "clone").exists()


def test_models_and_start_may_be_left_out(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    builder = Builder(host)
    clone_version(lock, tmp_path / "clone", builder.tools(start=None), with_models=False)
    assert builder.calls == ["code ComfyUI", "code pack", "environment", "packages"]


def test_clone_without_python_has_no_environment(host: VersionHost, tmp_path: Path) -> None:
    lock = collect_version("first", host.state(), host.tools())
    bare = seal_lock(msgspec.structs.replace(lock, python=None))
    builder = Builder(host)
    place = clone_version(bare, tmp_path / "clone", builder.tools(start=None))
    assert not place.environment.exists()


def test_taken_targets_are_left_alone(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "file").write_text("")
    for target in ("taken", "other"):
        with pytest.raises(Failure) as caught:
            clone_version(lock, tmp_path / target, Builder(host).tools())
        assert caught.value.code == "version-target-taken"
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure) as caught:
        clone_version(lock, tmp_path / "file" / "clone", Builder(host).tools())
    assert caught.value.code == "state-unwritable"


@pytest.mark.parametrize("reason", ["modified", "no-repository", "editable-source", "missing"])
def test_version_with_serious_gaps_is_refused(lock: VersionLock, reason: str) -> None:
    gaps = tuple(Unpinned(kind="code", name=f"part-{n}", reason=reason) for n in range(7))
    with pytest.raises(Failure) as caught:
        check_clonable(msgspec.structs.replace(lock, unpinned=gaps))
    assert caught.value.code == "version-not-clonable"
    assert "and 2 more" in caught.value.message
    mild = (Unpinned(kind="package", name="a", reason="no-hash"), Unpinned(kind="model", name="b", reason="no-source"))
    check_clonable(msgspec.structs.replace(lock, unpinned=mild))


def test_missing_models_do_not_matter_without_models(lock: VersionLock) -> None:
    gap = Unpinned(kind="model", name="a.safetensors", reason="missing")
    lacking = msgspec.structs.replace(lock, unpinned=(gap,))
    with pytest.raises(Failure) as caught:
        check_clonable(lacking)
    assert caught.value.code == "version-not-clonable"
    check_clonable(lacking, with_models=False)


def test_next_step_fits_the_reasons(lock: VersionLock) -> None:
    hints = []
    for reason in ("local-repository", "no-environment", "modified"):
        gap = Unpinned(kind="code", name="part", reason=reason)
        with pytest.raises(Failure) as caught:
            check_clonable(msgspec.structs.replace(lock, unpinned=(gap,)))
        hints.append(caught.value.hint or "")
    assert "--allow-local" in hints[0]
    assert "--venv" in hints[1]
    assert "Commit" in hints[2]
    local = Unpinned(kind="code", name="part", reason="local-repository")
    check_clonable(msgspec.structs.replace(lock, unpinned=(local,)), allow_local=True)
