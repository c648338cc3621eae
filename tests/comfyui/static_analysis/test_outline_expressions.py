from __future__ import annotations

import ast

import pytest

from comfywatchman.comfyui.static_analysis.faults.expressions import FaultFinder, FaultSource
from comfywatchman.comfyui.static_analysis.import_steps import (
    AttributeStep,
    CallStep,
    ImportStep,
    MissingFileStep,
    RaiseStep,
    SetStep,
    Step,
    UnresolvedStep,
)
from comfywatchman.comfyui.static_analysis.module_names import read_module_names
from comfywatchman.comfyui.static_analysis.modules import CallImports, ModuleImports
from comfywatchman.comfyui.static_analysis.outline_expressions import ExpressionScanner, list_set_names
from comfywatchman.comfyui.static_analysis.outline_names import NameTable, build_name_table

START = "import importlib, nodes, torch; from os import _exit as leave"
EXIT = RaiseStep(2, "SystemExit", "exit()")


def read_table(source: str) -> tuple[ast.Module, NameTable]:
    tree = ast.parse(source)
    return tree, build_name_table(tree.body, read_module_names(tree, source.encode(), (), prefix=".").origins)


def follow_call(function: ast.FunctionDef) -> tuple[Step, ...]:
    """Return a step that names the function."""
    return (RaiseStep(1, function.name),)


def scan(expression: str, record: CallImports | None = None, before: str = "pass") -> list[Step]:
    """Return the steps of an expression in the second line of the module `py.one`."""
    tree, table = read_table(f"{START}; {before}\n{expression}")
    loads = ModuleImports({} if record is None else {2: record})
    faults = FaultFinder(FaultSource(tree), table, is_function=False)
    scanner = ExpressionScanner(table, ("py", "one"), ("py",), loads, follow_call, faults=faults)
    return list(scanner.scan(tree.body[-1]))


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("exit() and a", [EXIT]),
        ("a and exit()", []),
        ("a < exit() < b", [EXIT]),
        ("a < b < exit()", []),
        ("a if exit() else b", [EXIT]),
        ("a if b else exit()", []),
        ("[a for a in exit()]", [EXIT]),
        ("[exit() for a in b]", []),
        ("{a: b for c in d for a in exit()}", []),
        ("lambda a=exit(): a", [EXIT]),
        ("lambda: exit()", []),
        ("f'{exit()}'", [EXIT]),
        ("f(*exit())", [EXIT]),
    ],
)
def test_only_parts_that_certainly_run_have_steps(expression: str, steps: list[Step]) -> None:
    assert scan(expression) == steps


def test_exit_may_have_another_name_or_meaning() -> None:
    assert scan("leave(1)") == [RaiseStep(2, "SystemExit", "os._exit()")]
    assert scan("exit()", before="exit = print") == []


def test_function_of_the_module_is_followed() -> None:
    tree, table = read_table("def run(): pass\nrun(nodes.X)\nimport nodes")
    faults = FaultFinder(FaultSource(tree), table, is_function=False)
    scanner = ExpressionScanner(table, (), (), ModuleImports(), follow_call, faults=faults)
    assert list(scanner.scan(tree.body[1])) == [AttributeStep(2, "nodes.X"), CallStep((RaiseStep(1, "run"),))]
    assert scanner.used_names == {"run", "nodes"}


@pytest.mark.parametrize(
    ("call", "module"),
    [
        ("importlib.import_module('torch.nn')", "torch.nn"),
        ("importlib.import_module('.two', __package__)", ".py.two"),
        ("importlib.import_module('..two', package=__package__)", ".two"),
        ("importlib.import_module('.two', __name__)", ".py.one.two"),
    ],
)
def test_constant_import_is_known_without_the_analysis(call: str, module: str) -> None:
    assert scan(call) == [ImportStep(2, module)]


def test_unknown_import_is_quoted_in_one_short_line() -> None:
    [step] = scan(f"importlib.import_module(\n  names['{'x' * 90}'])")
    assert isinstance(step, UnresolvedStep)
    assert step.statement.startswith("importlib.import_module(names['xx")
    assert len(step.statement) == 81
    assert step.statement.endswith("…")


@pytest.mark.parametrize(
    ("record", "steps"),
    [
        (CallImports({".a": True, ".b": False}), [ImportStep(2, ".a", is_certain=True), ImportStep(2, ".b")]),
        (CallImports(missing_files=["a.py"], errors={"E": "x"}), [MissingFileStep(2, "a.py")]),
        (CallImports(errors={"ImportError": "x"}), [RaiseStep(2, "ImportError", "x")]),
        (CallImports(errors={"E": "x"}, is_known=False), [UnresolvedStep(2, "load()")]),
        (CallImports(errors={"E": "x"}, sites={((), 1), ((), 2)}, is_guarded=True), [UnresolvedStep(2, "load()")]),
        (CallImports({".a": True}, sites={((), 1)}, is_guarded=True), [ImportStep(2, ".a", is_certain=True)]),
    ],
)
def test_analysed_call_has_the_steps_of_its_record(record: CallImports, steps: list[Step]) -> None:
    assert scan("load()", record) == steps


def test_only_attributes_of_comfyui_are_set() -> None:
    tree, table = read_table("import nodes, torch\nnodes.A = torch.B = mine.C = x = 1")
    assert list(list_set_names(tree.body[1], table)) == [SetStep("nodes.A")]
