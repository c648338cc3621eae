from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.version.clonable import ClonableHost, make_clonable
from tests.hosts import CHECKPOINT
from tests.versions.hosts import commit_all

pytestmark = pytest.mark.slow


@pytest.fixture
def clonable(tmp_path: Path) -> ClonableHost:
    return make_clonable(tmp_path)


def code_of(result: Result) -> object:
    return getattr(result.exception, "code", None)


def test_clone_starts_and_is_what_the_lock_says(clonable: ClonableHost, tmp_path: Path) -> None:
    # A cycle hashes the model, which lets the clone find it by its hash.
    clonable.host.cycle()
    clonable.host.invoke("duplicates", "--hash")
    target = tmp_path / "clones" / "first"
    target.parent.mkdir()
    result = clonable.clone(target, "--cpu")
    assert result.exit_code == 0, result.output
    venv = target / "ComfyUI" / ".venv"
    model = target / "ComfyUI" / "models" / "checkpoints" / CHECKPOINT
    assert model.samefile(clonable.host.comfyui / "models" / "checkpoints" / CHECKPOINT)
    # The environment was built under another name.
    tool = subprocess.run([venv / "bin" / "tiny-tool"], capture_output=True, text=True, check=False)
    assert "cannot import name 'main' from 'tiny'" in tool.stderr
    program = ["--home", str(clonable.host.home), "--comfyui", str(target / "ComfyUI")]
    lock = clonable.host.home / "lockfiles" / "comfy-first.lock.json"
    command = ["version", "verify", str(lock), "--venv", str(venv)]
    checked = subprocess.run(
        [sys.executable, "-m", "comfywatchman", *program, *command],
        env=clonable.host.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout.splitlines()[0]) == (0, "4 parts: 4 ok."), checked.stderr
    assert code_of(clonable.clone(target)) == "version-target-taken"
    removed = clonable.host.invoke("version", "remove", str(target), "--dry-run", "--json")
    assert json.loads(removed.stdout)["is_removed"] is False
    assert target.exists()
    assert clonable.host.invoke("version", "remove", str(target), "--yes").exit_code == 0
    assert not target.exists()
    assert (clonable.host.comfyui / "models" / "checkpoints" / CHECKPOINT).exists()


def test_clone_that_does_not_start_is_kept_aside(clonable: ClonableHost, tmp_path: Path) -> None:
    (clonable.host.comfyui / "main.py").write_text("import missing_package\n")
    commit_all(clonable.host.comfyui)
    clonable.host.invoke("version", "create", "first", "--offline", "--replace", "--venv", str(clonable.venv))
    result = clonable.clone(tmp_path / "clone", "--cpu")
    assert code_of(result) == "version-does-not-start"
    assert "missing_package" in str(result.exception)
    assert (tmp_path / "clone.partial").is_dir()
    assert clonable.clone(tmp_path / "clone", "--no-start", "--json").exit_code == 0


def test_model_that_is_nowhere_is_named(clonable: ClonableHost, tmp_path: Path) -> None:
    result = clonable.clone(tmp_path / "clone", "--no-start")
    assert code_of(result) == "version-model-unavailable"
    assert CHECKPOINT in str(result.exception)
    assert clonable.clone(tmp_path / "clone", "--no-start", "--skip-models").exit_code == 0


def test_other_python_and_missing_packages_are_explained(clonable: ClonableHost, tmp_path: Path) -> None:
    other = tmp_path / "python"
    answer = '{"implementation": "cpython", "version": "3.9.1", "platform": "linux-x86_64"}'
    other.write_text(f"#!/bin/sh\necho '{answer}'\n")
    other.chmod(0o700)
    result = clonable.clone(tmp_path / "clone", "--skip-models", "--python", str(other))
    assert code_of(result) == "version-environment-unknown"
    for wheel in clonable.wheels.iterdir():
        wheel.unlink()
    result = clonable.clone(tmp_path / "clone", "--skip-models")
    assert code_of(result) == "version-environment-failed"
    assert "tiny" in str(result.exception)


def test_question_is_asked_before_removing(clonable: ClonableHost, tmp_path: Path) -> None:
    clonable.clone(tmp_path / "clone", "--no-start", "--skip-models")
    output = tmp_path / "clone" / "ComfyUI" / "output" / "picture.png"
    output.parent.mkdir(exist_ok=True)
    output.write_bytes(b"1")
    result = clonable.host.invoke("version", "remove", str(tmp_path / "clone"))
    assert result.exit_code == 1
    assert "It holds 1 file of yours (1 B) in ComfyUI/output" in result.output
    assert (tmp_path / "clone").exists()
    assert code_of(clonable.host.invoke("version", "remove", str(tmp_path), "--yes")) == "version-not-ours"


def test_model_is_copied_to_another_disk(clonable: ClonableHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    models = clonable.host.comfyui / "models"
    model = models / "checkpoints" / CHECKPOINT
    other = clonable.host.model("loras/same bytes.safetensors")
    other.write_bytes(model.read_bytes())
    clonable.host.cycle()
    clonable.host.invoke("duplicates", "--hash")
    model.unlink()
    monkeypatch.setattr(os, "link", refuse)
    result = clonable.host.invoke("version", "verify", "first", "--venv", str(clonable.venv), "--restore")
    assert result.exit_code == 0
    assert model.read_bytes() == other.read_bytes()
    assert model.stat().st_ino != other.stat().st_ino
    assert [path.name for path in model.parent.iterdir()] == [CHECKPOINT]


def test_deleted_model_is_restored_from_this_host(clonable: ClonableHost) -> None:
    models = clonable.host.comfyui / "models"
    other = clonable.host.model("loras/same bytes.safetensors")
    other.write_bytes((models / "checkpoints" / CHECKPOINT).read_bytes())
    clonable.host.cycle()
    clonable.host.invoke("duplicates", "--hash")
    (models / "checkpoints" / CHECKPOINT).unlink()
    options = ("version", "verify", "first", "--venv", str(clonable.venv))
    assert clonable.host.invoke(*options).exit_code == 1
    restored = clonable.host.invoke(*options, "--restore")
    assert restored.exit_code == 0
    assert f"checkpoints/{CHECKPOINT}: restored" in restored.output
    assert clonable.host.invoke(*options, "--overwrite").exit_code == 2
    (models / "checkpoints" / CHECKPOINT).unlink()
    other.unlink()
    missing = clonable.host.invoke(*options, "--restore")
    assert missing.exit_code == 1
    assert "not restored: The model checkpoints/sample_model.safetensors is not available" in missing.output
