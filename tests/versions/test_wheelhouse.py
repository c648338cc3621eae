from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.lockfile import LockedCode, LockedPackage, LockedPython, VersionLock, seal_lock
from comfywatchman.versions.wheelhouse import (
    Wheelhouse,
    WheelhouseFile,
    WheelhouseManifest,
    WheelhouseTools,
    build_wheelhouse,
    open_wheelhouse,
)

INDEX_HASH = sha256(b"tiny").hexdigest()
PACKAGES = (
    LockedPackage(name="from-git", version="1.0", source="git", url="https://example.org/g", commit="c" * 40),
    LockedPackage(name="tiny", version="1.0", hashes=(INDEX_HASH, "f" * 64)),
)
LOCK = seal_lock(
    VersionLock(
        tag="first",
        comfyui=LockedCode(name="ComfyUI", source="git", repo="https://example.org/c", commit="a" * 40),
        nodes=(LockedCode(name="pack", source="git", repo="https://example.org/p", commit="b" * 40),),
        python=LockedPython(implementation="cpython", version="3.11.7", platform="linux-x86_64", packages=PACKAGES),
    )
)


@dataclass
class Collector:
    wheels: tuple[str, ...] = ("tiny-1.0-py3-none-any.whl", "from_git-1.0-py3-none-any.whl")
    fails: bool = False

    def build_wheels(self, _python: LockedPython, folder: Path) -> None:
        for name in self.wheels:
            (folder / name).write_bytes(name.partition("-")[0].encode())
        if self.fails:
            raise Failure("child-failed", "pip was interrupted.")

    def bundle_code(self, code: LockedCode, path: Path) -> None:
        path.write_bytes(code.name.encode())

    def tools(self) -> WheelhouseTools:
        return WheelhouseTools(self.build_wheels, self.bundle_code, lambda _text: None)


@pytest.fixture
def house(tmp_path: Path) -> Wheelhouse:
    return build_wheelhouse(LOCK, tmp_path / "house", Collector().tools())


def code_of(lock: VersionLock, target: Path, tools: WheelhouseTools) -> str:
    with pytest.raises(Failure) as caught:
        build_wheelhouse(lock, target, tools)
    return caught.value.code


def test_manifest_tells_built_wheels_from_those_of_the_lock(house: Wheelhouse) -> None:
    built = {file.path: (file.package, file.is_built) for file in house.manifest.files}
    assert built == {
        "repositories/ComfyUI.bundle": ("", False),
        "repositories/pack.bundle": ("", False),
        "wheels/from_git-1.0-py3-none-any.whl": ("from-git", True),
        "wheels/tiny-1.0-py3-none-any.whl": ("tiny", False),
    }
    assert open_wheelhouse(house.folder, LOCK) == house


def test_same_files_give_the_same_manifest(house: Wheelhouse, tmp_path: Path) -> None:
    again = build_wheelhouse(LOCK, tmp_path / "again", Collector().tools())
    assert (again.folder / "wheelhouse.json").read_bytes() == (house.folder / "wheelhouse.json").read_bytes()


def test_packages_are_pinned_to_the_hashes_of_the_wheels(house: Wheelhouse) -> None:
    pinned = house.pin_packages(PACKAGES)
    assert [(package.source, package.url, package.commit) for package in pinned] == [("index", None, None)] * 2
    assert [package.hashes for package in pinned] == [(sha256(b"from_git").hexdigest(),), (INDEX_HASH,)]


def test_bundles_are_found_by_name(house: Wheelhouse) -> None:
    assert house.find_bundle("pack") == house.folder / "repositories" / "pack.bundle"
    assert house.find_bundle("other") is None


def test_repositories_can_be_left_out(tmp_path: Path) -> None:
    house = build_wheelhouse(LOCK, tmp_path / "house", replace(Collector().tools(), bundle_code=None))
    assert house.find_bundle("ComfyUI") is None
    assert open_wheelhouse(house.folder, LOCK).manifest == house.manifest


def test_interrupted_run_leaves_nothing_and_is_repeated(tmp_path: Path) -> None:
    target = tmp_path / "house"
    unfinished = Collector(wheels=("old-1.0-py3-none-any.whl",), fails=True)
    assert code_of(LOCK, target, unfinished.tools()) == "child-failed"
    assert not target.exists()
    house = build_wheelhouse(LOCK, target, Collector().tools())
    assert not (house.wheels / "old-1.0-py3-none-any.whl").exists()


def test_wheelhouse_that_lacks_a_package_is_refused(tmp_path: Path) -> None:
    tools = Collector(wheels=("tiny-1.0-py3-none-any.whl",)).tools()
    assert code_of(LOCK, tmp_path / "house", tools) == "version-wheelhouse-incomplete"
    tools = Collector(wheels=("tiny.zip",)).tools()
    assert code_of(LOCK, tmp_path / "house", tools) == "version-wheelhouse-incomplete"


def test_taken_target_and_version_without_packages_are_refused(house: Wheelhouse, tmp_path: Path) -> None:
    assert code_of(LOCK, house.folder, Collector().tools()) == "version-target-taken"
    without = seal_lock(msgspec.structs.replace(LOCK, python=None))
    assert code_of(without, tmp_path / "new", Collector().tools()) == "version-not-clonable"


def write_manifest(house: Wheelhouse, manifest: WheelhouseManifest) -> None:
    (house.folder / "wheelhouse.json").write_bytes(msgspec.json.encode(manifest))


@pytest.mark.parametrize("damage", ["changed", "deleted", "unreadable", "schema", "other lock", "outside", "lacking"])
def test_damaged_wheelhouse_is_refused(house: Wheelhouse, damage: str) -> None:
    manifest = house.manifest
    if damage == "changed":
        (house.wheels / "tiny-1.0-py3-none-any.whl").write_bytes(b"tinY")
    elif damage == "deleted":
        (house.folder / "repositories" / "pack.bundle").unlink()
    elif damage == "unreadable":
        (house.folder / "wheelhouse.json").write_text("{")
    elif damage == "schema":
        write_manifest(house, msgspec.structs.replace(manifest, schema="comfywatchman/wheelhouse@9"))
    elif damage == "other lock":
        write_manifest(house, msgspec.structs.replace(manifest, content_sha256="0" * 64))
    elif damage == "outside":
        file = WheelhouseFile(path="../x", sha256="0" * 64, size=1)
        write_manifest(house, msgspec.structs.replace(manifest, files=(*manifest.files, file)))
    else:
        write_manifest(house, msgspec.structs.replace(manifest, files=manifest.files[:-1]))
    with pytest.raises(Failure) as caught:
        open_wheelhouse(house.folder, LOCK)
    assert caught.value.code == "version-wheelhouse-invalid"
