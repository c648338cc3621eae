from __future__ import annotations

import ast
from pathlib import Path

from comfywatchman.comfyui.static_analysis.module_names import ModuleNames
from comfywatchman.comfyui.static_analysis.outline_source import OutlineSource


def test_faults_are_looked_for_in_the_same_module() -> None:
    tree, path = ast.parse("x = 1"), Path("/pack/one.py")
    source = OutlineSource(tree, b"x = 1", ModuleNames(frozenset({"x"})), ("one",), (), path=path, root=path.parent)
    faults = source.faults
    assert (faults.tree, faults.content, faults.path, faults.root) == (tree, b"x = 1", path, path.parent)
    assert source.faults is faults
