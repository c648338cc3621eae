from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.packs.definitions import read_pack_definitions
from comfywatchman.comfyui.static_analysis.import_steps import FaultStep
from tests.comfyui.imports.hosts import write_files

NODE = """
class Node:
    RETURN_TYPES = ("IMAGE",)
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}
"""
METHOD = 'def INPUT_TYPES(cls):\n        return {"required": {}}'
BASE = "class Base:\n    RETURN_TYPES = ()\n"
WITHOUT_METHOD = NODE.replace("    @classmethod\n", "")


def find_fault(folder: Path, source: str) -> str:
    """Return the error of a class with its message; nothing for one that ComfyUI can list."""
    root = write_files(folder / "pack", {"__init__.py": source + "\nNODE_CLASS_MAPPINGS = {'Node': Node}"})
    outline = read_pack_definitions(root, ["__init__.py"], label="pack").outline
    faults = [step for function in outline.inputs.values() for step in function.steps if isinstance(step, FaultStep)]
    return f"{faults[0].error}: {faults[0].text}" if faults else ""


@pytest.mark.parametrize(
    "source",
    [
        NODE,
        NODE.replace("@classmethod", "@staticmethod").replace("(cls)", "()"),
        WITHOUT_METHOD.replace("(cls)", "()"),
        WITHOUT_METHOD.replace("(cls)", "(cls=None)"),
        WITHOUT_METHOD.replace("(cls)", "(*args)"),
        NODE.replace("@classmethod", "@input()"),
        NODE.replace("class Node:", "class Node(input()):").replace('    RETURN_TYPES = ("IMAGE",)\n', ""),
        NODE.replace("class Node:", "class Node(metaclass=input()):").replace("RETURN_TYPES", "OTHER"),
        BASE + NODE.replace("class Node:", "class Node(Base):").replace("RETURN", "OTHER"),
        NODE.replace("RETURN_TYPES", "OTHER") + "Node.RETURN_TYPES = ()",
        NODE.replace("RETURN_TYPES", "OTHER") + "setattr(Node, 'RETURN_TYPES', ())",
        NODE.replace('RETURN_TYPES = ("IMAGE",)', "RETURN_TYPES = None\n    OUTPUT_IS_LIST = ()"),
        NODE.replace('RETURN_TYPES = ("IMAGE",)', "RETURN_TYPES = 'IMAGE'"),
        NODE.replace('RETURN_TYPES = ("IMAGE",)', "RETURN_TYPES = input()"),
        NODE.replace("def INPUT", "async def INPUT"),
        NODE.replace("return {", "yield {"),
        NODE.replace('return {"required": {}}', "def inner():\n            return ()\n        return input()"),
        NODE.replace('return {"required": {}}', "if input():\n            return {}\n        return {'x': ()}"),
        NODE.replace(METHOD, "def other(cls): return {}\n    INPUT_TYPES = other"),
    ],
)
def test_class_that_may_be_listed_has_no_fault(tmp_path: Path, source: str) -> None:
    assert find_fault(tmp_path, source) == ""


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (
            NODE.replace("def INPUT_TYPES", "def INPUTS"),
            "AttributeError: type object 'Node' has no attribute 'INPUT_TYPES'",
        ),
        (NODE.replace("RETURN_TYPES", "TYPES"), "AttributeError: type object 'Node' has no attribute 'RETURN_TYPES'"),
        (WITHOUT_METHOD, "TypeError: INPUT_TYPES of Node lacks @classmethod"),
        (NODE.replace("(cls)", "()"), "TypeError: INPUT_TYPES of Node is a classmethod without a parameter"),
        (NODE.replace("(cls)", "(cls, x)"), "TypeError: INPUT_TYPES of Node needs arguments, and ComfyUI passes none"),
        (
            NODE.replace("(cls)", "(cls, *, x)"),
            "TypeError: INPUT_TYPES of Node needs arguments, and ComfyUI passes none",
        ),
        (
            "class Node:\n    RETURN_TYPES = ()\n    INPUT_TYPES = {}",
            "TypeError: INPUT_TYPES of Node is not a function",
        ),
        (NODE.replace('return {"required": {}}', "pass"), "AttributeError: INPUT_TYPES of Node returns nothing"),
        (NODE.replace('{"required": {}}', "()"), "AttributeError: INPUT_TYPES of Node does not return a dict"),
        (
            NODE.replace('{"required": {}}', "{'required': ('x',)}"),
            "AttributeError: a group of INPUT_TYPES of Node is not a dict",
        ),
        (
            NODE.replace('RETURN_TYPES = ("IMAGE",)', "RETURN_TYPES = None"),
            "TypeError: RETURN_TYPES of Node is None, which has no length",
        ),
    ],
)
def test_class_that_cannot_be_listed_has_a_fault(tmp_path: Path, source: str, fault: str) -> None:
    assert find_fault(tmp_path, source) == fault


def test_inputs_that_only_raise_are_reported_by_their_error(tmp_path: Path) -> None:
    assert find_fault(tmp_path, NODE.replace('return {"required": {}}', "raise NotImplementedError")) == ""
