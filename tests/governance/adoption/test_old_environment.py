from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.adoption.old_environment import DirectOrigin, find_python, read_old_environment


def make_python(folder: Path) -> Path:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return python


def test_running_interpreter_goes_before_folders(tmp_path: Path) -> None:
    comfyui = tmp_path / "ComfyUI"
    active = make_python(tmp_path / "conda")
    assert find_python(comfyui, running=None, active="") is None
    assert find_python(comfyui, running=None, active=str(tmp_path / "conda")) == active
    outer = make_python(tmp_path / "python_embeded")
    assert find_python(comfyui, running=None, active=str(tmp_path / "conda")) == outer
    inner = make_python(comfyui / "venv")
    assert find_python(comfyui, running=None, active="") == inner
    assert find_python(comfyui, running=active, active="") == active
    assert find_python(comfyui, running=tmp_path / "gone", active="") == inner


def write_info(folder: Path, name: str, metadata: str, direct_url: str = "") -> None:
    info = folder / f"{name}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(metadata)
    if direct_url:
        (info / "direct_url.json").write_text(direct_url)


@pytest.mark.slow
def test_packages_are_read_with_their_origin(tmp_path: Path) -> None:
    minor = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    python = make_python(tmp_path / "venv")
    home = Path(sys.executable).resolve().parent
    # Without the second line, the packages of the base count, too.
    (tmp_path / "venv" / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    folder = tmp_path / "venv" / "lib" / minor / "site-packages"
    write_info(folder, "Sam_Let-1.0", "Name: Sam_Let\nVersion: 1.0\nRequires-Dist: numpy\n")
    write_info(
        folder, "repo-2.0", "Name: repo\nVersion: 2.0\n", '{"url": "https://h/r", "vcs_info": {"commit_id": "a"}}'
    )
    write_info(folder, "odd-3.0", "Name: odd\nVersion: 3.0\n", "{")
    write_info(folder, "pip-26.0", "Name: pip\nVersion: 26.0\n")
    write_info(folder, "nameless-1.0", "Version: 1.0\n")
    (folder / "ancient-0.1.egg-info").mkdir()
    old = read_old_environment(python)
    assert old.prefix == tmp_path / "venv"
    assert set(old.packages) == {"sam-let", "repo", "odd"}
    assert old.packages["sam-let"].requires == ("numpy",)
    assert old.packages["repo"].origin == DirectOrigin("https://h/r", {"commit_id": "a"})
    assert old.packages["odd"].origin is None
    assert old.unreadable == ("ancient-0.1.egg-info",)


def make_base(folder: Path, minor: str) -> Path:
    """Make an installation of Python with the standard library of this one, and return its empty site-packages."""
    library = folder / "lib" / minor
    library.mkdir(parents=True)
    (folder / "bin").mkdir()
    for entry in (Path(sys.base_prefix) / "lib" / minor).iterdir():
        if entry.name not in {"site-packages", "dist-packages"}:
            (library / entry.name).symlink_to(entry)
    return library / "site-packages"


@pytest.mark.slow
def test_packages_of_the_base_are_read_behind_those_of_the_environment(tmp_path: Path) -> None:
    minor = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base = make_base(tmp_path / "base", minor)
    python = make_python(tmp_path / "venv")
    configuration = tmp_path / "venv" / "pyvenv.cfg"
    write_info(base, "torch-2.9", "Name: torch\nVersion: 2.9\n")
    write_info(base, "both-1.0", "Name: both\nVersion: 1.0\n")
    (base / "hidden-0.1.egg-info").mkdir()
    own = tmp_path / "venv" / "lib" / minor / "site-packages"
    write_info(own, "both-2.0", "Name: both\nVersion: 2.0\n")
    write_info(own, "hidden-2.0", "Name: hidden\nVersion: 2.0\n")
    for is_shared in ("true", "false"):
        configuration.write_text(f"home = {tmp_path / 'base' / 'bin'}\ninclude-system-site-packages = {is_shared}\n")
        old = read_old_environment(python)
        versions = {name: package.version for name, package in old.packages.items()}
        assert versions == {"both": "2.0", "hidden": "2.0"} | ({"torch": "2.9"} if is_shared == "true" else {})
        assert old.unreadable == ()


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho nonsense\n"])
def test_interpreter_that_does_not_run_is_refused(tmp_path: Path, text: str) -> None:
    python = tmp_path / "python"
    python.write_text(text)
    python.chmod(0o755)
    with pytest.raises(Failure, match="does not run") as caught:
        read_old_environment(python)
    assert caught.value.code == "gov-python-missing"
