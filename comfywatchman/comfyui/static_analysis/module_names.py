"""Find the names that a module binds when it is imported, from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

_SEPARATORS: Final = (":", "?")

OWN: Final = "."
"""Begins the dotted name of a module of the pack itself: `.py.nodes`; `.` alone is the pack."""

BEYOND: Final = "attempted relative import beyond the top-level package"

_HIDDEN_BINDINGS: Final = (
    *(b"globals()", b"vars()", b"locals()", b"exec(", b"modules[__name__"),
    *(b"\ndef __getattr__", b"\n__getattr__ ="),
)
"""Code that may bind names which no statement shows."""

_GLOBAL_STATEMENT: Final = re.compile(rb"^[ \t]+global[ \t]+(\w+(?:[ \t]*,[ \t]*\w+)*)", re.MULTILINE)


class ModuleNames(msgspec.Struct, frozen=True, array_like=True):
    """The names that a module binds.

    Attributes:
        names: Names that its statements bind, under conditions too.
        origins: What names that only one import statement binds stand for, as dotted names.
        stars: Modules of which it imports all names.
        is_open: Whether code that is not followed may bind other names.
        public: The names that `from … import *` takes from it (`__all__`); None when it does not list them.
    """

    names: frozenset[str]
    origins: dict[str, str] = {}
    stars: tuple[str, ...] = ()
    is_open: bool = False
    public: frozenset[str] | None = None

    def binds(self, module: str, name: str) -> bool:
        """Return whether the module binds a name that others can import from it.

        Args:
            module: Its own dotted name.
            name: The name.
        """
        # `from . import x` looks for a module `x`: the name that it binds itself does not count.
        return name in self.names and self.origins.get(name) != join_dotted(module, name)


NO_NAMES: Final = ModuleNames(frozenset(), is_open=True)
"""The names of a module that could not be read."""


def read_module_names(tree: ast.Module, content: bytes, package: Sequence[str], *, prefix: str) -> ModuleNames:
    """Read the names that a module binds.

    Args:
        tree: Its syntax tree.
        content: Its source.
        package: The package that one leading dot of an import means.
        prefix: `OWN` for a module of a pack, nothing for a module of ComfyUI.
    """
    collector = _NameCollector(tuple(package), prefix, has_walrus=b":=" in content)
    collector.visit_block(tree.body)
    if b"global" in content:
        for match in _GLOBAL_STATEMENT.finditer(content):
            collector.names.update(name.strip().decode() for name in match.group(1).split(b","))
    source = b"\n" + content
    return ModuleNames(
        names=frozenset(collector.names),
        origins=collector.origins,
        stars=tuple(dict.fromkeys(collector.stars)),
        is_open=collector.is_open or any(code in source for code in _HIDDEN_BINDINGS),
        public=_read_public_names(tree) if b"__all__" in content else None,
    )


def resolve_module(package: Sequence[str], module: str | None, level: int, *, prefix: str) -> str | None:
    """Return the dotted name of the module in `from … import`; None for one beyond the top-level package.

    Args:
        package: The package that one leading dot means.
        module: The name behind the dots.
        level: Number of leading dots.
        prefix: `OWN` for a module of a pack, nothing for a module of ComfyUI.
    """
    parts = module.split(".") if module else []
    if level == 0:
        return ".".join(parts)
    # One dot is the package itself; each further dot goes up by one.
    if level - 1 > len(package) or (level - 1 == len(package) and prefix != OWN):
        return None
    parents = package[: len(package) - level + 1]
    return prefix + ".".join((*parents, *parts))


def join_dotted(module: str, name: str) -> str:
    """Return the dotted name of a name in a module."""
    return f"{module}{name}" if module in {"", OWN} or module.endswith(_SEPARATORS) else f"{module}.{name}"


def split_module_name(module: str) -> tuple[str, tuple[str, ...]]:
    """Return how the name of a module of a pack begins, and its parts behind that.

    A module that Python finds through `sys.path`, or by its file, belongs to a top-level package of its own: then the
    beginning is the folder with a colon (`.lib:` in `.lib:own.config`), or with a question mark when the name under
    which the file is loaded is not known.
    """
    for separator in _SEPARATORS:
        folder, found, inner = module.partition(separator)
        if found:
            return folder + separator, tuple(inner.split("."))
    return OWN, tuple(part for part in module.split(".") if part)


def split_location(module: str) -> tuple[str, ...]:
    """Return where the file of a module lies, as parts below the pack's folder."""
    prefix, parts = split_module_name(module)
    folder = [part for part in prefix.rstrip("".join(_SEPARATORS)).split(".") if part]
    return (*folder, *(part for part in parts if part))


def iter_packages(module: str) -> Iterator[str]:
    """Yield the packages around a module of a pack, from the outside in, and the module itself."""
    prefix, parts = split_module_name(module)
    if prefix == OWN:
        yield OWN
    for length in range(1, len(parts) + 1):
        yield prefix + ".".join(parts[:length])


