from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result

from comfywatchman.cli.version import common
from tests.cli.version.repositories import ComfyUISource, make_source
from tests.governance.wheels import add_wheel
from tests.hosts import Host
from tests.versions.hosts import git


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@pytest.fixture
def source(tmp_path: Path) -> ComfyUISource:
    return make_source(tmp_path)


def code_of(result: Result) -> object:
    return getattr(result.exception, "code", None)


def call_init(host: Host, source: ComfyUISource, *options: str | Path) -> Result:
    return host.invoke("version", "init", *source.options(), "--torch", "index", "--cpu", *options)


@pytest.mark.slow
def test_home_is_made_started_and_locked(host: Host, source: ComfyUISource, tmp_path: Path) -> None:
    home = tmp_path / "comfy"
    result = call_init(host, source, "--path", home, "--ref", "v1", "--yes")
    assert result.exit_code == 0, result.output
    assert "ComfyUI needs 2 packages of " in result.output
    assert "it started" in result.output
    again = call_init(host, source, "--path", home, "--ref", "v1", "--yes", "--json")
    shown = json.loads(again.stdout)
    assert (shown["is_changed"], shown["is_started"]) == (False, True)
    assert shown["commit"] == git(source.repository, "rev-parse", "v1")
    # The folder is a home: commands that are run in it find ComfyUI, its environment and its lock files.
    variables = {name: value for name, value in host.environment().items() if name != "COMFYUI_ROOT"}
    argv = [sys.executable, "-m", "comfywatchman", "version", "create", "first", "--offline"]
    created = subprocess.run(argv, cwd=home, env=variables, capture_output=True, text=True, check=False)
    assert created.returncode == 0, created.stderr
    assert "2 packages" in created.stdout
    lock = json.loads((home / "lockfiles" / "comfy-first.lock.json").read_bytes())
    assert lock["comfyui"]["dirty_tree"] is None


@pytest.mark.slow
def test_torch_is_left_out_and_not_missed(host: Host, source: ComfyUISource, tmp_path: Path) -> None:
    (source.wheels / "torch-2.9.0-py3-none-any.whl").unlink()
    host.variables["COMFY_HOME"] = str(tmp_path / "named")
    add_wheel(source.wheels, "further", "3.0")
    result = host.invoke("version", "init", *source.options(), "--torch", "skip", "--with", "further>=2", "--yes")
    assert result.exit_code == 0, result.output
    assert "2 packages" in result.output
    assert "it was not started" in result.output
    assert list((tmp_path / "named" / "ComfyUI" / ".venv").glob("lib/*/site-packages/tiny-1.0.dist-info"))
    # The environment is known without torch, by which others are recognised.
    made = host.invoke("--comfyui", tmp_path / "named" / "ComfyUI", "version", "create", "first", "--offline", "--json")
    assert [one["name"] for one in json.loads(made.stdout)["lock"]["python"]["packages"]] == ["further", "tiny"]
    refused = call_init(host, source, "--yes")
    assert code_of(refused) == "version-environment-failed"
    assert "torch" in str(refused.exception)


@pytest.mark.slow
def test_comfyui_that_does_not_start_is_said(host: Host, tmp_path: Path) -> None:
    source = make_source(tmp_path, main="import absent_package\n")
    result = call_init(host, source, "--path", tmp_path / "comfy", "--yes")
    assert code_of(result) == "version-does-not-start"
    assert "absent_package" in str(result.exception)


def test_nothing_is_fetched_without_consent(host: Host, source: ComfyUISource, tmp_path: Path) -> None:
    result = call_init(host, source, "--path", tmp_path / "comfy")
    assert code_of(result) == "version-unconfirmed"
    assert not (tmp_path / "comfy").exists()


def test_bad_names_are_refused_before_anything_is_made(host: Host, tmp_path: Path) -> None:
    bad_torch = host.invoke("version", "init", "--path", tmp_path / "comfy", "--torch", "cuda", "--yes")
    assert code_of(bad_torch) == "version-bad-torch"
    assert not (tmp_path / "comfy").exists()


def test_folder_is_named_before_anything_is_made(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "require_answer", lambda **_options: None)
    result = host.invoke("version", "init", "--path", tmp_path / "comfy")
    assert f"Make {tmp_path / 'comfy'} a home with ComfyUI?" in result.output
    assert not (tmp_path / "comfy").exists()


def test_comfyui_itself_is_refused_before_the_question(host: Host, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("")
    result = host.invoke("version", "init", "--path", tmp_path, "--yes")
    assert code_of(result) == "version-home-differs"
    assert not (tmp_path / "config.toml").exists()
