from __future__ import annotations

import ast

import pytest

from comfywatchman.comfyui.static_analysis.api_calls import build_api_steps
from comfywatchman.comfyui.static_analysis.import_steps import ApiCallStep, Step
from comfywatchman.comfyui.static_analysis.module_names import read_module_names
from comfywatchman.comfyui.static_analysis.outline_names import build_name_table

IO = "comfy_api.latest.io"


def steps_of(call: str, before: str = "") -> list[Step]:
    """Return the steps of a call in the last line of a module."""
    source = f"from comfy_api.latest import io\nimport torch\n{before}\n{call}"
    tree = ast.parse(source)
    table = build_name_table(tree.body, read_module_names(tree, source.encode(), (), prefix=".").origins)
    statement = tree.body[-1]
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    return list(build_api_steps(statement.value, table))


@pytest.mark.parametrize(
    ("call", "before", "keywords"),
    [
        ("io.Schema(node_id='A', category='x')", "", ("node_id", "category")),
        ("io.Schema(node_id='A', **more)", "more = {'category': 'x'}", ("node_id", "category")),
        ("io.Schema(**{'node_id': 'A'}, **{})", "", ("node_id",)),
        ("io.Schema(**more)", "more = load()", ("…",)),
        ("io.Schema(**more)", "more = {'a': 1}\nmore = {'b': 1}", ("…",)),
        ("io.Schema(**{'a': 1, **more})", "", ("…",)),
        ("io.Schema(**{name: 1})", "", ("…",)),
    ],
)
def test_mapping_gives_the_keywords_that_the_source_shows(call: str, before: str, keywords: tuple[str, ...]) -> None:
    [step] = steps_of(call, before)
    assert isinstance(step, ApiCallStep)
    assert step.name == f"{IO}.Schema"
    assert (*step.keywords, *(("…",) if step.is_open else ())) == keywords


def test_starred_arguments_leave_the_call_open() -> None:
    [step] = steps_of("io.Int.Input('seed', *more)")
    assert step == ApiCallStep(4, f"{IO}.Int.Input", positional=2, is_open=True)


@pytest.mark.parametrize("before", ["X = io.Custom('X')", ""])
def test_own_type_is_named_by_its_maker(before: str) -> None:
    [step] = steps_of("X.Input('a')" if before else "io.Custom('X').Input('a')", before)
    assert step == ApiCallStep(4, f"{IO}.Custom().Input", positional=1)


@pytest.mark.parametrize("call", ["torch.ones(1)", "make().Input('a')", "torch.Custom('X').Input('a')", "load()"])
def test_other_calls_have_no_steps(call: str) -> None:
    assert steps_of(call) == []


def test_schema_lists_the_ids_that_are_texts() -> None:
    inputs = "io.Int.Input('seed'), io.Int.Input(id='steps'), io.Int.Input(name, id=3), make, *more"
    [step] = steps_of(f"io.Schema(inputs=[{inputs}], outputs=[io.Image.Output(), io.Mask.Output('mask')])")
    assert isinstance(step, ApiCallStep)
    assert (step.inputs, step.outputs) == (("seed", "steps"), ("mask",))
