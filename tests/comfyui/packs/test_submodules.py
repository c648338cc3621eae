"""Git submodules of a pack that were not fetched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.problems import ImportProblem, ProblemKind
from comfywatchman.comfyui.packs.submodules import find_unfetched_submodules
from tests.comfyui.imports.hosts import ImportCase, write_files

GITMODULES = '[submodule "lib"]\n\tpath = lib\n\turl = https://example.org/lib\n'


def git(folder: Path, *arguments: str) -> None:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", "-C", folder, *settings, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("files", "unfetched"),
    [
        ({".gitmodules": GITMODULES}, ("lib",)),
        ({".gitmodules": GITMODULES, "lib/.git": "gitdir: x"}, ("lib",)),
        ({".gitmodules": GITMODULES, "lib/x.py": ""}, ()),
        ({".gitmodules": GITMODULES, "lib": "a link that git could not make"}, ()),
        ({".gitmodules": 'path = "deep/lib"\n  path=other'}, ("deep/lib", "other")),
        ({".gitmodules": "path = ../elsewhere\npath = /etc"}, ()),
        ({}, ()),
    ],
)
def test_folders_that_are_empty_or_absent(tmp_path: Path, files: dict[str, str], unfetched: tuple[str, ...]) -> None:
    assert find_unfetched_submodules(write_files(tmp_path, files)) == unfetched


@pytest.mark.slow
def test_clone_without_its_submodules(tmp_path: Path) -> None:
    library = write_files(tmp_path / "library", {"x.py": "y = 1"})
    pack = write_files(tmp_path / "origin", {"__init__.py": "from .lib.x import y"})
    for folder in (library, pack):
        git(folder, "init", "--quiet")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", "x")
    git(pack, "submodule", "--quiet", "add", str(library), "lib")
    git(pack, "commit", "--quiet", "-m", "x")
    git(tmp_path, "clone", "--quiet", str(pack), "clone")
    assert find_unfetched_submodules(tmp_path / "clone") == ("lib",)
    git(tmp_path / "clone", "submodule", "--quiet", "update", "--init")
    assert find_unfetched_submodules(tmp_path / "clone") == ()


HERE = "import importlib.util, os, sys\nHERE = os.path.dirname(__file__)\n"


@pytest.mark.parametrize(
    "source",
    [
        "from .lib.x import y",
        "from .lib import x",
        "from .lib.deep.x import y",
        f"{HERE}importlib.util.spec_from_file_location('x', HERE + '/lib/x.py').loader.load_module()",
        f"{HERE}sys.path.insert(0, os.path.join(HERE, 'lib', 'src'))\nimport x_of_lib",
    ],
)
@pytest.mark.parametrize("has_folder", [True, False])
def test_import_from_it_names_the_submodule(tmp_path: Path, source: str, *, has_folder: bool) -> None:
    files = {"__init__.py": source, ".gitmodules": GITMODULES}
    problem = find_problem(tmp_path, files | ({"lib/.git": "gitdir: x"} if has_folder else {}))
    assert problem is not None
    assert (problem.kind, problem.is_certain) == (ProblemKind.SUBMODULE, True)
    assert "is a git submodule that was not fetched" in problem.summary


def test_other_missing_modules_are_not_blamed_on_it(tmp_path: Path) -> None:
    for name, source in (("1", "from .library import x"), ("2", "from .nodes import x")):
        problem = find_problem(tmp_path / name, {"__init__.py": source, ".gitmodules": GITMODULES})
        assert problem is not None
        assert problem.kind is ProblemKind.PACK_FILES


def find_problem(folder: Path, files: dict[str, str]) -> ImportProblem | None:
    return ImportCase(folder, files).problem
