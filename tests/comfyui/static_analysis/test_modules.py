from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES, MAX_TREE_BYTES, SourceTree, parse_source
from comfywatchman.comfyui.static_analysis.values import UNKNOWN, SourceModule
from tests.comfyui.imports.hosts import write_files
from tests.comfyui.static_analysis.reading import value_of


def build_tree(folder: Path, **files: str) -> SourceTree:
    for name, text in {"__init__": "", **files}.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return SourceTree(folder, frozenset({"inner"}))


def get_root(tree: SourceTree) -> SourceModule:
    root = tree.get_module(())
    assert root is not None
    return root


def test_module_is_parsed_once(tmp_path: Path) -> None:
    tree = build_tree(tmp_path, inner="a = 1")
    assert tree.get_module(("inner",)) is tree.get_module(("inner",))


@pytest.mark.parametrize(
    ("dotted", "level", "parts"),
    [
        ("inner", 1, ("inner",)),
        ("inner", 0, ("inner",)),
        ("__pack__.inner", 0, ("inner",)),
        ("", 1, ()),
        ("inner", 2, None),
        ("other", 0, None),
        ("gone", 1, None),
    ],
)
def test_imports_are_resolved_inside_the_pack_only(
    tmp_path: Path, dotted: str, level: int, parts: tuple[str, ...] | None
) -> None:
    tree = build_tree(tmp_path, inner="", other="")
    module = tree.resolve_import(get_root(tree), dotted, level)
    assert (None if module is None else module.parts) == parts


def test_module_may_be_compiled_or_a_folder(tmp_path: Path) -> None:
    tree = build_tree(tmp_path)
    (tmp_path / "compiled.cpython-311-x86_64-linux-gnu.so").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "data.json").touch()
    assert tree.is_missing(("gone",))
    assert tree.is_missing(("data",))
    assert not tree.is_missing(("compiled",))
    assert not tree.is_missing(("folder",))


def test_syntax_errors_are_kept_with_their_line(tmp_path: Path) -> None:
    tree = build_tree(tmp_path, inner="\ndef (:", nul="x = 1\0")
    assert tree.get_module(("inner",)) is None
    assert tree.get_module(("nul",)) is None
    assert tree.syntax_errors[("inner",)] == "line 2: invalid syntax"
    assert "null bytes" in tree.syntax_errors[("nul",)]


def test_released_module_frees_its_share_of_the_limit(tmp_path: Path) -> None:
    tree = build_tree(tmp_path, inner="a = 1")
    get_root(tree)
    before = tree.held_bytes
    assert tree.get_module(("inner",)) is not None
    tree.release(("inner",))
    tree.release(("inner",))
    assert (tree.held_bytes, ("inner",) in tree.modules) == (before, False)


def test_forgotten_modules_are_parsed_again(tmp_path: Path) -> None:
    tree = build_tree(tmp_path, inner="a = 1")
    root, inner = get_root(tree), tree.get_module(("inner",))
    assert inner is not None
    tree.forget({()})
    assert tree.held_bytes == 0
    assert tree.get_module(()) is root
    assert inner.tree.body == []
    assert tree.get_module(("inner",)) is not inner


def test_too_much_source_is_reported(tmp_path: Path) -> None:
    big = "#" * (MAX_SOURCE_BYTES - 1)
    tree = build_tree(tmp_path, a=big, b=big)
    assert 2 * len(big) > MAX_TREE_BYTES
    assert tree.get_module(("a",)) is not None
    assert tree.get_module(("b",)) is None
    assert tree.problems == ["b.py was not read: the pack has too much source"]


def test_unreadable_source_is_reported(tmp_path: Path) -> None:
    tree = build_tree(tmp_path, broken="def f(:")
    assert tree.get_module(("broken",)) is None
    assert tree.problems[0].startswith("broken.py is not readable Python: ")


def test_parser_warnings_are_silent() -> None:
    assert parse_source(b"'\\d'").body


def test_fifo_in_place_of_source_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    assert value_of(tmp_path, "from .pipe import y\nx = y") is UNKNOWN


ENUMERATION = """
class Codec(str, Enum):
    AUTO = "auto"
    H264 = "h264"
    @classmethod
    def as_input(cls) -> list[str]:
        return [member.value for member in cls]
class Other(str, Enum):
    A = "a"
    @classmethod
    def as_input(cls):
        return ["a", "b"]
class Plain(str, Enum):
    A = "a"
"""


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("comfy_api.latest.Types.Codec.as_input", ("auto", "h264")),
        ("comfy_api.latest.Types.Other.as_input", None),
        ("comfy_api.latest.Types.Plain.as_input", None),
        ("comfy_api.latest.Types.Gone.as_input", None),
        ("other.Codec.as_input", None),
    ],
)
def test_enumeration_of_the_api_offers_its_values(tmp_path: Path, name: str, members: tuple[str, ...] | None) -> None:
    files = {"comfy_api/latest/_util/types.py": ENUMERATION, "comfy_api/latest/_util/bad.py": "class Codec(:"}
    write_files(tmp_path, files)
    assert SourceTree(tmp_path, frozenset()).find_enumeration(name) == members
