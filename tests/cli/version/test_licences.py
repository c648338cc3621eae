"""Licences and sizes before a version is fetched."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import Result

from comfywatchman.base.text import format_size
from comfywatchman.versions.lockfile import LockedModel, read_lock, seal_lock, write_lock
from tests.cli.version.clonable import ClonableHost, make_clonable
from tests.hosts import CHECKPOINT
from tests.versions.hosts import commit_all

pytestmark = pytest.mark.slow


@pytest.fixture
def clonable(tmp_path: Path) -> ClonableHost:
    host = make_clonable(tmp_path)
    pack = host.host.comfyui / "custom_nodes" / "pack"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    (pack / "pyproject.toml").write_text('[project]\nname = "pack"\nlicense = "MIT"\n')
    commit_all(pack, origin=str(pack))
    return host


def create(host: ClonableHost) -> None:
    created = host.host.invoke("version", "create", "first", "--offline", "--replace", "--venv", str(host.venv))
    assert created.exit_code == 0, created.output


def code_of(result: Result) -> object:
    return getattr(result.exception, "code", None)


def add_model(host: ClonableHost, licence: str, source: Path) -> None:
    """Add a model to the lock that is not on this host."""
    source.write_bytes(b"weights")
    sha256 = "9ba7adb20b11bbf3ab4c8f3e9eea7fa56d1b97be7ff1e0d7ce6ffb3d9d7ed1e8"
    path = host.host.home / "lockfiles" / "comfy-first.lock.json"
    lock = read_lock(path)
    model = LockedModel(path="loras/b.safetensors", size=7, sha256=sha256, sources=(source.as_uri(),), licence=licence)
    write_lock(path, seal_lock(msgspec.structs.replace(lock, models=(model,))))


def test_licences_and_sizes_are_shown_before_a_clone(clonable: ClonableHost, tmp_path: Path) -> None:
    create(clonable)
    result = clonable.clone(tmp_path / "clone", "--no-start")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert "Licence of node pack: MIT." in lines
    size = format_size(next(clonable.wheels.glob("tiny-*")).stat().st_size)
    assert f"1 package of {size} in all …" in lines
    first_clone = next(index for index, line in enumerate(lines) if line.startswith("Cloning"))
    assert max(lines.index("Licence of node pack: MIT."), lines.index(f"1 package of {size} in all …")) < first_clone


def test_pack_that_forbids_commercial_use_needs_consent(clonable: ClonableHost, tmp_path: Path) -> None:
    pack = clonable.host.comfyui / "custom_nodes" / "pack"
    (pack / "pyproject.toml").write_text('[project]\nname = "pack"\nlicense = "CC-BY-NC-4.0"\n')
    commit_all(pack)
    create(clonable)
    target = tmp_path / "clone"
    for options in ((), ("--json",)):
        result = clonable.clone(target, "--no-start", *options)
        assert code_of(result) == "version-licence-unaccepted"
        assert "pack has the licence CC-BY-NC-4.0, which forbids commercial use" in str(result.exception)
        assert not target.exists()
        assert not target.with_name("clone.partial").exists()
    assert clonable.clone(target, "--no-start", "--accept-licences").exit_code == 0


def test_restored_model_needs_consent(clonable: ClonableHost, tmp_path: Path) -> None:
    create(clonable)
    add_model(clonable, "gated", tmp_path / "b")
    options = ("version", "verify", "first", "--models-only", "--restore", "--venv", str(clonable.venv))
    refused = clonable.host.invoke(*options)
    assert code_of(refused) == "version-licence-unaccepted"
    # Consent lets the download begin; this file is another one than the locked.
    answer = json.loads(clonable.host.invoke(*options, "--accept-licences", "--json").stdout)
    assert [outcome["code"] for outcome in answer["restored"]] == ["version-model-unavailable"]


def test_declared_licence_is_locked_and_shown(clonable: ClonableHost, tmp_path: Path) -> None:
    spec = tmp_path / "models.json"
    spec.write_text(json.dumps([{"path": f"checkpoints/{CHECKPOINT}", "sources": [], "license": "CC-BY-4.0"}]))
    options = ("--offline", "--replace", "--venv", str(clonable.venv), "--models-spec", str(spec))
    assert clonable.host.invoke("version", "create", "first", *options).exit_code == 0
    shown = clonable.host.invoke("version", "show", "first").stdout
    assert "CC-BY-4.0" in shown
    (model,) = json.loads(clonable.host.invoke("version", "show", "first", "--json").stdout)["lock"]["models"]
    assert model["licence"] == "CC-BY-4.0"
