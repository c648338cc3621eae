"""Packs of the V3 API beside a ComfyUI whose API is older: what its source shows about their calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.signatures import ApiSignatures, Signature
from comfywatchman.comfyui.static_analysis.import_steps import ApiCallStep
from tests.comfyui.imports.hosts import CORE, ImportCase, build_core

IO = """
from dataclasses import dataclass, field
def comfytype(io_type):
    def decorator(cls):
        return cls
    return decorator
class Input:
    def __init__(self, id: str, display_name=None, optional=False): pass
class WidgetInput(Input):
    def __init__(self, id: str, optional=False, *, default=None): pass
class Output:
    def __init__(self, id=None, display_name=None): pass
class ComfyTypeI:
    class Input(Input): ...
class ComfyTypeIO(ComfyTypeI):
    class Output(Output): ...
def Custom(io_type):
    class CustomComfyType(ComfyTypeIO): ...
    return CustomComfyType
@comfytype(io_type="IMAGE")
class Image(ComfyTypeIO): ...
@comfytype(io_type="MASK")
class Mask: ...
@comfytype(io_type="INT")
class Int(ComfyTypeIO):
    class Input(WidgetInput):
        def __init__(self, id, optional=False, min=None): pass
@comfytype(io_type="BIG")
class BigInt(ComfyTypeIO):
    class Input(Int.Input): ...
class Anything:
    def __init__(self, *args, **kwargs): pass
class Odd(Gone): ...
@dataclass
class Schema:
    node_id: str
    category: str = "x"
    inputs: list = field(default_factory=list)
    outputs: list = None
    is_output_node: bool = False
    def validate(self):
        pass
class ComfyNode: ...
class NodeOutput: ...
"""
HOST = {
    **CORE,
    "comfy_api/latest/__init__.py": "from . import _io_public as io\nclass ComfyExtension: pass",
    "comfy_api/latest/_io_public.py": "from ._io import *",
    "comfy_api/latest/_io.py": IO,
    "nodes.py": "from comfy_api.latest import io, ComfyExtension",
}
START = "from comfy_api.latest import io, ComfyExtension\n"
NODE = """
class {0}(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="{0}", {1})
    @classmethod
    def execute(cls): return io.NodeOutput()
"""
ENTRY = """
class Extension(ComfyExtension):
    async def get_node_list(self):
        return [A, B]
async def comfy_entrypoint():
    return Extension()
