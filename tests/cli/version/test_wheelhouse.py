from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.version.clonable import ClonableHost, make_clonable
from tests.versions.hosts import commit_all

pytestmark = pytest.mark.slow

NO_NETWORK = ("unshare", "--map-root-user", "--net")


def has_namespaces() -> bool:
    try:
        return subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def clonable(tmp_path: Path) -> ClonableHost:
    return make_clonable(tmp_path, with_source_archive=True)


def add_pack_with_submodule(clonable: ClonableHost, folder: Path) -> None:
    inner, pack = folder / "inner", clonable.host.comfyui / "custom_nodes" / "pack"
    for repository in (inner, pack):
        repository.mkdir(parents=True)
        (repository / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
        commit_all(repository, origin=str(repository))
    git = ["git", "-c", "protocol.file.allow=always", "-C", str(pack), "submodule", "--quiet", "add"]
    subprocess.run([*git, str(inner), "lib/inner"], check=True, capture_output=True)
    commit_all(pack)
    created = clonable.host.invoke("version", "create", "first", "--offline", "--replace", "--venv", str(clonable.venv))
    assert created.exit_code == 0, created.output


def make_house(clonable: ClonableHost, target: Path, *options: str) -> Result:
    sources = ["--offline", "--find-links", str(clonable.wheels), "--allow-local", "--python", sys.executable]
    return clonable.host.invoke("version", "wheelhouse", "first", target, *sources, *options)


@pytest.mark.skipif(not has_namespaces(), reason="this machine allows no network namespaces (unshare --net)")
def test_version_is_built_without_network_and_starts(clonable: ClonableHost, tmp_path: Path) -> None:
    house = tmp_path / "house"
    add_pack_with_submodule(clonable, tmp_path)
    made = make_house(clonable, house, "--yes", "--json")
    assert made.exit_code == 0, made.output
    shown = json.loads(made.stdout)
    built = {file["path"]: file["is_built"] for file in shown["files"]}
    # Nobody asked an index for hashes, so none of the wheels is in the lock.
    assert built == {
        "repositories/ComfyUI.bundle": False,
        "repositories/pack%2Flib%2Finner.bundle": False,
        "repositories/pack.bundle": False,
        "wheels/handmade-1.0-py3-none-any.whl": True,
        "wheels/tiny-1.0-py3-none-any.whl": True,
    }
    # Everything but the wheelhouse is gone.
    (clonable.host.comfyui / ".git").rename(tmp_path / "git")
    (clonable.host.comfyui / "custom_nodes" / "pack").rename(tmp_path / "pack")
    (tmp_path / "inner").rename(tmp_path / "inner.gone")
    for path in clonable.wheels.iterdir():
        path.unlink()
    target = tmp_path / "clone"
    command = ["version", "clone", "first", str(target), "--allow-local", "--python", sys.executable, "--skip-models"]
    argv = [*NO_NETWORK, *clonable.host.command(*command, "--wheelhouse", str(house))]
    environment = clonable.host.environment(UV_CACHE_DIR=str(tmp_path / "empty cache"))
    result = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    # The clone gives the lock that it was made from.
    create = ["version", "create", "first", "--offline", "--output", str(tmp_path / "again.json")]
    program = clonable.host.command(
        "--comfyui", str(target / "ComfyUI"), *create, "--venv", str(target / "ComfyUI" / ".venv")
    )
    subprocess.run(program, env=environment, check=True, capture_output=True)
    again = json.loads((tmp_path / "again.json").read_bytes())
    lock = json.loads((target / "version.lock.json").read_bytes())
    assert again["comfyui"] == lock["comfyui"]
    assert again["nodes"] == lock["nodes"]
    assert again["python"] == lock["python"]


def test_package_that_is_nowhere_is_named(clonable: ClonableHost, tmp_path: Path) -> None:
    (clonable.wheels / "handmade-1.0.tar.gz").unlink()
    result = make_house(clonable, tmp_path / "house", "--yes")
    assert getattr(result.exception, "code", None) == "version-wheelhouse-incomplete"
    assert "handmade" in str(result.exception)
    assert not (tmp_path / "house").exists()
    # pip and git are asked only with consent.
    refused = make_house(clonable, tmp_path / "house")
    assert getattr(refused.exception, "code", None) == "version-unconfirmed"
