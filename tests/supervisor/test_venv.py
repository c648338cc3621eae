"""The supervisor's environment, really created: complete, apart from ComfyUI's, and never half there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman import __version__
from comfywatchman.base.errors import Failure
from comfywatchman.supervisor import venv as orchestrator_venv
from comfywatchman.supervisor.venv import ensure_orchestrator_venv, get_orchestrator_python, run_as_program

PACKAGE = Path(orchestrator_venv.__file__).parents[1]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A custom node pack with the supervisor's environment."""
    root = tmp_path_factory.mktemp("pack")
    ensure_orchestrator_venv(root / "server" / ".orchestrator_venv")
    return root


def run_python(python: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)


def list_files(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix != ".pyc" and path.name != "__pycache__":
            yield str(path), path.lstat().st_ino, path.lstat().st_mtime_ns


@pytest.mark.slow
def test_creates_venv(pack: Path) -> None:
    python = pack / "server" / ".orchestrator_venv" / "bin" / "python"
    result = run_python(python, "import sys; print(sys.prefix, sys.prefix != sys.base_prefix)")
    assert result.stdout == f"{python.parents[1]} True\n"
    assert sorted(path.name for path in python.parents[2].iterdir()) == [
        ".orchestrator_venv",
        ".orchestrator_venv.lock",
    ]


@pytest.mark.slow
def test_idempotent(pack: Path) -> None:
    venv = pack / "server" / ".orchestrator_venv"
    (venv / "marker").write_text("a person's")
    before = list(list_files(venv))
    assert ensure_orchestrator_venv(venv) == venv / "bin" / "python"
    assert list(list_files(venv)) == before


@pytest.mark.slow
def test_installs_comfywatchman_instead_of_comfygit_core(pack: Path) -> None:
    python = get_orchestrator_python(pack)
    result = subprocess.run(
        [python, "-I", "-m", "comfywatchman", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("comfywatchman, version ")
    where = run_python(python, "import comfywatchman; print(comfywatchman.__file__)").stdout
    assert where.startswith(str(pack))


@pytest.mark.slow
def test_venv_includes_core(pack: Path) -> None:
    copies = next((pack / "server" / ".orchestrator_venv").glob("lib/python*/site-packages/comfywatchman"))
    ours = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {path.relative_to(copies) for path in copies.rglob("*") if path.is_file() and path.suffix != ".pyc"} == ours


@pytest.mark.slow
def test_isolated_from_comfyui(pack: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    python = get_orchestrator_python(pack)
    # pytest is in the environment that this test runs in, as torch is in that of ComfyUI.
    for module in ("pytest", "torch", "pip"):
        assert run_python(python, f"import {module}").returncode == 1
    # Scripts would name the other interpreter.
    assert [path.name for path in python.parent.iterdir() if b"#!" in path.read_bytes()[:2]] == []


def test_get_python_path(tmp_path: Path) -> None:
    python = tmp_path / "server" / ".orchestrator_venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert get_orchestrator_python(tmp_path) == python


def test_get_python_not_found(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Orchestrator venv not found") as caught:
        get_orchestrator_python(tmp_path)
    assert isinstance(caught.value, Failure)
    assert caught.value.code == "supervisor-venv-missing"


@pytest.mark.slow
def test_orchestrator_can_make_its_successor(pack: Path, tmp_path: Path) -> None:
    command = [str(get_orchestrator_python(pack)), "-I", "-m", "comfywatchman.supervisor.venv", str(tmp_path / "venv")]
    subprocess.run(command, check=True)
    python = tmp_path / "venv" / "bin" / "python"
    assert run_python(python, "import comfywatchman.cli.main").returncode == 0


@pytest.mark.slow
def test_changed_program_replaces_the_environment(pack: Path) -> None:
    venv = pack / "server" / ".orchestrator_venv"
    mark = venv / "comfywatchman-venv.json"
    mark.write_text(mark.read_text().replace('"fingerprint": "', '"fingerprint": "of an older one'))
    left_by_a_kill = venv.with_name(f"{venv.name}.building-x")
    left_by_a_kill.mkdir()
    (venv / "older").write_text("")
    ensure_orchestrator_venv(venv)
    assert not (venv / "older").exists()
    assert not left_by_a_kill.exists()


@pytest.mark.slow
def test_wheel_is_installed(tmp_path: Path) -> None:
    wheel = tmp_path / f"comfywatchman-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in PACKAGE.rglob("*.py"):
            archive.write(path, Path("comfywatchman", path.relative_to(PACKAGE)))
        archive.writestr("comfywatchman/from_the_wheel.py", "")
        archive.writestr(
            f"comfywatchman-{__version__}.dist-info/METADATA", f"Name: comfywatchman\nVersion: {__version__}\n"
        )
        archive.writestr("../outside", "")
    python = ensure_orchestrator_venv(tmp_path / "venv", wheel=wheel)
    assert run_python(python, "import comfywatchman.from_the_wheel").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [wheel.name, "venv", "venv.lock"]


@pytest.mark.slow
def test_damaged_wheel_leaves_no_environment(tmp_path: Path) -> None:
    wheel = tmp_path / "comfywatchman.whl"
    wheel.write_bytes(b"no archive")
    with pytest.raises(Failure) as caught:
        ensure_orchestrator_venv(tmp_path / "venv", wheel=wheel)
    assert caught.value.code == "supervisor-venv-failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == [wheel.name, "venv.lock"]


@pytest.mark.slow
def test_wheel_that_does_not_run_leaves_no_environment(tmp_path: Path) -> None:
    wheel = tmp_path / "comfywatchman.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("comfywatchman/__init__.py", "raise SystemError('broken wheel')")
    with pytest.raises(Failure, match="does not work: SystemError: broken wheel") as caught:
        ensure_orchestrator_venv(tmp_path / "venv", wheel=wheel)
    assert caught.value.code == "supervisor-venv-failed"
    assert not (tmp_path / "venv").exists()


def test_missing_wheel_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        ensure_orchestrator_venv(tmp_path / "venv", wheel=tmp_path / "absent.whl")
    assert caught.value.code == "supervisor-venv-failed"


def test_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "venv" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("only copy")
    with pytest.raises(Failure, match="was not made by comfywatchman") as caught:
        ensure_orchestrator_venv(tmp_path / "venv")
    assert caught.value.code == "supervisor-venv-failed"
    assert mine.read_text() == "only copy"


def test_unusable_place_is_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failure) as caught:
        ensure_orchestrator_venv(tmp_path / "file" / "venv")
    assert caught.value.code == "state-unwritable"
    assert run_as_program([str(tmp_path / "file" / "venv")]) == 1
    assert "venv.lock cannot be created" in capfd.readouterr().err
    assert run_as_program([]) == 2


@pytest.mark.slow
def test_two_processes_create_one_environment(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "comfywatchman.supervisor.venv", str(tmp_path / "venv")]
    children = [subprocess.Popen(command, env=dict(os.environ)) for _ in range(2)]
    assert [child.wait(250) for child in children] == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["venv", "venv.lock"]
