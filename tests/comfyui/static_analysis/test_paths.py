"""Paths and listings, compared with what Python itself returns for the same files."""

from __future__ import annotations

import glob
import os
import pkgutil
from pathlib import Path

import pytest

from comfywatchman.comfyui.static_analysis.paths import PackFiles, get_path_attribute, join_path
from comfywatchman.comfyui.static_analysis.values import UNKNOWN, AbstractList, PathValue, Record, Value
from tests.comfyui.imports.hosts import write_files
from tests.comfyui.static_analysis.reading import plain

FILES = ["__init__.py", "a.py", "b[1].py", ".hidden.py", "py/__init__.py", "py/c.py", "py/deep/d.py", "web/x.js"]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return write_files(tmp_path / "pack", dict.fromkeys([*FILES, "py/__pycache__/c.pyc"], ""))


@pytest.mark.parametrize(
    ("pattern", "is_recursive"),
    [
        ("*.py", False),
        ("*", False),
        (".*.py", False),
        ("[ab].py", False),
        ("b[[]1].py", False),
        ("?.py", False),
        ("py/*.py", False),
        ("*/*.py", False),
        ("**/*.py", False),
        ("**/*.py", True),
        ("py/**/*.py", True),
        ("a.py", False),
        ("gone/*.py", False),
    ],
)
def test_patterns_find_what_glob_finds(pattern: str, is_recursive: object, pack: Path) -> None:
    found = PackFiles(pack).call("glob.glob", [f"{pack}/{pattern}"], {"recursive": is_recursive})
    assert plain(found) == sorted(glob.glob(f"{pack}/{pattern}", recursive=bool(is_recursive)))


@pytest.mark.parametrize("pattern", ["../*.py", "*/../*.py", "**", "/elsewhere/*.py", "*.py"])
def test_patterns_that_may_leave_the_pack_stay_open(pattern: str, pack: Path) -> None:
    text = pattern if pattern in {"/elsewhere/*.py", "*.py"} else f"{pack}/{pattern}"
    assert plain(PackFiles(pack).call("glob.glob", [text], {"recursive": True})) == [...]


def test_folders_are_walked_as_python_walks_them(pack: Path) -> None:
    (pack / "web" / "loop").symlink_to(pack)
    wanted: dict[str, object] = {}
    for folder, folders, files in os.walk(pack):
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        wanted[folder] = [sorted(folders), sorted(files)]
    rows = plain(PackFiles(pack).call("os.walk", [str(pack)], {}))
    assert {folder: [folders, files] for folder, folders, files in rows} == wanted


def test_listings_leave_out_the_cache_of_python(pack: Path) -> None:
    files = PackFiles(pack)
    assert plain(files.call("os.listdir", [PathValue(f"{pack}/py")], {})) == ["__init__.py", "c.py", "deep"]
    entries = files.call("os.scandir", [f"{pack}/py"], {})
    assert isinstance(entries, AbstractList)
    folders = [row for row in entries.values if isinstance(row, Record) and files.call_method(row, "is_dir", [])]
    assert [row.get_field("name") for row in folders] == ["deep"]
    modules = files.call("pkgutil.iter_modules", [AbstractList([str(pack)])], {"prefix": "p."})
    assert isinstance(modules, AbstractList)
    names = [row.get_field("name") for row in modules.values if isinstance(row, Record)]
    assert names == [info.name for info in pkgutil.iter_modules([str(pack)], "p.")]


def test_folder_beside_the_pack_is_not_looked_at(pack: Path) -> None:
    beside = pack.with_name("pack2")
    write_files(beside, {"a.py": ""})
    files = PackFiles(pack)
    assert files.find_parts(f"{pack}/py/./x/../c.py") == ("py", "c.py")
    assert files.find_parts(f"{pack}/") == ()
    assert [files.find_parts(path) for path in (str(beside), f"{pack}/../pack2", "a.py", f"{pack}/\0")] == [None] * 4
    assert files.call("os.path.isfile", [f"{beside}/a.py"], {}) is UNKNOWN
    assert plain(files.call("os.listdir", [str(beside)], {})) == [...]


@pytest.mark.parametrize(
    ("method", "arguments", "wanted"),
    [
        ("joinpath", ["x", "/y"], PathValue("/y")),
        ("with_suffix", [".txt"], PathValue("/p/a.txt")),
        ("with_suffix", [""], UNKNOWN),
        ("with_name", ["x/y"], UNKNOWN),
        ("relative_to", ["/p"], PathValue("a.py")),
        ("relative_to", ["/q"], UNKNOWN),
        ("read_text", [], UNKNOWN),
        ("joinpath", [UNKNOWN], UNKNOWN),
    ],
)
def test_methods_of_a_path(method: str, arguments: list[Value], wanted: Value, tmp_path: Path) -> None:
    assert PackFiles(tmp_path).call_method(PathValue("/p/a.py"), method, arguments) == wanted
    assert plain(get_path_attribute(PathValue("/p/a.py"), "parts")) == ["/", "p", "a.py"]
    assert (join_path("a", "b"), join_path(PathValue("a"), "b")) == (UNKNOWN, PathValue("a/b"))


def test_wildcards_do_not_enter_hidden_folders(tmp_path: Path) -> None:
    for name in (".hidden/a.py", "open/.hidden/b.py", "open/c.py", ".d.py"):
        path = tmp_path / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    files = PackFiles(tmp_path / "pack")
    root = f"{tmp_path}/pack"
    for pattern, is_recursive in ((f"{root}/**/*.py", True), (f"{root}/*/*.py", False)):
        expected = sorted(glob.glob(pattern, recursive=is_recursive))
        assert files.glob(pattern, {"recursive": is_recursive}).values == expected == [f"{root}/open/c.py"]
    assert files.glob(f"{root}/.hidden/*.py", {}).values == [f"{root}/.hidden/a.py"]
    hidden = PackFiles(tmp_path / "pack" / ".hidden")
    assert hidden.glob(f"{root}/.hidden/*.py", {}).values == [f"{root}/.hidden/a.py"]
