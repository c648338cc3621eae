from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.check import PackSource, check_packs, find_environments, find_exit_blockers
from comfywatchman.comfyui.imports.environment import read_environment
from comfywatchman.comfyui.imports.problems import PackImports
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.packs.metadata import GitState, read_pack
from comfywatchman.comfyui.packs.scan import find_packs
from tests.comfyui.imports.hosts import write_environment, write_files

BODY = "INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()"
NODE = f"class {{0}}: {BODY}\nNODE_CLASS_MAPPINGS = {{{{'{{0}}': {{0}}}}}}\n"


def check(tmp_path: Path, **packs: str) -> dict[str, PackImports]:
    """Check packs on a host without any package but torch; return the problems by folder."""
    sources = read_sources(tmp_path, packs)
    environment = read_environment(write_environment(tmp_path / "venv", {}))
    assert environment is not None
    problems = check_packs(sources, None, None, [environment]).problems
    return {Path(path).name: imports for path, imports in problems.items()}


def read_sources(tmp_path: Path, packs: dict[str, str]) -> list[PackSource]:
    for name, text in packs.items():
        write_files(tmp_path / "custom_nodes" / name, {"__init__.py": text})
    listings = find_packs([tmp_path / "custom_nodes"])
    return [PackSource(listing, read_pack(listing, GitState())) for listing in listings]


def test_packs_and_classes_with_problems_are_listed(tmp_path: Path) -> None:
    guarded = f"try:\n    import cv2\n    class B: {BODY}\n    N = {{'B': B}}\nexcept ImportError:\n    N = {{}}\n"
    problems = check(
        tmp_path,
        good=NODE.format("A"),
        bad="import cv2\n" + NODE.format("C"),
        some=guarded
        + "class A: INPUT_TYPES, RETURN_TYPES = staticmethod(dict), ()\nNODE_CLASS_MAPPINGS = {'A': A, **N}",
    )
    assert problems.keys() == {"bad", "some"}
    assert problems["bad"].problem is not None
    assert problems["bad"].classes == {}
    assert problems["some"].problem is None
    assert problems["some"].classes.keys() == {"B"}


@pytest.mark.parametrize("line", ["from .m{0} import *", "from .m{0} import f"])
@pytest.mark.slow
def test_modules_that_import_one_another_in_a_long_row_leave_a_doubt(tmp_path: Path, line: str) -> None:
    count = 300
    modules = {f"m{number}.py": line.format(number + 1) for number in range(count)}
    write_files(tmp_path / "custom_nodes" / "deep", {**modules, f"m{count}.py": "def f(): ..."})
    problems = check(tmp_path, deep="from .m0 import f\n" + NODE.format("A"), good=NODE.format("B"))
    problem = problems["deep"].problem
    assert problem is not None
    assert (problem.error, problem.is_certain) == ("RecursionError", False)
    assert problems.keys() == {"deep"}


@pytest.mark.parametrize("use", ["from .a0 import *", "from .a0 import other", "from .a0 import *\nother"])
def test_modules_that_take_names_from_the_same_modules_are_followed_once(tmp_path: Path, use: str) -> None:
    lines = "".join(f"from .{name}{{0}} import *\n" for name in "ab")
    files = {f"{name}{number}.py": lines.format(number + 1) for name in "ab" for number in range(40)}
    write_files(tmp_path / "custom_nodes" / "wide", {**files, "a40.py": "x = 1", "b40.py": "y = 1"})
    problems = check(tmp_path, wide=f"{use}\n" + NODE.format("A"))
    assert ("other" in use) is bool(problems)


def test_modules_that_take_names_from_one_another_in_a_circle_may_have_any(tmp_path: Path) -> None:
    write_files(
        tmp_path / "custom_nodes" / "circle", {"a.py": "from .b import *\nx = 1", "b.py": "from .a import *\ny = 1"}
    )
    assert check(tmp_path, circle="from .a import other\n" + NODE.format("A")) == {}


def test_disabled_packs_are_not_checked(tmp_path: Path) -> None:
    assert check(tmp_path, **{"bad.disabled": "import cv2"}) == {}


@pytest.mark.parametrize(("installer", "is_certain"), [("other", False), ("ComfyUI-Manager", True)])
@pytest.mark.slow
def test_pack_that_installs_packages_leaves_others_in_doubt(
    tmp_path: Path, installer: str, *, is_certain: bool
) -> None:
    problems = check(tmp_path, bad="import cv2", **{installer: "import subprocess\n# pip install"})
    problem = problems["bad"].problem
    assert problem is not None
    assert problem.is_certain is is_certain


def test_pack_that_adds_a_module_leaves_others_in_doubt(tmp_path: Path) -> None:
    problems = check(tmp_path, bad="import cv2", other="import sys\nsys.modules['cv2'] = sys")
    assert problems["bad"].problem is not None
    assert not problems["bad"].problem.is_certain


def test_pack_that_exits_keeps_comfyui_from_starting(tmp_path: Path) -> None:
    packs = {"ends": "import sys\n\nsys.exit(3)", "fails": "raise ValueError", "good": ""}
    sources = read_sources(tmp_path, packs)
    problems = check_packs(sources, None, None, []).problems
    (blocker,) = find_exit_blockers([source.pack for source in sources], problems)
    assert (blocker.path, blocker.line) == (tmp_path / "custom_nodes" / "ends" / "__init__.py", 3)


def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "ComfyUI", None, tmp_path / "base")


def test_environment_beside_main_is_found(tmp_path: Path) -> None:
    write_environment(tmp_path / "ComfyUI" / "venv", {})
    (environment,) = find_environments(installation(tmp_path), None)
    assert (environment.folder, environment.is_guess) == (tmp_path / "ComfyUI" / "venv", False)


@pytest.mark.parametrize("place", ["base/.venv", "venv"])
def test_environment_elsewhere_is_a_guess(tmp_path: Path, place: str) -> None:
    write_environment(tmp_path / place, {})
    (environment,) = find_environments(installation(tmp_path), None)
    assert environment.is_guess


def test_environment_without_torch_is_not_that_of_comfyui(tmp_path: Path) -> None:
    folder = write_environment(tmp_path / "ComfyUI" / "venv", {})
    (folder / "lib/python3.11/site-packages/torch/__init__.py").unlink()
    (folder / "lib/python3.11/site-packages/torch").rmdir()
    assert find_environments(installation(tmp_path), None) == ()
    # A known one counts in any case.
    (environment,) = find_environments(installation(tmp_path), folder)
    assert "torch" not in environment.names


def test_linked_environment_counts_once(tmp_path: Path) -> None:
    write_environment(tmp_path / "ComfyUI" / "venv", {})
    (tmp_path / "ComfyUI" / ".venv").symlink_to(tmp_path / "ComfyUI" / "venv")
    assert len(find_environments(installation(tmp_path), None)) == 1


def test_known_environment_that_is_gone_leaves_none(tmp_path: Path) -> None:
    write_environment(tmp_path / "ComfyUI" / "venv", {})
    assert find_environments(installation(tmp_path), tmp_path / "gone") == ()


def test_several_environments_must_all_lack_a_package(tmp_path: Path) -> None:
    sources = read_sources(tmp_path, {"bad": "import cv2\nimport numba"})
    environments = [
        read_environment(write_environment(tmp_path / "a", {"cv2.py": ""})),
        read_environment(write_environment(tmp_path / "b", {}, python="3.12.0")),
    ]
    (imports,) = check_packs(
        sources, None, None, [replace(one, hook=None) for one in environments if one]
    ).problems.values()
    assert imports.problem is not None
    assert "numba" in imports.problem.summary
