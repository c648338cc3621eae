"""The Python files of a pack, found and parsed on demand, never imported."""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.comfyui.static_analysis.paths import PackFiles
from comfywatchman.comfyui.static_analysis.values import ROOT_NAME, ClassRef, NameScope, SourceModule, Value

MAX_SOURCE_BYTES: Final = 2 << 20
"""The largest source file that is read; the largest real node file seen has 0.6 MB."""

MAX_TREE_BYTES: Final = 3 << 20
"""The most source that is parsed at once: syntax trees take about 45 times as much memory."""

AS_INPUT: Final = ".as_input"
"""Ends the name of the method by which enumerations of ComfyUI's API list their values as choices."""

_API_PACKAGE: Final = "comfy_api."
_API_ENUMERATIONS: Final = "comfy_api/latest/_util/*.py"
_ALL_MEMBERS: Final = "[member.value for member in cls]"
_MODULE_SUFFIXES: Final = frozenset({".py", ".pyc", ".pyd", ".so"})


@dataclass(slots=True)
class CallImports:
    """The modules that the calls in one line of the source load.

    Attributes:
        modules: Their dotted names, each with whether it is certainly loaded.
        missing_files: Files that do not exist, below the pack's folder.
        errors: Errors that are raised instead, by the name of their class, each with its message.
        is_known: Whether the names of all modules are known.
        sites: The calls of the functions around it: module and line.
        is_guarded: Whether one of these stands inside `try`.
    """

    modules: dict[str, bool] = field(default_factory=dict)
    missing_files: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    is_known: bool = True
    sites: set[tuple[tuple[str, ...], int]] = field(default_factory=set)
    is_guarded: bool = False


ImportsByLine = dict[int, CallImports]


@dataclass(slots=True)
class ModuleImports:
    """What calls in a module load, by line.

    Attributes:
        direct: Calls of `importlib.import_module` and the like.
        foreign: Calls of functions of other modules.
    """

    direct: ImportsByLine = field(default_factory=dict)
    foreign: ImportsByLine = field(default_factory=dict)