def build_module_name(parts: Sequence[str]) -> str:
    """Return the dotted name of a module of a pack: `.py.nodes`; `.` for the pack itself."""
    return OWN + ".".join(parts)


def iter_bound_names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement itself binds, without those of the blocks inside it; `*` for a star import."""
    match statement:
        case ast.Import():
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0]
        case ast.ImportFrom():
            for alias in statement.names:
                yield alias.asname or alias.name
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case _:
            for target in _list_targets(statement):
                yield from _iter_targets(target)


def _list_targets(statement: ast.stmt) -> list[ast.expr]:
    match statement:
        case ast.Assign():
            return statement.targets
        case ast.AnnAssign() | ast.AugAssign() | ast.For() | ast.AsyncFor():
            return [statement.target]
        case ast.With() | ast.AsyncWith():
            return [item.optional_vars for item in statement.items if item.optional_vars is not None]
    return []


def list_blocks(statement: ast.stmt) -> list[Sequence[ast.stmt]]:
    """Return the blocks inside a statement that share its scope."""
    match statement:
        case ast.Try() | ast.TryStar():
            handlers = [handler.body for handler in statement.handlers]
            return [statement.body, *handlers, statement.orelse, statement.finalbody]
        case ast.If() | ast.For() | ast.AsyncFor() | ast.While():
            return [statement.body, statement.orelse]
        case ast.With() | ast.AsyncWith():
            return [statement.body]
        case ast.Match():
            return [case.body for case in statement.cases]
    return []


def _iter_targets(target: ast.expr) -> Iterator[str]:
    """Yield the names that an assignment to a target binds."""
    match target:
        case ast.Name():
            yield target.id
        case ast.Tuple() | ast.List():
            for element in target.elts:
                yield from _iter_targets(element)
        case ast.Starred():
            yield from _iter_targets(target.value)


def _read_public_names(tree: ast.Module) -> frozenset[str] | None:
    """Return the texts of `__all__`; None when it is computed or changed."""
    lists = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "__all__"]
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List() | ast.Tuple() as value):
                names = [item.value for item in value.elts if isinstance(item, ast.Constant)]
                if len(lists) == 1 and len(names) == len(value.elts):
                    return frozenset(name for name in names if isinstance(name, str))
    return None


class _NameCollector:
    """Collects the names that statements bind at the top level of a module."""

    def __init__(self, package: tuple[str, ...], prefix: str, *, has_walrus: bool) -> None:
        self._package = package
        self._prefix = prefix
        self._has_walrus = has_walrus
        self.names: set[str] = set()
        self.origins: dict[str, str] = {}
        self.stars: list[str] = []
        self.is_open = False

    def visit_block(self, body: Sequence[ast.stmt]) -> None:
        """Collect the names that the statements of a block bind."""
        for statement in body:
            self._visit(statement)

    def _visit(self, node: ast.stmt) -> None:
        match node:
            case ast.Import():
                for alias in node.names:
                    self._bind(alias.asname or alias.name.partition(".")[0], alias.name if alias.asname else None)
            case ast.ImportFrom():
                self._visit_import_from(node)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=original)):
                self._bind(name, self.origins.get(original, ""))
            case _:
                for name in iter_bound_names(node):
                    self._bind(name, "")
                for handler in getattr(node, "handlers", ()):
                    self._bind(handler.name, "")
                if self._has_walrus or isinstance(node, ast.Match):
                    for part in _find_expression_targets(node):
                        self._bind(part, "")
                for block in list_blocks(node):
                    self.visit_block(block)

    def _bind(self, name: str | None, origin: str | None) -> None:
        """Bind a name to what an import stands for: nothing when it is no import, the name itself when it is None."""
        if name is None:
            return
        origin = name if origin is None else origin
        # A name with several meanings stands for none of them.
        if name in self.names and self.origins.get(name) != origin:
            self.origins.pop(name, None)
        elif origin:
            self.origins[name] = origin
        self.names.add(name)

    def _visit_import_from(self, node: ast.ImportFrom) -> None:
        module = resolve_module(self._package, node.module, node.level, prefix=self._prefix)
        for alias in node.names:
            if alias.name != "*":
                self._bind(alias.asname or alias.name, "" if module is None else join_dotted(module, alias.name))
            elif module is None:
                self.is_open = True
            else:
                self.stars.append(module)


def _find_expression_targets(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that `:=` and `match` patterns bind in the expressions of a statement."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    waiting: list[ast.AST] = [part for part in ast.iter_child_nodes(statement) if not isinstance(part, ast.stmt)]
    while waiting:
        part = waiting.pop()
        match part:
            case ast.NamedExpr(target=ast.Name(id=name)) | ast.MatchStar(name=str() as name):
                yield name
            case ast.MatchAs(name=str() as name) | ast.MatchMapping(rest=str() as name):
                yield name
        waiting += [child for child in ast.iter_child_nodes(part) if not isinstance(child, ast.stmt)]
