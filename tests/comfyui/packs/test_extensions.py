"""Packs of the V3 API whose extension, list or classes ComfyUI refuses, and those that it may accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.packs.definitions import NodeDefinitions
from tests.comfyui.imports.hosts import CORE, ImportCase

API = {
    **CORE,
    "comfy_api/latest/__init__.py": "from . import _io as io\nclass ComfyExtension: pass",
    "comfy_api/latest/_io.py": "class ComfyNode: pass\nclass Schema: pass",
    "nodes.py": "from comfy_api.latest import io, ComfyExtension",
}
PACK = """
from comfy_api.latest import ComfyExtension, io
{classes}
class Extension({extension}):
    async def get_node_list(self):
        {listing}
async def comfy_entrypoint():
    return Extension()
"""
NODE = """
class {name}({bases}):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="{name}")
"""
RUN = "    @classmethod\n    def execute(cls): pass\n"
WHOLE = NODE.format(name="A", bases="io.ComfyNode") + RUN


def build_case(
    folder: Path, *, classes: str = WHOLE, extension: str = "ComfyExtension", listing: str = "return [A]"
) -> ImportCase:
    source = PACK.format(classes=classes, extension=extension, listing=listing)
    return ImportCase(folder, {"__init__.py": source}, core=API)


def build_chain(length: int, first: str) -> str:
    """Return classes of which each inherits from the one before; the last one is `Base`."""
    lines = [f"class C0({first}): pass"]
    lines += [f"class C{number}(C{number - 1}): pass" for number in range(1, length)]
    return "\n".join([*lines, f"class Base(C{length - 1}): pass"])


def test_extension_may_inherit_through_classes_of_the_pack(tmp_path: Path) -> None:
    chain = build_chain(3, "ComfyExtension")
    assert build_case(tmp_path / "1", classes=WHOLE + chain, extension="Base").verdict == "ok"
    mixed = f"{WHOLE}class Mixin: pass"
    assert build_case(tmp_path / "2", classes=mixed, extension="Mixin, ComfyExtension").verdict == "ok"


@pytest.mark.parametrize("first", ["", "io.ComfyNode", "dict"])
def test_extension_of_another_base_is_refused(tmp_path: Path, first: str) -> None:
    problem = build_case(tmp_path, classes=WHOLE + build_chain(3, first), extension="Base").problem
    assert problem is not None
    assert (problem.error, problem.is_certain) == ("TypeError", True)
    assert "did not return a ComfyExtension" in problem.explanation


def test_too_long_a_chain_of_bases_is_not_judged(tmp_path: Path) -> None:
    assert build_case(tmp_path, classes=WHOLE + build_chain(40, ""), extension="Base").verdict == "ok"


@pytest.mark.parametrize(
    ("listing", "verdict"),
    [
        ("return (A,)", "fails"),
        ("if input(): return (A,)\n        return [A]", "ok"),
        ("return tuple([A])", "ok"),
    ],
)
def test_list_is_refused_only_when_every_return_is_a_tuple(tmp_path: Path, listing: str, verdict: str) -> None:
    assert build_case(tmp_path, listing=listing).verdict == verdict


def find_class_problem(folder: Path, node_class: str) -> tuple[str | None, NodeDefinitions]:
    """Return the explanation for a pack of one node class, and its definitions."""
    case = build_case(folder, classes=node_class)
    problem = case.checker.check_class("A")
    return (problem.explanation if problem else None), case.definitions


def test_class_without_a_method_is_named(tmp_path: Path) -> None:
    explanation, definitions = find_class_problem(tmp_path, NODE.format(name="A", bases="io.ComfyNode"))
    assert explanation is not None
    assert "no execute function was defined for node class A" in explanation
    assert definitions.classes == {"A"}


@pytest.mark.parametrize(
    "node_class",
    [
        f"class Runs(io.ComfyNode):\n{RUN}{NODE.format(name='A', bases='Runs')}",
        f"class Mixin(unknown()): pass\n{NODE.format(name='A', bases='io.ComfyNode, Mixin')}",
        f"@decorate{NODE.format(name='A', bases='io.ComfyNode')}",
    ],
    ids=["inherited", "unknown base", "decorated"],
)
def test_method_that_may_come_from_elsewhere_is_not_missed(tmp_path: Path, node_class: str) -> None:
    explanation, _definitions = find_class_problem(tmp_path, node_class)
    assert explanation is None
