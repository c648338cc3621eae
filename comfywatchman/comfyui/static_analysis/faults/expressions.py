"""The errors that expressions raise when a module is imported, as far as its source shows them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from comfywatchman.comfyui.static_analysis.faults.constants import ConstantFolder, FoldedError
from comfywatchman.comfyui.static_analysis.faults.name_uses import NameUses
from comfywatchman.comfyui.static_analysis.import_steps import FaultStep, ReadStep, Step
from comfywatchman.comfyui.static_analysis.outline_names import NameTable
from comfywatchman.comfyui.static_analysis.paths import PackFiles, get_text
from comfywatchman.comfyui.static_analysis.values import PathValue

_ENVIRONMENT: Final = "os.environ"
_ALWAYS_SET: Final = frozenset({"HOME", "PATH"})
_FOLDER_TABLE: Final = "folder_paths.folder_names_and_paths"
_FOLDER_FUNCTIONS: Final = frozenset({"folder_paths.get_filename_list", "folder_paths.get_folder_paths"})
_READERS: Final = frozenset(
    {"PIL.Image.open", "codecs.open", "io.open", "numpy.load", "os.listdir", "os.path.getmtime", "os.path.getsize"}
    | {"os.scandir", "os.stat", "torch.load"}
)
_PATH_READERS: Final = frozenset({"iterdir", "open", "read_bytes", "read_text", "stat"})
_WRITING: Final = re.compile(
    rb"""makedirs|mkdir|copy|write_text|write_bytes|urlretrieve|extract|download|rename|move|touch|\.save"""
    rb"""|open\([^\n]*["'][rb]*[wax+]"""
)
"""Code of a module that may create the files which it reads."""


def name_variable(name: str) -> str:
    """Return how a variable of the process environment stands among the names that packs set."""
    return f"environ[{name}]"


def name_folder(name: str) -> str:
    """Return how a model folder stands among the names that packs set."""
    return f"folder[{name}]"


def split_folder_name(name: str) -> str | None:
    """Return the model folder that such a name stands for; None for other names."""
    return name[7:-1] if name.startswith("folder[") else None


@dataclass(frozen=True)
class FaultSource:
    """The module in which faults are looked for.

    Attributes:
        tree: Its syntax tree.
        content: Its source.
        path: Its file; None when it has none.
        root: The folder of the pack, or its one file.
        is_open: Whether code that is not followed may bind its names.
    """

    tree: ast.Module
    content: bytes = b""
    path: Path | None = None
    root: Path = field(default_factory=Path)
    is_open: bool = False

    @cached_property
    def uses(self) -> NameUses:
        """How it uses its names."""
        return NameUses(self.tree)

    @cached_property
    def files(self) -> PackFiles:
        """The files of the pack."""
        return PackFiles(self.root)

    @cached_property
    def may_write(self) -> bool:
        """Whether it may create the files that it reads."""
        return _WRITING.search(self.content) is not None


class FaultFinder:
    """Finds faults in the expressions of a module or function.

    Args:
        source: The module.
        table: What the names stand for.
        is_function: Whether the expressions are those of a function, which may be called at any time.
    """

    def __init__(self, source: FaultSource, table: NameTable, *, is_function: bool) -> None:
        self._source = source
        self._table = table
        self._is_function = is_function
        path = None if source.path is None else str(source.path.absolute())
        definitions = {} if source.is_open else table.definitions
        table = replace(table, definitions=definitions)
        self._folder = ConstantFolder(table, source.uses, source.files, path)

    def find(self, node: ast.AST) -> Iterator[Step]:
        """Yield the fault of an expression itself, without those of its parts."""
        match node:
            case ast.Subscript(ctx=ast.Load()):
                yield from self._find_of_subscript(node)
            case ast.Call():
                yield from self._find_of_call(node)
            case ast.BinOp() | ast.Attribute(ctx=ast.Load()):
                yield from self._find_of_constants(node)

    def _find_of_subscript(self, node: ast.Subscript) -> Iterator[Step]:
        dotted = self._table.get_dotted_name(node.value)
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if dotted == _ENVIRONMENT and isinstance(key, str):
            if key not in _ALWAYS_SET:
                text = f"the environment variable {key} may not be set"
                yield FaultStep(node.lineno, "KeyError", text, (name_variable(key),), is_certain=False)
        elif dotted == _FOLDER_TABLE and isinstance(key, str):
            yield _build_folder_fault(node.lineno, key)
        elif dotted is None:
            yield from self._find_of_constants(node)

    def _find_of_call(self, node: ast.Call) -> Iterator[Step]:
        dotted = self._table.get_dotted_name(node.func)
        if dotted in _FOLDER_FUNCTIONS and node.args:
            folder = self._folder.fold(node.args[0])
            if isinstance(folder, str):
                yield _build_folder_fault(node.lineno, folder)
            return
        path = self._find_read_path(node, dotted)
        if path is not None:
            yield from self._find_of_path(node.lineno, path)
        elif dotted is None:
            yield from self._find_of_constants(node)

    def _find_of_constants(self, node: ast.expr) -> Iterator[Step]:
        self._folder.used_names, self._folder.has_mutable = set(), False
        try:
            self._folder.evaluate(node)
        except FoldedError as error:
            # A function may be called after another module has changed the list or dict.
            is_certain = not (self._is_function and self._folder.has_mutable)
            names = tuple(sorted(self._folder.used_names))
            yield FaultStep(node.lineno, error.error, error.text, names, is_certain=is_certain)

    def _find_read_path(self, node: ast.Call, dotted: str | None) -> str | None:
        """Return the path that a call reads; None for a call that reads nothing, or where it is not known."""
        function = node.func
        if isinstance(function, ast.Attribute) and dotted is None:
            owner = self._folder.fold(function.value) if function.attr in _PATH_READERS else None
            is_read = function.attr != "open" or _is_read_mode(node.args, node.keywords)
            return owner.text if isinstance(owner, PathValue) and is_read else None
        is_open = isinstance(function, ast.Name) and function.id == "open" and not self._source.uses.bindings["open"]
        if not node.args or not (is_open or dotted in _READERS):
            return None
        if (is_open or str(dotted).endswith(".open")) and not _is_read_mode(node.args[1:], node.keywords):
            return None
        return get_text(self._folder.fold(node.args[0]))

    def _find_of_path(self, line: int, path: str) -> Iterator[Step]:
        if self._source.may_write:
            return
        parts = self._source.files.find_parts(path)
        if parts:
            yield ReadStep(line, "/".join(parts), is_own=True)
        elif parts is None and path and not Path(path).is_absolute():
            yield ReadStep(line, path, is_own=False)


def _build_folder_fault(line: int, folder: str) -> FaultStep:
    text = f"ComfyUI has no model folder {folder!r}"
    return FaultStep(line, "KeyError", text, (name_folder(folder),), is_certain=False)


def _is_read_mode(arguments: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> bool:
    """Return whether a call of `open` certainly only reads."""
    modes = [*arguments[:1], *(keyword.value for keyword in keywords if keyword.arg == "mode")]
    if any(keyword.arg is None for keyword in keywords):
        return False
    return all(isinstance(mode, ast.Constant) and mode.value in {"r", "rb", "rt", "br"} for mode in modes)
