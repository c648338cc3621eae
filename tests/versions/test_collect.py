from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json
from comfywatchman.versions.collect import collect_version
from comfywatchman.versions.lockfile import Unpinned, VersionLock
from tests.versions.hosts import VersionHost, install_package, make_host

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> VersionHost:
    return make_host(tmp_path)


def collect(host: VersionHost) -> VersionLock:
    return collect_version("first", host.state(), host.tools())


def test_lock_names_every_part_of_the_state(host: VersionHost) -> None:
    lock = collect(host)
    assert lock.comfyui.repo == "https://example.org/ComfyUI.git"
    assert lock.comfyui.dirty_tree is None
    assert [(node.name, node.source) for node in lock.nodes] == [("example.py", "comfyui"), ("pack", "git")]
    assert lock.python is not None
    assert lock.python.version == platform.python_version()
    assert lock.python.torch_backend == "cpu"
    assert [(package.name, package.version) for package in lock.python.packages] == [
        ("tiny", "1.0"),
        ("torch", "2.9.0+cpu"),
    ]
    assert lock.models[0].sha256 == sha256(b"weights").hexdigest()
    assert lock.models[0].path == "vae/sub/a.safetensors"
    assert lock.unpinned == ()


def test_lock_holds_no_path_of_this_machine(host: VersionHost) -> None:
    assert str(host.root.parent).encode() not in to_json(collect(host))


def test_same_state_elsewhere_gives_the_same_bytes(host: VersionHost, tmp_path: Path) -> None:
    first = to_json(collect(host))
    copy = tmp_path / "elsewhere" / "other name"
    shutil.copytree(host.root, copy, symlinks=True)
    moved = VersionHost(copy, copy / host.site.relative_to(host.root))
    old_mask = os.umask(0o077)
    try:
        assert to_json(collect(moved)) == first
    finally:
        os.umask(old_mask)


def test_modified_node_is_recorded_and_listed(host: VersionHost) -> None:
    (host.custom_nodes / "pack" / "__init__.py").write_text("changed\n")
    lock = collect(host)
    assert lock.nodes[1].changed_files == ("__init__.py",)
    assert [(gap.kind, gap.name, gap.reason) for gap in lock.unpinned] == [("code", "pack", "modified")]


def test_everything_that_cannot_be_restored_is_listed(host: VersionHost) -> None:
    (host.custom_nodes / "mine.py").write_text("")
    tools = replace(host.tools(), find_hashes=lambda _packages: {})
    lock = collect_version("first", host.state(sources=()), tools)
    assert [(gap.kind, gap.name, gap.reason) for gap in lock.unpinned] == [
        ("code", "mine.py", "no-repository"),
        ("model", "vae/sub/a.safetensors", "no-source"),
        ("package", "tiny", "no-hash"),
        ("package", "torch", "no-hash"),
    ]


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ({"url": "file:///x", "dir_info": {"editable": True}}, "editable-source"),
        ({"url": "file:///x", "dir_info": {}}, "path-source"),
        ({"url": "https://example.org/x.git", "vcs_info": {"vcs": "git"}}, "no-commit"),
    ],
)
def test_package_that_is_not_from_an_index(host: VersionHost, origin: object, reason: str) -> None:
    (host.site / "tiny-1.0.dist-info" / "direct_url.json").write_bytes(msgspec.json.encode(origin))
    assert [(gap.name, gap.reason) for gap in collect(host).unpinned] == [("tiny", reason)]


def test_state_without_environment_says_so(host: VersionHost) -> None:
    lock = collect_version("first", replace(host.state(), environment=None), host.tools())
    assert lock.python is None
    assert [(gap.kind, gap.reason) for gap in lock.unpinned] == [("package", "no-environment")]


@pytest.mark.parametrize(
    "change",
    [lambda state: replace(state, workflows=()), lambda state: replace(state, workflows=state.workflows * 5)],
    ids=["no workflow", "not READY"],
)
def test_state_that_is_not_ready_is_refused_on_request(host: VersionHost, change: Callable[..., object]) -> None:
    state = change(host.state(status="MISSING"))
    with pytest.raises(Failure) as caught:
        collect_version("first", state, host.tools(), require_ready=True)  # type: ignore[arg-type]
    assert caught.value.code == "version-not-ready"
    collect_version("first", host.state(), host.tools(), require_ready=True)


def test_unreadable_model_stops_the_lock(host: VersionHost) -> None:
    def fail(path: Path) -> tuple[int, str]:
        raise Failure("file-unreadable", f"{path} cannot be read.")

    with pytest.raises(Failure) as caught:
        collect_version("first", host.state(), replace(host.tools(), hash_file=fail))
    assert caught.value.code == "version-model-unreadable"


def test_interpreter_that_does_not_run_is_refused(host: VersionHost) -> None:
    python = host.root / ".venv" / "bin" / "python"
    for content in ("#!/bin/sh\nexit 3\n", "#!/bin/sh\necho '{}'\n", "no program"):
        python.unlink(missing_ok=True)
        python.write_text(content)
        python.chmod(0o755)
        with pytest.raises(Failure) as caught:
            collect(host)
        assert caught.value.code == "version-environment-unknown"


def test_name_that_no_lock_may_hold_is_refused(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    (host.custom_nodes / "line\nbreak").mkdir()
    with pytest.raises(Failure, match="no lock may hold") as caught:
        collect_version("first", host.state(), host.tools())
    assert caught.value.code == "version-lock-invalid"


def test_package_with_metadata_of_two_versions_is_unpinned(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    install_package(host.site, "tiny", "2.0")
    lock = collect_version("first", host.state(), host.tools())
    assert Unpinned(kind="package", name="tiny", reason="installed-twice") in lock.unpinned
