from __future__ import annotations

import ast
from pathlib import Path

import pytest

from comfywatchman.comfyui.static_analysis.faults.expressions import (
    FaultFinder,
    FaultSource,
    name_folder,
    name_variable,
    split_folder_name,
)
from comfywatchman.comfyui.static_analysis.import_steps import FaultStep, ReadStep, Step
from comfywatchman.comfyui.static_analysis.module_names import read_module_names
from comfywatchman.comfyui.static_analysis.outline_names import build_name_table

START = """import os, folder_paths, PIL.Image
from os import environ
from pathlib import Path
HERE = Path(__file__).parent
SIZES = {"small": 1}
"""
LINE = 6


def find(source: str, *, is_function: bool = False, before: str = "") -> list[Step]:
    """Return the faults of the last expression, with those of its parts."""
    text = START + before + source
    tree = ast.parse(text)
    table = build_name_table(tree.body, read_module_names(tree, text.encode(), (), prefix=".").origins)
    fault_source = FaultSource(tree, text.encode(), Path("/pack/__init__.py"), Path("/pack"))
    finder = FaultFinder(fault_source, table, is_function=is_function)
    return [step for node in ast.walk(tree.body[-1]) for step in finder.find(node)]


def variable(name: str) -> FaultStep:
    text = f"the environment variable {name} may not be set"
    return FaultStep(LINE, "KeyError", text, (f"environ[{name}]",), is_certain=False)


def folder(name: str) -> FaultStep:
    text = f"ComfyUI has no model folder {name!r}"
    return FaultStep(LINE, "KeyError", text, (f"folder[{name}]",), is_certain=False)


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("os.environ['TOKEN']", [variable("TOKEN")]),
        ("environ['TOKEN']", [variable("TOKEN")]),
        ("os.environ['HOME']", []),
        ("os.environ['TOKEN'] = 'x'", []),
        ("os.environ.get('TOKEN')", []),
        ("os.environ[input()]", []),
        ("folder_paths.get_filename_list('gone')", [folder("gone")]),
        ("folder_paths.get_folder_paths('go' + 'ne')", [folder("gone")]),
        ("folder_paths.folder_names_and_paths['gone']", [folder("gone")]),
        ("folder_paths.folder_names_and_paths['gone'] = ([], set())", []),
        ("folder_paths.get_filename_list(input())", []),
        ("folder_paths.get_full_path('gone', 'x')", []),
        ("SIZES['large']", [FaultStep(LINE, "KeyError", "key 'large'", ("SIZES",))]),
        ("1 / 0", [FaultStep(LINE, "ZeroDivisionError", "division by zero")]),
        ("int('x')", [FaultStep(LINE, "ValueError", "invalid literal for int() with base 10: 'x'")]),
        ("None.x", [FaultStep(LINE, "AttributeError", "'NoneType' object has no attribute 'x'")]),
        ("open(HERE / 'gone.txt')", [ReadStep(LINE, "gone.txt", is_own=True)]),
        ("open(HERE / 'gone.txt', 'rb')", [ReadStep(LINE, "gone.txt", is_own=True)]),
        ("open(HERE / 'gone.txt', encoding='utf-8')", [ReadStep(LINE, "gone.txt", is_own=True)]),
        ("open(HERE / 'gone.txt', input())", []),
        ("open(HERE / 'gone.txt', **input())", []),
        ("open('data/gone.txt')", [ReadStep(LINE, "data/gone.txt", is_own=False)]),
        ("open('/etc/gone.txt')", []),
        ("open(input())", []),
        ("open()", []),
        ("(HERE / 'a' / 'gone.txt').read_text()", [ReadStep(LINE, "a/gone.txt", is_own=True)]),
        ("(HERE / 'gone.txt').open('r')", [ReadStep(LINE, "gone.txt", is_own=True)]),
        ("(HERE / 'gone.txt').open(input())", []),
        ("input().read_text()", []),
        ("os.listdir(os.path.join(os.path.dirname(__file__), 'gone'))", [ReadStep(LINE, "gone", is_own=True)]),
        ("PIL.Image.open(HERE / 'gone.png')", [ReadStep(LINE, "gone.png", is_own=True)]),
        ("HERE.joinpath('gone.txt')", []),
    ],
)
def test_faults_of_an_expression(source: str, steps: list[Step]) -> None:
    assert find(source) == steps


def test_module_that_may_write_files_finds_those_that_it_reads() -> None:
    assert find("open(HERE / 'gone.txt')", before="os.makedirs(HERE);") == []


def test_open_of_the_module_itself_reads_nothing_that_is_known() -> None:
    assert find("open(HERE / 'gone.txt')", before="from io import open;") == [ReadStep(LINE, "gone.txt", is_own=True)]
    assert find("open(HERE / 'gone.txt')", before="open = input();") == []


def test_dict_may_have_changed_when_a_function_runs() -> None:
    (fault,) = find("SIZES['large']", is_function=True)
    assert isinstance(fault, FaultStep)
    assert not fault.is_certain
    (fault,) = find("1 / 0", is_function=True)
    assert isinstance(fault, FaultStep)
    assert fault.is_certain


def test_names_of_variables_and_folders_are_told_apart() -> None:
    assert (name_variable("A"), name_folder("a")) == ("environ[A]", "folder[a]")
    assert (split_folder_name(name_folder("a")), split_folder_name(name_variable("a"))) == ("a", None)
