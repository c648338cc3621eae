"""What a name stands for after a piece of source was followed."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.statements import AbstractInterpreter
from comfywatchman.comfyui.static_analysis.values import AbstractDict, AbstractList


def value_of(folder: Path, source: str, name: str = "x") -> Any:
    """Return what a name stands for: a list, dict or constant as Python has it, with `...` for what may come after."""
    (folder / "__init__.py").write_text(dedent(source), "utf-8")
    reader = AbstractInterpreter(SourceTree(folder, frozenset()))
    module = reader.tree.get_module(())
    assert module is not None
    reader.run(module)
    return plain(reader.look_up(name, module.scope))


def plain(value: Any) -> Any:
    """Return lists and dicts as Python has them; `...` at the end when they are open."""
    if isinstance(value, AbstractList):
        return [*(plain(element) for element in value.values), *([...] if value.is_open else [])]
    if isinstance(value, AbstractDict):
        known = {key: plain(element) for key, element in value.entries.items()}
        return {**known, ...: ...} if value.is_open else known
    return value
