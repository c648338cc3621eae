from __future__ import annotations

import msgspec

from comfywatchman.versions.compare import Change, VersionDifference, compare_versions
from comfywatchman.versions.describe import describe_code
from comfywatchman.versions.lockfile import (
    LockedCode,
    LockedModel,
    LockedPackage,
    LockedPython,
    LockedWorkflow,
    VersionLock,
)

COMFYUI = LockedCode(name="ComfyUI", source="git", commit="c" * 40, tree="d" * 40)
PYTHON = LockedPython(
    implementation="cpython",
    version="3.11.9",
    platform="linux-x86_64",
    packages=(
        LockedPackage(name="a", version="1.0", installed_sha256="a" * 64),
        LockedPackage(name="b", version="1.0", source="git", commit="b" * 40),
    ),
)
LOCK = VersionLock(
    tag="first",
    comfyui=COMFYUI,
    nodes=(LockedCode(name="pack", source="folder", code_sha256="e" * 64),),
    python=PYTHON,
    models=(LockedModel(path="vae/a", size=1, sha256="1" * 64),),
    workflows=(LockedWorkflow(path="w.json", sha256="2" * 64, status="READY"),),
)


def compare(**changes: object) -> list[VersionDifference]:
    return list(compare_versions(LOCK, msgspec.structs.replace(LOCK, **changes)))


def test_equal_states_have_no_differences() -> None:
    assert compare(tag="second") == []


def test_each_kind_of_part_is_compared() -> None:
    python = msgspec.structs.replace(
        PYTHON,
        version="3.12.1",
        packages=(
            msgspec.structs.replace(PYTHON.packages[0], installed_sha256="f" * 64),
            LockedPackage(name="c", version="3.0"),
        ),
    )
    differences = compare(
        comfyui=msgspec.structs.replace(COMFYUI, dirty_tree="9" * 40),
        nodes=(),
        python=python,
        models=(LockedModel(path="vae/a", size=1, sha256="3" * 64),),
        workflows=(*LOCK.workflows, LockedWorkflow(path="x.json", sha256="4" * 64, status="READY")),
    )
    assert [(one.kind, one.name, one.change) for one in differences] == [
        ("comfyui", "ComfyUI", Change.CHANGED),
        ("node", "pack", Change.REMOVED),
        ("python", "Python", Change.CHANGED),
        ("package", "a", Change.CHANGED),
        ("package", "b", Change.REMOVED),
        ("package", "c", Change.ADDED),
        ("model", "vae/a", Change.CHANGED),
        ("workflow", "x.json", Change.ADDED),
    ]


def test_missing_environment_removes_python_and_packages() -> None:
    assert [(one.kind, one.change) for one in compare(python=None)] == [
        ("python", Change.REMOVED),
        ("package", Change.REMOVED),
        ("package", Change.REMOVED),
    ]


def test_code_is_described_in_short() -> None:
    assert describe_code(COMFYUI) == "c" * 12
    changed = msgspec.structs.replace(COMFYUI, dirty_tree="9" * 40, changed_files=("a", "b"))
    assert describe_code(changed) == f"{'c' * 12} with 2 changed"
    assert describe_code(LOCK.nodes[0]) == f"code {'e' * 12}"
