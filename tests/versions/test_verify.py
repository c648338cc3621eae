from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.collect import collect_version
from comfywatchman.versions.lockfile import VersionLock
from comfywatchman.versions.verify import PartFinding, PartState, verify_version
from tests.versions.hosts import VersionHost, git, hash_file, install_package, make_host

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> VersionHost:
    return make_host(tmp_path)


@pytest.fixture
def lock(host: VersionHost) -> VersionLock:
    return collect_version("first", host.state(), host.tools())


def differing(lock: VersionLock, host: VersionHost, *, quick: bool = False) -> list[tuple[str, str, PartState]]:
    findings = verify_version(lock, host.installed(), hash_file=None if quick else hash_file)
    return [(one.kind, one.name, one.state) for one in findings if one.state is not PartState.OK]


def test_unchanged_state_is_as_the_lock_says(host: VersionHost, lock: VersionLock) -> None:
    findings = verify_version(lock, host.installed(), hash_file=hash_file)
    assert {finding.state for finding in findings} == {PartState.OK}
    assert len(findings) == 1 + 2 + 1 + 2 + 1


def test_changed_model_is_found_by_its_bytes(host: VersionHost, lock: VersionLock) -> None:
    host.model.write_bytes(b"Weights")
    assert differing(lock, host) == [("model", "vae/sub/a.safetensors", PartState.DIFFERENT)]
    # Same size: the quick comparison cannot see it.
    assert differing(lock, host, quick=True) == []
    host.model.write_bytes(b"shorter")
    host.model.write_bytes(b"other size")
    assert differing(lock, host, quick=True) == [("model", "vae/sub/a.safetensors", PartState.DIFFERENT)]
    host.model.unlink()
    assert differing(lock, host) == [("model", "vae/sub/a.safetensors", PartState.MISSING)]


def test_model_that_cannot_be_read_is_unknown(host: VersionHost, lock: VersionLock) -> None:
    def fail(path: Path) -> tuple[int, str]:
        raise Failure("file-unreadable", f"{path} cannot be read.")

    findings = verify_version(lock, host.installed(), hash_file=fail)
    assert [one.state for one in findings if one.kind == "model"] == [PartState.UNKNOWN]
    gone = replace(host.installed(), find_model=lambda _path: host.root / "vanished")
    findings = verify_version(lock, gone, hash_file=None)
    assert [one.state for one in findings if one.kind == "model"] == [PartState.UNKNOWN]


def test_moved_modified_missing_and_extra_nodes(host: VersionHost, lock: VersionLock) -> None:
    pack = host.custom_nodes / "pack"
    (pack / "new.py").write_text("X = 1\n")
    assert differing(lock, host) == [("node", "pack", PartState.DIFFERENT)]
    git(pack, "add", ".")
    git(pack, "commit", "-q", "-m", "second")
    assert differing(lock, host) == [("node", "pack", PartState.DIFFERENT)]
    (host.custom_nodes / "added.py").write_text("")
    shutil.rmtree(pack)
    assert differing(lock, host) == [("node", "pack", PartState.MISSING), ("node", "added.py", PartState.EXTRA)]


def test_node_that_cannot_be_compared_is_unknown(host: VersionHost, lock: VersionLock) -> None:
    for thing in sorted((host.custom_nodes / "pack" / ".git" / "objects").glob("??/*")):
        thing.unlink()
    assert differing(lock, host) == [("node", "pack", PartState.UNKNOWN)]


def test_packages_are_compared_by_version_and_files(host: VersionHost, lock: VersionLock) -> None:
    shutil.rmtree(host.site / "tiny-1.0.dist-info")
    assert differing(lock, host) == [("package", "tiny", PartState.MISSING)]
    install_package(host.site, "tiny", "1.0", content="X = 2\n")
    assert differing(lock, host) == [("package", "tiny", PartState.DIFFERENT)]
    shutil.rmtree(host.site / "tiny-1.0.dist-info")
    install_package(host.site, "tiny", "1.1")
    install_package(host.site, "extra", "1.0")
    assert differing(lock, host) == [("package", "tiny", PartState.DIFFERENT), ("package", "extra", PartState.EXTRA)]


def test_missing_and_broken_interpreters_differ(host: VersionHost, lock: VersionLock) -> None:
    def python(state: object) -> list[PartFinding]:
        return [one for one in verify_version(lock, state, hash_file=None) if one.kind in {"python", "package"}]  # type: ignore[arg-type]

    assert [one.state for one in python(replace(host.installed(), python=None))] == [PartState.MISSING]
    broken = host.root / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o700)
    assert [one.state for one in python(replace(host.installed(), python=broken))] == [PartState.UNKNOWN]


def test_other_python_version_is_different(host: VersionHost, lock: VersionLock) -> None:
    other = host.root / "other"
    answer = '{"implementation": "cpython", "version": "3.9.1", "platform": "linux-x86_64"}'
    other.write_text(f"#!/bin/sh\necho '{answer}'\n")
    other.chmod(0o700)
    findings = verify_version(lock, replace(host.installed(), python=other), hash_file=None)
    finding = next(one for one in findings if one.kind == "python")
    assert finding.state is PartState.DIFFERENT
    assert "3.9.1" in finding.actual


def test_lock_without_python_compares_no_packages(host: VersionHost) -> None:
    lock = collect_version("first", replace(host.state(), environment=None), host.tools())
    assert {one.kind for one in verify_version(lock, host.installed(), hash_file=None)} == {"comfyui", "node", "model"}
