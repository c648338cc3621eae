from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.packs.definitions import read_pack_definitions
from comfywatchman.comfyui.validation.signature import NodeSignature


@pytest.mark.parametrize(
    ("source", "own_checks"),
    [
        ("class N:\n    pass", ()),
        ("class N(object):\n    pass", ()),
        ("from comfy_api.latest import io\nclass N(io.ComfyNode):\n    pass", ()),
        ("class N:\n    def VALIDATE_INPUTS(cls, mode): return True", ("cls", "mode")),
        ("class N:\n    def validate_inputs(cls, /, mode, *, other=1): return True", ("cls", "mode")),
        ("class N:\n    def VALIDATE_INPUTS(cls, mode, **others): return True", ("*",)),
        ("class N:\n    VALIDATE_INPUTS = None", None),
        ("class P:\n    def VALIDATE_INPUTS(cls): return True\nclass N(P):\n    pass", ("cls",)),
        ("class P:\n    pass\nclass N(P, object):\n    pass", ()),
        ("import nodes\nclass N(nodes.LoadImage):\n    pass", None),
        ("from somewhere import Base\nclass N(Base):\n    pass", None),
        ("@mystery\nclass N:\n    pass", None),
        ("class N(P):\n    pass\nclass P(N):\n    pass", None),
    ],
)
def test_own_checks_are_the_parameters(tmp_path: Path, source: str, own_checks: tuple[str, ...] | None) -> None:
    assert read_class(tmp_path, source).own_checks == own_checks


@pytest.mark.parametrize(
    ("check", "refusable"),
    [
        ("def VALIDATE_INPUTS(cls, path):\n        return exists(path)", ("path",)),
        (
            "def VALIDATE_INPUTS(s, path):\n        if not path:\n            return 'none'\n        return True",
            ("path",),
        ),
        ("def VALIDATE_INPUTS(cls, path, **others): return exists(path)", ("path",)),
        ("def VALIDATE_INPUTS(cls, path, input_types): return exists(path)", ("path",)),
        ("def VALIDATE_INPUTS(cls, **values): return exists(values['path'])", ("*",)),
        ("VALIDATE_INPUTS = lambda cls, path: exists(path)", ("path",)),
        ("def VALIDATE_INPUTS(cls, path): return True", ()),
        ("def VALIDATE_INPUTS(cls, **values):\n        'Any value will do.'\n        return True", ()),
        ("def VALIDATE_INPUTS(cls, input_types): return 'x' in input_types", ()),
        ("pass", ()),
    ],
)
def test_refusable_inputs_are_those_that_a_check_looks_at(
    tmp_path: Path, check: str, refusable: tuple[str, ...]
) -> None:
    body = f"class N:\n    @classmethod\n    {check}" if check.startswith("def") else f"class N:\n    {check}"
    assert read_class(tmp_path, body).refusable == refusable


@pytest.mark.parametrize(
    ("source", "is_output"),
    [
        ("class N:\n    OUTPUT_NODE = True", True),
        ("class N:\n    OUTPUT_NODE = False", False),
        ("class N:\n    pass", False),
        ("class P:\n    OUTPUT_NODE = True\nclass N(P):\n    pass", True),
        ("class P:\n    pass\nclass N(P):\n    pass", False),
        ("class N:\n    OUTPUT_NODE = mystery()", None),
        ("class N:\n    OUTPUT_NODE = 1", None),
        ("class P:\n    OUTPUT_NODE = mystery()\nclass N(P):\n    pass", None),
        ("import nodes\nclass N(nodes.SaveImage):\n    pass", None),
        ("import nodes\nclass P(nodes.SaveImage):\n    pass\nclass N(P):\n    pass", None),
        ("@mystery\nclass N:\n    pass", None),
        ("class N(P):\n    pass\nclass P(N):\n    pass", None),
    ],
)
def test_output_mark_is_unknown_where_a_base_may_have_it(tmp_path: Path, source: str, is_output: object) -> None:
    assert read_class(tmp_path, source).is_output is is_output


def read_class(folder: Path, source: str) -> NodeSignature:
    (folder / "__init__.py").write_text(f"{source}\nNODE_CLASS_MAPPINGS = {{'N': N}}")
    return read_pack_definitions(folder, ["__init__.py"], label="pack").signatures["N"]