"""


@pytest.mark.parametrize(
    ("call", "verdict"),
    [
        ("io.Schema('x', category='y')", "ok"),
        ("io.Schema(category='y')", "fails"),
        ("io.Schema('x', gone=1)", "fails"),
        ("io.Schema('x', node_id='x')", "fails"),
        ("io.Schema(**{'node_id': 'x'})", "ok"),
        ("io.Schema('x', **{'gone': 1})", "fails"),
        ("io.Schema(**input())", "ok"),
        ("io.Schema(*input())", "ok"),
        ("io.Image.Input('x', 'y', True)", "ok"),
        ("io.Image.Input('x', 'y', True, 4)", "fails"),
        ("io.Image.Input('x', default=1)", "fails"),
        ("io.Image.Output()", "ok"),
        ("io.Mask.Output('x', gone=1)", "fails"),
        ("io.Int.Input('x', min=1)", "ok"),
        ("io.Int.Input('x', default=1)", "fails"),
        ("io.BigInt.Input('x', min=1)", "ok"),
        ("io.BigInt.Input('x', max=1)", "fails"),
        ("io.Custom('T').Input('x', gone=1)", "fails"),
        ("T = io.Custom('T')\nT.Input('x', gone=1)", "fails"),
        ("T = io.Custom('T')\nT.Input('x', optional=True)", "ok"),
        ("io.Custom()", "fails"),
        ("io.Anything(1, 2, gone=1)", "ok"),
        ("io.Odd(1, 2, gone=1)", "ok"),
        ("try:\n    io.Schema('x', gone=1)\nexcept TypeError:\n    pass", "ok"),
        ("def f():\n    io.Schema('x', gone=1)", "ok"),
        ("io.Schema('x', inputs=[io.Image.Input('a'), io.Mask.Input(id='a')])", "fails"),
        ("io.Schema('x', inputs=[io.Image.Input('a')], outputs=[io.Image.Output('a')])", "ok"),
    ],
)
def test_arguments_of_the_node_api(tmp_path: Path, call: str, verdict: str) -> None:
    assert ImportCase(tmp_path, {"__init__.py": START + call}, core=HOST).verdict == verdict


def test_output_may_not_share_the_id_of_an_input_where_comfyui_says_so(tmp_path: Path) -> None:
    core = {
        **HOST,
        "comfy_api/latest/_io.py": IO.replace("        pass\nclass ComfyNode", "        a & b\nclass ComfyNode"),
    }
    source = "io.Schema('x', inputs=[io.Image.Input('a')], outputs=[io.Image.Output('a')])"
    problem = ImportCase(tmp_path, {"__init__.py": START + source}, core=core).problem
    assert problem is not None
    assert problem.summary == (
        "`comfy_api.latest.io.Schema(…)` fails (__init__.py, line 2): "
        "ComfyUI 0.3.75 rejects the call: the id 'a' occurs twice"
    )


def test_classes_behind_one_that_fails_are_not_listed(tmp_path: Path) -> None:
    nodes = NODE.format("A", "category='x'") + NODE.format("B", "gone=1")
    case = ImportCase(tmp_path / "1", {"__init__.py": START + nodes + ENTRY}, core=HOST)
    assert (case.verdict, case.class_verdict("A"), case.class_verdict("B")) == ("ok", "ok", "fails")
    nodes = NODE.format("A", "gone=1") + NODE.format("B", "category='x'")
    case = ImportCase(tmp_path / "2", {"__init__.py": START + nodes + ENTRY}, core=HOST)
    assert (case.class_verdict("A"), case.class_verdict("B")) == ("fails", "fails")


def test_mapped_class_fails_alone(tmp_path: Path) -> None:
    nodes = NODE.format("A", "gone=1") + NODE.format("B", "category='x'")
    source = f"{START}{nodes}NODE_CLASS_MAPPINGS = {{'A': A, 'B': B}}"
    case = ImportCase(tmp_path, {"__init__.py": source}, core=HOST)
    assert (case.verdict, case.class_verdict("A"), case.class_verdict("B")) == ("ok", "fails", "ok")


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("", "", "ok"),
        ("async def comfy", "def comfy", "ok"),
        ("async def get", "def get", "fails"),
        ("[A, B]", "(A, B)", "fails"),
        ("(ComfyExtension)", "", "fails"),
        ("(ComfyExtension)", "(input('class'))", "ok"),
        ("    return Extension()", "    from .gone import x\n    return Extension()", "fails"),
        ("        return [A, B]", "        from comfy.samplers import gone\n        return [A, B]", "fails"),
    ],
)
def test_entry_point_and_list_of_nodes(tmp_path: Path, old: str, new: str, verdict: str) -> None:
    nodes = NODE.format("A", "") + NODE.format("B", "")
    source = START + nodes + (ENTRY.replace(old, new) if old else ENTRY)
    assert ImportCase(tmp_path, {"__init__.py": source}, core=HOST).verdict == verdict


@pytest.mark.parametrize("method", ["define_schema", "execute"])
def test_node_class_needs_both_methods(tmp_path: Path, method: str) -> None:
    broken = NODE.format("B", "").replace(f"def {method}", "def other")
    source = START + NODE.format("A", "") + broken + ENTRY
    case = ImportCase(tmp_path, {"__init__.py": source}, core=HOST)
    assert case.class_verdict("A") == "ok"
    assert case.class_verdict("B") == "fails" or "B" not in case.definitions.classes


def test_comfyui_without_entry_points_lists_no_class_of_them(tmp_path: Path) -> None:
    core = {**HOST, "nodes.py": "from comfy_api.latest import io"}
    source = START + NODE.format("A", "") + NODE.format("B", "") + ENTRY
    problem = ImportCase(tmp_path / "1", {"__init__.py": source}, core=core).problem
    assert problem is not None
    assert problem.summary == "ComfyUI 0.3.75 does not load packs of the V3 API (comfy_entrypoint)"
    mapped = START + NODE.format("A", "") + "NODE_CLASS_MAPPINGS = {'A': A}"
    assert ImportCase(tmp_path / "2", {"__init__.py": mapped}, core=core).verdict == "ok"


@pytest.mark.parametrize("api", ["from comfy_api.v0_0_9 import io", "from comfy_api.latest import io, Gone"])
def test_version_of_the_api_that_comfyui_lacks(tmp_path: Path, api: str) -> None:
    assert ImportCase(tmp_path, {"__init__.py": api}, core=HOST).verdict == "fails"


@pytest.mark.parametrize("mapping", ["{}", "{'C': None}"])
def test_mapping_goes_before_an_entry_point(tmp_path: Path, mapping: str) -> None:
    source = START + NODE.format("A", "") + NODE.format("B", "") + ENTRY
    case = ImportCase(tmp_path / "1", {"__init__.py": f"{source}NODE_CLASS_MAPPINGS = {mapping}"}, core=HOST)
    assert case.definitions.classes.isdisjoint({"A", "B"})
    case = ImportCase(tmp_path / "2", {"__init__.py": f"{source}NODE_CLASS_MAPPINGS = None"}, core=HOST)
    assert case.definitions.classes == {"A", "B"}


def test_signature_is_unknown_for_what_the_source_does_not_show(tmp_path: Path) -> None:
    signatures = ApiSignatures(build_core(tmp_path, HOST))
    for name in (
        "comfy_api.latest.io.Gone",
        "comfy_api.latest",
        "torch.x",
        "comfy_api.latest.io.Odd",
        "comfy.native.x",
    ):
        assert signatures.find(name) is None
    step = ApiCallStep(1, "comfy_api.latest.io.Gone", inputs=("a", "a"))
    assert signatures.find_repeated_id(step) is None


@pytest.mark.parametrize(
    ("positional", "keywords", "words"),
    [
        (0, ("a",), None),
        (1, ("c",), None),
        (3, (), "takes 2 positional arguments but 3 were given"),
        (1, ("a",), "multiple values for argument 'a'"),
        (1, ("d",), "unexpected keyword argument 'd'"),
        (0, ("b",), "misses the required argument 'a'"),
    ],
)
def test_arguments_are_matched_as_python_does(positional: int, keywords: tuple[str, ...], words: str | None) -> None:
    signature = Signature(names=("a", "b"), keyword_only=frozenset({"c"}), required=("a",))
    mismatch = signature.find_mismatch(ApiCallStep(1, "f", positional, keywords))
    assert mismatch == words if words is None else words in str(mismatch)