@dataclass(slots=True)
class SourceTree:
    """The source of a pack.

    Attributes:
        root: The pack's folder, or the folder that holds a one-file pack.
        own_names: Top-level names that an absolute import may find inside the pack.
        problems: Files that could not be read, for people.
        modules: The modules parsed so far; None for one that does not exist.
        held_bytes: Size of the source whose syntax trees are in memory.
        syntax_errors: Why a module is not valid Python, for people.
        loads: What calls load, by module.
        marks: Lines of guarded statements that register nodes, by module.
        path_folders: Folders of the pack that it puts on Python's path, each with whether it comes first there.
        has_hidden_names: Whether code that is not followed may bind names.
        files: The files of the pack.
    """

    root: Path
    own_names: frozenset[str]
    problems: list[str] = field(default_factory=list)
    modules: dict[tuple[str, ...], SourceModule | None] = field(default_factory=dict)
    held_bytes: int = 0
    syntax_errors: dict[tuple[str, ...], str] = field(default_factory=dict)
    loads: dict[tuple[str, ...], ModuleImports] = field(default_factory=dict)
    marks: dict[tuple[str, ...], set[int]] = field(default_factory=dict)
    path_folders: dict[tuple[str, ...], bool] = field(default_factory=dict)
    has_hidden_names: bool = False
    files: PackFiles = field(init=False)

    def __post_init__(self) -> None:
        self.files = PackFiles(self.root)

    def get_module(self, parts: tuple[str, ...]) -> SourceModule | None:
        """Return the module with a dotted name, parsed at most once; None if it does not exist."""
        if parts not in self.modules:
            self.modules[parts] = self._find(parts)
        return self.modules[parts]

    def add_file(self, parts: tuple[str, ...], path: Path) -> SourceModule | None:
        """Parse a file as the module with a dotted name; None if it cannot be parsed."""
        module = self._parse(parts, path, is_package=path.name == "__init__.py")
        self.modules[parts] = module
        return module

    def resolve_import(self, importer: SourceModule, dotted: str, level: int) -> SourceModule | None:
        """Return the pack's module that an import names; None for modules outside the pack.

        Args:
            importer: The module with the import statement.
            dotted: The name behind the leading dots; may be empty.
            level: Number of leading dots.
        """
        parts = tuple(dotted.split(".")) if dotted else ()
        if level > 0:
            base = importer.package
            # One dot is the package itself; each further dot goes up by one, and never out of the pack.
            if level - 1 > len(base):
                return None
            return self.get_module(base[: len(base) - level + 1] + parts)
        return self._resolve_absolute(parts) if parts else None

    def _resolve_absolute(self, parts: tuple[str, ...]) -> SourceModule | None:
        if parts[0] == ROOT_NAME:
            return self.get_module(parts[1:])
        folder = self.find_path_folder(parts[0])
        if folder is not None:
            return self.get_module((*folder, *parts))
        return self.get_module(parts) if parts[0] in self.own_names else None

    def get_loads(self, parts: tuple[str, ...]) -> ModuleImports:
        """Return what the calls in a module load, as far as they were followed."""
        return self.loads.setdefault(parts, ModuleImports())

    def add_path_folder(self, path: Value, *, is_first: bool) -> None:
        """Record a folder that the pack puts on Python's path; one outside of the pack is passed over."""
        parts = self.files.find_parts(path)
        if parts is not None:
            self.path_folders[parts] = self.path_folders.get(parts, False) or is_first

    def find_path_folder(self, name: str) -> tuple[str, ...] | None:
        """Return the folder on Python's path in which the pack has a module of this name; None without one."""
        for folder in self.path_folders:
            if not self.is_missing((*folder, name)):
                return folder
        return None

    def get_file_module(self, parts: tuple[str, ...]) -> SourceModule | None:
        """Return the module in a file; its name need not be one that an import statement could write."""
        name = parts[:-1] if parts[-1] == "__init__" else parts
        module = self.get_module(name)
        path = self.root.joinpath(*parts[:-1], f"{parts[-1]}.py")
        if module is None and name not in self.syntax_errors and path.is_file():
            module = self.add_file(name, path)
        return module

    def is_missing(self, parts: tuple[str, ...]) -> bool:
        """Return whether the pack certainly has no module of this name."""
        path = self.root.joinpath(*parts)
        # The module may be compiled: `name.cpython-312-x86_64-linux-gnu.so`.
        files = path.parent.glob(f"{path.name}.*")
        return not os.path.isdir(path) and not any(file.suffix in _MODULE_SUFFIXES for file in files)

    def find_enumeration(self, dotted: str) -> tuple[str, ...] | None:
        """Return the values of an enumeration of ComfyUI's own API that offers them as choices; None for others.

        Args:
            dotted: The name of its method, such as `comfy_api.latest.Types.VideoCodec.as_input`.
        """
        owner = dotted.removesuffix(AS_INPUT)
        name = owner.rpartition(".")[2]
        if not owner.startswith(_API_PACKAGE):
            return None
        for path in sorted(self.root.glob(_API_ENUMERATIONS)):
            try:
                content = read_regular(path, max_bytes=MAX_SOURCE_BYTES)
                body = parse_source(content).body if f"class {name}(".encode() in content else []
            except (Failure, SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            for part in body:
                if isinstance(part, ast.ClassDef) and part.name == name:
                    return _list_members(part)
        return None

    def forget(self, keep: Collection[tuple[str, ...]]) -> None:
        """Free the memory of all modules except some."""
        for parts in list(self.modules):
            if parts in keep:
                continue
            module = self.modules.pop(parts)
            if module is not None:
                _clear_module(module)
        self.held_bytes = 0

    def release(self, parts: tuple[str, ...]) -> None:
        """Free the memory of one module."""
        module = self.modules.pop(parts, None)
        if module is not None:
            self.held_bytes -= len(module.content)
            _clear_module(module)

    def find_file(self, parts: tuple[str, ...]) -> Path | None:
        """Return the file of a module; None for one that does not exist, or has no file."""
        folder = self.root.joinpath(*parts)
        candidates = [folder / "__init__.py"]
        if parts:
            candidates.append(folder.with_name(f"{parts[-1]}.py"))
        for path in candidates:
            if os.path.isfile(path):
                return path
        return None

    def _find(self, parts: tuple[str, ...]) -> SourceModule | None:
        if not all(part.isidentifier() for part in parts):
            return None
        path = self.find_file(parts)
        if path is not None:
            return self._parse(parts, path, is_package=path.name == "__init__.py")
        # A folder without `__init__.py` is a namespace package.
        if parts and os.path.isdir(self.root.joinpath(*parts)):
            return SourceModule(parts=parts, is_package=True, tree=ast.Module(body=[], type_ignores=[]))
        return None

    def _parse(self, parts: tuple[str, ...], path: Path, *, is_package: bool) -> SourceModule | None:
        name = printable_path(os.path.relpath(path, self.root))
        try:
            content = read_regular(path, max_bytes=MAX_SOURCE_BYTES)
            self.held_bytes += len(content)
            # A pack with megabytes of generated source would take gigabytes of memory.
            if self.held_bytes > MAX_TREE_BYTES:
                self.problems.append(f"{name} was not read: the pack has too much source")
                return None
            tree = parse_source(content)
        except Failure as failure:
            self.problems.append(f"{name}: {failure.message}")
        except (SyntaxError, ValueError) as error:
            self.syntax_errors[parts] = _describe_syntax_error(error)
            self.problems.append(f"{name} is not readable Python: {_first_line(error)}")
        except (RecursionError, MemoryError) as error:
            self.problems.append(f"{name} is not readable Python: {_first_line(error)}")
        else:
            return SourceModule(parts=parts, is_package=is_package, tree=tree, path=path, content=content)
        return None


def _list_members(enumeration: ast.ClassDef) -> tuple[str, ...] | None:
    """Return the texts of an enumeration whose `as_input` lists all of them; None for others."""
    members: list[str] = []
    lists_all = False
    for part in enumeration.body:
        match part:
            case ast.Assign(targets=[ast.Name()], value=ast.Constant(value=str() as value)):
                members.append(value)
            case ast.FunctionDef(name="as_input"):
                lists_all = any(
                    isinstance(inner, ast.Return)
                    and inner.value is not None
                    and ast.unparse(inner.value) == _ALL_MEMBERS
                    for inner in part.body
                )
    return tuple(members) if lists_all else None


_COMPILER_ERRORS: Final = re.compile(
    rb"^(?:return|yield|await|break|continue|nonlocal)\b|^[ \t]+from .* import \*", re.MULTILINE
)
"""Statements that are not valid everywhere, such as `return` outside a function."""


def parse_source(content: bytes) -> ast.Module:
    """Parse Python source without running any of it.

    Raises:
        SyntaxError: The source is not valid for this version of Python.
        ValueError: It holds NUL bytes.
        RecursionError: It is nested too deep.
        MemoryError: Raised by the parser for the same reason.
    """
    # Invalid escape sequences in other people's source would be reported on our standard error.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(content)
        # The parser lets pass what only the compiler refuses; compiling every file would take too long.
        if _COMPILER_ERRORS.search(content) or _has_late_future_import(tree):
            compile(tree, "<pack>", "exec", dont_inherit=True)
    return tree


def _has_late_future_import(tree: ast.Module) -> bool:
    """Return whether `from __future__` comes after a statement that may not be before it."""
    is_late = False
    for index, statement in enumerate(tree.body):
        is_future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        if is_future and is_late:
            return True
        is_docstring = index == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        is_late = is_late or not (is_future or is_docstring)
    return False


def _clear_module(module: SourceModule) -> None:
    # The garbage collector is paused during the analysis, so reference cycles are cut here.
    _clear_scope(module.scope)
    module.tree.body.clear()
    module.content = b""


def _clear_scope(scope: NameScope) -> None:
    for value in scope.names.values():
        if isinstance(value, ClassRef) and value.body is not None:
            value.body.names.clear()
    scope.names.clear()


def _describe_syntax_error(error: SyntaxError | ValueError) -> str:
    if not isinstance(error, SyntaxError):
        return _first_line(error)
    return f"line {error.lineno or '?'}: {error.msg}"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]
