from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.environment import PythonEnvironment, find_environment_folder, read_environment
from tests.closed_paths import close_paths
from tests.comfyui.imports.hosts import write_environment, write_files


def read(folder: Path, files: dict[str, str], *, python: str = "3.12.1") -> PythonEnvironment:
    environment = read_environment(write_environment(folder / "venv", files, python=python))
    assert environment is not None
    return environment


def test_modules_packages_and_versions_are_listed(tmp_path: Path) -> None:
    files = {
        "one.py": "",
        "two/__init__.py": "",
        "three.cpython-312-x86_64-linux-gnu.so": "",
        "Four_B-1.2.dist-info/x": "",
    }
    environment = read(tmp_path, files)
    assert environment.version == (3, 12)
    assert {"one", "two", "three", "torch"} <= environment.names
    assert environment.versions == {"four-b": "1.2"}
    assert environment.hook is None


@pytest.mark.parametrize(
    ("name", "minor", "expected"),
    [
        ("imp", 11, True),
        ("imp", 12, False),
        ("telnetlib", 12, True),
        ("telnetlib", 13, False),
        ("tomllib", 10, False),
        ("tomllib", 11, True),
        ("annotationlib", 13, False),
        ("annotationlib", 14, True),
        ("json", 12, True),
        ("sys", 12, True),
        ("numpy", 12, False),
        ("distutils", 11, True),
        ("distutils", 12, False),
    ],
)
def test_standard_library_depends_on_the_version(tmp_path: Path, name: str, minor: int, *, expected: bool) -> None:
    assert read(tmp_path, {}, python=f"3.{minor}.0").has_module(name) is expected


def test_setuptools_provides_distutils(tmp_path: Path) -> None:
    assert read(tmp_path, {"setuptools/__init__.py": ""}).has_module("distutils")


def test_installed_packages_agree_with_python_itself() -> None:
    # The environment of these tests; its Python can tell which of the names it can import.
    environment = read_environment(Path(sys.prefix))
    assert environment is not None
    names = sorted(environment.names | {"json", "imp", "tomllib", "not_a_module", "telnetlib", "distutils"})
    code = "import importlib.util, sys; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n)])"
    identifiers = [name for name in names if name.isidentifier()]
    output = subprocess.run([sys.executable, "-c", code, *identifiers], capture_output=True, text=True, check=True)
    assert set(output.stdout.split()) == {name for name in identifiers if environment.has_module(name)}


@pytest.mark.parametrize(
    ("name", "text", "hook"),
    [
        ("distutils-precedence.pth", "import os; x = 1\n", None),
        ("_virtualenv.pth", "import _virtualenv\n", None),
        ("matplotlib-3-nspkg.pth", "import sys, types\n", None),
        ("stubs.pth", "import stubs\n", "stubs.pth"),
        ("sitecustomize.py", "", "sitecustomize.py"),
        ("usercustomize/__init__.py", "", "usercustomize"),
        ("comment.pth", "# import nothing\n\n", None),
    ],
)
def test_code_that_runs_at_the_start_of_python_may_provide_modules(
    tmp_path: Path, name: str, text: str, hook: str | None
) -> None:
    assert read(tmp_path, {name: text}).hook == hook


def test_pth_files_add_folders(tmp_path: Path) -> None:
    write_files(tmp_path / "project" / "src", {"mine/__init__.py": "", "second.pth": f"{tmp_path / 'third'}\n"})
    write_files(tmp_path / "third", {"more.py": ""})
    environment = read(tmp_path, {"editable.pth": f"{tmp_path / 'project' / 'src'}\n/nowhere\n"})
    assert {"mine"} <= environment.names
    assert len(environment.paths) == 3


@pytest.mark.parametrize(
    ("mapping", "names", "hook"),
    [
        ("MAPPING: dict[str, str] = {'mine': '/src/mine', 'more.inner': '/x'}\n", {"mine", "more"}, None),
        ("MAPPING = input()\n", set(), "e.pth"),
        ("MAPPING = {'a': b}\n", set(), None),
    ],
)
def test_editable_installations_list_their_modules(
    tmp_path: Path, mapping: str, names: set[str], hook: str | None
) -> None:
    line = "import __editable___mine_finder; __editable___mine_finder.install()\n"
    environment = read(
        tmp_path, {"e.pth": line, "__editable___mine_finder.py": f"import sys\n{mapping}NAMESPACES = {{}}\n"}
    )
    assert (names <= environment.names, environment.hook) == (True, hook)


def test_system_packages_are_added_on_request(tmp_path: Path) -> None:
    write_files(tmp_path / "python" / "lib" / "python3.12" / "site-packages", {"shared.py": ""})
    without = read_environment(write_environment(tmp_path / "a", {}, python="3.12.0"))
    with_system = read_environment(write_environment(tmp_path / "b", {}, python="3.12.0", system=True))
    assert without is not None
    assert with_system is not None
    assert ("shared" in without.names, "shared" in with_system.names) == (False, True)


def test_installation_of_python_without_pyvenv_cfg_is_read(tmp_path: Path) -> None:
    write_files(tmp_path / "lib" / "python3.10" / "site-packages", {"old.py": ""})
    write_files(tmp_path / "lib" / "python3.12" / "site-packages", {"new.py": ""})
    environment = read_environment(tmp_path)
    assert environment is not None
    assert (environment.version, "new" in environment.names, "old" in environment.names) == ((3, 12), True, False)


@pytest.mark.parametrize("files", [{}, {"lib/readme.txt": ""}, {"pyvenv.cfg": "version = 3.12.1"}])
def test_folder_without_packages_is_no_environment(tmp_path: Path, files: dict[str, str]) -> None:
    assert read_environment(write_files(tmp_path, files)) is None


def test_environment_of_an_interpreter_is_found_without_following_its_link(tmp_path: Path) -> None:
    write_environment(tmp_path / "venv", {})
    (tmp_path / "venv" / "bin").mkdir()
    python = tmp_path / "venv" / "bin" / "python"
    python.symlink_to(sys.executable)
    assert find_environment_folder(python) == tmp_path / "venv"


def test_what_cannot_be_looked_at_may_provide_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(tmp_path, {"a.pth": "gone\nfar\n", "one.py": ""})
    packages = tmp_path / "venv/lib/python3.12/site-packages"
    (packages / "linked").symlink_to("/nowhere/at/all")
    environment = read_environment(tmp_path / "venv")
    assert environment is not None
    linked = environment.find_obstacle("linked")
    assert linked is not None
    assert linked.path == str(packages / "linked")
    assert environment.find_obstacle("other") is None
    (packages / "far").symlink_to("/nowhere/else")
    environment = read_environment(tmp_path / "venv")
    assert environment is not None
    assert environment.obstacle is not None
    assert environment.obstacle.path == str(packages / "far")
    close_paths(monkeypatch, packages)
    environment = read_environment(tmp_path / "venv")
    assert environment is not None
    assert (environment.paths, environment.obstacle and environment.obstacle.path) == ((), str(packages))
