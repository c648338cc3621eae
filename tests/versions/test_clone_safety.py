from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.clone import clone_version
from comfywatchman.versions.collect import collect_version
from comfywatchman.versions.lockfile import LockedCode, LockedModel, LockedPackage, VersionLock, seal_lock
from comfywatchman.versions.place import ClonePlace
from tests.versions.builders import Builder
from tests.versions.hosts import VersionHost, git, make_host

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> VersionHost:
    return make_host(tmp_path)


@pytest.fixture
def lock(host: VersionHost) -> VersionLock:
    return collect_version("first", host.state(), host.tools())


def add_link(host: VersionHost, name: str, target: Path) -> None:
    """Commit a link into ComfyUI's repository, as a hostile one may have it."""
    (host.root / name).symlink_to(target)
    git(host.root, "add", "-f", name)
    git(host.root, "commit", "-q", "-m", "link")


def relock(lock: VersionLock, host: VersionHost, **changes: object) -> VersionLock:
    commit = git(host.root, "rev-parse", "HEAD")
    comfyui = msgspec.structs.replace(lock.comfyui, commit=commit)
    return seal_lock(msgspec.structs.replace(lock, comfyui=comfyui, **changes))


def code_of(clone: Callable[[], object]) -> str:
    with pytest.raises(Failure) as caught:
        clone()
    return caught.value.code


def test_link_in_the_repository_leads_nothing_outside(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    lock = collect_version("first", host.state(), host.tools())
    git(host.root, "rm", "-q", "--cached", "custom_nodes/example.py")
    (host.root / "custom_nodes").rename(tmp_path / "nodes")
    outside = tmp_path / "outside"
    (outside / "pack").mkdir(parents=True)
    (outside / "pack" / "precious.txt").write_text("keep")
    add_link(host, "custom_nodes", outside)
    hostile = relock(lock, host)
    builder = Builder(host, nodes=tmp_path / "nodes")
    assert code_of(lambda: clone_version(hostile, tmp_path / "clone", builder.tools())) == "version-not-clonable"
    assert (outside / "pack" / "precious.txt").read_text() == "keep"


@pytest.mark.parametrize("name", ["models", ".venv"])
def test_models_and_packages_stay_inside(tmp_path: Path, name: str) -> None:
    host = make_host(tmp_path)
    lock = collect_version("first", host.state(), host.tools())
    (host.root / name).rename(tmp_path / "kept")
    outside = tmp_path / "outside"
    outside.mkdir()
    add_link(host, name, outside)
    hostile = relock(lock, host)
    assert code_of(lambda: clone_version(hostile, tmp_path / "clone", Builder(host).tools())) == "version-not-clonable"
    assert list(outside.iterdir()) == []


def test_environment_in_the_repository_is_not_run(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    lock = collect_version("first", host.state(), host.tools())
    git(host.root, "add", "-f", ".venv")
    git(host.root, "commit", "-q", "-m", "environment")
    builder = Builder(host)
    hostile = relock(lock, host)
    assert code_of(lambda: clone_version(hostile, tmp_path / "clone", builder.tools())) == "version-not-clonable"
    assert "packages" not in builder.calls


@pytest.mark.parametrize("path", ["vae/sub", "vae/sub/a.safetensors/b.safetensors", "vae/" + "a" * 300])
def test_model_paths_that_cannot_be_files_are_failures(
    host: VersionHost, lock: VersionLock, tmp_path: Path, path: str
) -> None:
    models = (*lock.models, LockedModel(path=path, size=1, sha256="a" * 64))
    hostile = seal_lock(msgspec.structs.replace(lock, models=models))
    clone = Builder(host).tools()
    assert code_of(lambda: clone_version(hostile, tmp_path / "clone", clone)) == "state-unwritable"


def test_folder_of_a_clone_killed_at_once_is_used(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    partial = tmp_path / "clone.partial"
    partial.mkdir()
    (partial / "..comfywatchman-version.json.ab12.tmp").write_text("{")
    place = clone_version(lock, tmp_path / "clone", Builder(host).tools())
    assert place.lock.exists()


def test_copy_of_the_lock_is_written_after_a_kill(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    with pytest.raises(Failure):
        clone_version(lock, tmp_path / "clone", Builder(host, fails_at="environment").tools())
    ClonePlace(tmp_path / "clone.partial").lock.unlink()
    place = clone_version(lock, tmp_path / "clone", Builder(host).tools())
    assert place.lock.exists()


def test_half_installed_packages_are_installed_anew(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    def install_half(environment: Path, packages: Sequence[LockedPackage]) -> None:
        Builder(host).install_packages(environment, packages)
        # As after kill -9 of the installer: the metadata is there, the module is not.
        (environment / "site" / "tiny.py").unlink()
        raise Failure("child-failed", "killed")

    with pytest.raises(Failure, match="killed"):
        clone_version(lock, tmp_path / "clone", Builder(host).tools(install_packages=install_half))
    builder = Builder(host)
    clone_version(lock, tmp_path / "clone", builder.tools())
    assert "environment" in builder.calls


def test_half_cloned_code_is_not_taken_for_whole(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    def clone_half(code: LockedCode, folder: Path) -> None:
        # Checked out, but killed before its submodules came: git calls such a copy unchanged.
        Builder(host).clone_code(code, folder)
        raise Failure("child-failed", "killed")

    with pytest.raises(Failure, match="killed"):
        clone_version(lock, tmp_path / "clone", Builder(host).tools(clone_code=clone_half))
    builder = Builder(host)
    clone_version(lock, tmp_path / "clone", builder.tools())
    assert "code ComfyUI" in builder.calls


def test_two_clones_into_one_folder_are_kept_apart(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    codes = []

    def clone_again(_model: LockedModel, path: Path) -> None:
        codes.append(code_of(lambda: clone_version(lock, tmp_path / "clone", Builder(host).tools())))
        path.write_bytes(b"weights")

    clone_version(lock, tmp_path / "clone", Builder(host).tools(place_model=clone_again))
    assert codes == ["version-clone-running"]


def test_link_in_place_of_a_model_is_replaced(host: VersionHost, lock: VersionLock, tmp_path: Path) -> None:
    with pytest.raises(Failure):
        clone_version(lock, tmp_path / "clone", Builder(host, fails_at="model").tools())
    partial = ClonePlace(tmp_path / "clone.partial")
    model = partial.models / "vae" / "sub" / "a.safetensors"
    os.symlink(tmp_path / "nowhere", model)
    place = clone_version(lock, tmp_path / "clone", Builder(host).tools())
    assert (place.models / "vae" / "sub" / "a.safetensors").read_bytes() == b"weights"
