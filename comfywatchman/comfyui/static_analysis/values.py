"""What an expression of a node pack's source may stand for, as far as reading alone can tell."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any, Final

Value = Any
"""A plain constant (str, int, float, bool, None, bytes) or one of the classes below."""

MAX_ITEMS: Final = 20_000
"""Longer lists and tables are cut and marked open: growth in a loop must stay harmless."""

MAX_TEXT: Final = 10_000
"""Longer text built by concatenation is given up as unknown."""

ROOT_NAME: Final = "__pack__"
"""What `__name__` of the pack's own package is taken for."""


class UnknownValue:
    """The one value of which nothing is known."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = UnknownValue()


@dataclass(slots=True, eq=False)
class AbstractList:
    """A list, tuple or set.

    Attributes:
        values: The elements that are known, in order.
        is_open: There may be more elements than `values`.
        folders: Model folders whose file names are among the elements.
    """

    values: list[Value] = field(default_factory=list)
    is_open: bool = False
    folders: frozenset[str] = frozenset()

    def extend(self, other: Value) -> None:
        """Add another value's elements; what is not a known list leaves this one open."""
        if isinstance(other, AbstractList):
            self.values.extend(other.values)
            self.is_open = self.is_open or other.is_open
            self.folders |= other.folders
        else:
            self.is_open = True
        if len(self.values) > MAX_ITEMS:
            del self.values[MAX_ITEMS:]
            self.is_open = True

    def copy(self) -> AbstractList:
        """Return a list of its own with the same elements."""
        return AbstractList(list(self.values), self.is_open, self.folders)


@dataclass(slots=True, eq=False)
class AbstractDict:
    """A dict.

    Attributes:
        entries: What is known, in order.
        doubtful: Keys that only an undecided branch puts in.
        is_open: There may be more keys than `entries`.
    """

    entries: dict[Value, Value] = field(default_factory=dict)
    doubtful: set[Value] = field(default_factory=set)
    is_open: bool = False

    def put(self, key: Value, value: Value, *, certain: bool) -> None:
        """Set one key; a key that is no plain constant leaves the table open."""
        if not isinstance(key, str | int | float | bool | None) or len(self.entries) >= MAX_ITEMS:
            self.is_open = True
            return
        if certain:
            self.doubtful.discard(key)
        elif key not in self.entries:
            self.doubtful.add(key)
        self.entries[key] = value

    def update(self, other: Value, *, certain: bool) -> None:
        """Take over another value's keys; what is not a known dict leaves the table open."""
        if not isinstance(other, AbstractDict):
            self.is_open = True
            return
        for key, value in list(other.entries.items()):
            self.put(key, value, certain=certain and key not in other.doubtful)
        self.is_open = self.is_open or other.is_open

    def copy(self) -> AbstractDict:
        """Return a table of its own with the same entries."""
        return AbstractDict(dict(self.entries), set(self.doubtful), self.is_open)


@dataclass(slots=True, eq=False)
class SourceModule:
    """One parsed file.

    Attributes:
        parts: Its dotted place inside the pack; empty for the pack itself.
        is_package: It is an `__init__.py`, so that one dot means itself.
        tree: Its statements.
        scope: Its names, once `has_run`.
        has_run: Its statements were read (or are being read, in an import circle).
    """

    parts: tuple[str, ...]
    is_package: bool
    tree: ast.Module
    has_run: bool = False
    scope: NameScope = field(init=False)

    def __post_init__(self) -> None:
        self.scope = NameScope(module=self)

    @property
    def dotted(self) -> str:
        """Return what the module would call `__name__`."""
        return ".".join((ROOT_NAME, *self.parts))

    @property
    def package(self) -> tuple[str, ...]:
        """Return the place that one leading dot of an import means."""
        return self.parts if self.is_package else self.parts[:-1]


@dataclass(slots=True, eq=False)
class NameScope:
    """Names and what they stand for, in a module, class or function."""

    module: SourceModule
    parent: NameScope | None = None
    names: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class ClassRef:
    """A class of the pack; its body is read when an attribute is asked for."""

    scope: NameScope
    node: ast.ClassDef
    body: NameScope | None = None


@dataclass(slots=True, eq=False)
class ClassInstance:
    """An object of a class of the pack."""

    of: ClassRef


@dataclass(slots=True, eq=False)
class FuncRef:
    """A function of the pack, bound to its first argument or not."""

    scope: NameScope
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    bound: Value = None
    is_bound: bool = False


@dataclass(slots=True, eq=False)
class ModuleRef:
    """A module of the pack."""

    module: SourceModule


@dataclass(frozen=True, slots=True)
class ExternalName:
    """Something outside the pack, by its dotted name (`folder_paths.get_filename_list`)."""

    name: str


@dataclass(slots=True, eq=False)
class BoundMethod:
    """A method of a list, dict or text, not called yet."""

    owner: Value
    name: str


@dataclass(slots=True, eq=False)
class DeferredValue:
    """An assignment whose right side is read when somebody needs it."""

    expression: ast.expr
    scope: NameScope


@dataclass(slots=True, eq=False)
class DeferredImport:
    """A name imported from a module of the pack, followed when somebody needs it."""

    module: SourceModule
    name: str


@dataclass(slots=True, eq=False)
class V3InputSpec:
    """One V3 input (`io.Combo.Input("name", options=…)`).

    Attributes:
        kind: `Combo`, `Int`, `Model`, …
        name: Input id; UNKNOWN when it is computed.
        options: The combo's options; None when the input has none.
        keywords: Every keyword argument.
    """

    kind: str
    name: Value
    options: Value
    keywords: dict[str, Value]


@dataclass(slots=True, eq=False)
class NodeSchema:
    """A V3 node description (`io.Schema(node_id=…, inputs=[…])`)."""

    node_id: Value
    inputs: Value


def join_values(values: list[Value]) -> Value:
    """Return what stands for any of several values: their union for lists and dicts, else unknown unless equal."""
    first = values[0]
    if len(values) == 1 or all(value is first for value in values):
        return first
    tables = [value for value in values if isinstance(value, AbstractDict)]
    if tables:
        return _join_dicts(tables, is_open=len(tables) < len(values))
    lists = [value for value in values if isinstance(value, AbstractList)]
    if lists:
        return _join_lists(lists, is_open=len(lists) < len(values))
    plain = all(isinstance(value, str | int | float | bool | None) for value in values)
    return first if plain and all(value == first for value in values) else UNKNOWN


def _join_dicts(tables: list[AbstractDict], *, is_open: bool) -> AbstractDict:
    same_keys = all(list(table.entries) == list(tables[0].entries) for table in tables)
    joined = AbstractDict(is_open=is_open or not same_keys or any(table.is_open for table in tables))
    for key in {key: None for table in tables for key in table.entries}:
        owners = [table for table in tables if key in table.entries]
        certain = len(owners) == len(tables) and not any(key in table.doubtful for table in owners)
        joined.put(key, join_values([table.entries[key] for table in owners]), certain=certain)
    return joined


def _join_lists(lists: list[AbstractList], *, is_open: bool) -> AbstractList:
    joined = lists[0].copy()
    for other in lists[1:]:
        joined.extend(other)
    joined.is_open = True if is_open else joined.is_open
    return joined
