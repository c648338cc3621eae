"""Abstract values: what static analysis knows about the value of an expression.

A list or dict is *open* when it may hold more elements than are known.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

Mark = tuple[str, int]
"""A guarded statement that registers nodes: the dotted name of its module, and its line."""

Value = Any
"""A plain constant (str, int, float, bool, None, bytes) or one of the classes below."""

MAX_ITEMS: Final = 20_000
"""Longer lists and dicts are cut and marked as open, so that growth in a loop stays harmless."""

MAX_TEXT: Final = 10_000
"""Longer text, built by concatenation, becomes unknown."""

ROOT_NAME: Final = "__pack__"
"""Stands for the name under which ComfyUI imports the pack, in its `__name__`."""


class UnknownValue:
    """The type of UNKNOWN."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = UnknownValue()
"""The value of an expression that static analysis cannot decide."""


def is_constant(value: Value) -> bool:
    """Return whether a value is a plain constant, which can be compared and used as a key."""
    return isinstance(value, str | int | float | bool | None)


def get_plain(value: Value) -> Value:
    """Return the value of a member of an enumeration, and any other value as it is."""
    return value.value if isinstance(value, EnumMember) else value


@dataclass(slots=True, eq=False)
class AbstractList:
    """A list, tuple or set.

    Attributes:
        values: The known elements, in order.
        is_open: Whether there may be further elements.
        folders: Model folders whose file names are among the elements.
        marks: For the keys, values or items of a dict: its marks, by position.
    """

    values: list[Value] = field(default_factory=list)
    is_open: bool = False
    folders: frozenset[str] = frozenset()
    marks: dict[int, frozenset[Mark]] = field(default_factory=dict)

    def extend(self, other: Value) -> None:
        """Add the elements of another value; one that is not a list leaves this list open."""
        if isinstance(other, AbstractList):
            self.values.extend(other.values)
            self.is_open = self.is_open or other.is_open
            self.folders |= other.folders
        else:
            self.is_open = True
        # `x += x` in a loop doubles the list each time.
        if len(self.values) > MAX_ITEMS:
            del self.values[MAX_ITEMS:]
            self.is_open = True

    def copy(self) -> AbstractList:
        """Return a new list with the same elements."""
        return AbstractList(list(self.values), self.is_open, self.folders, dict(self.marks))


@dataclass(slots=True, eq=False)
class AbstractDict:
    """A dict.

    Attributes:
        entries: The known entries, in order.
        possible_keys: Keys of entries that only an undecided branch adds.
        is_open: Whether there may be further keys.
        marks: The guarded statements (inside `try`) that add a key; none for a key that is added without a guard.
    """

    entries: dict[Value, Value] = field(default_factory=dict)
    possible_keys: set[Value] = field(default_factory=set)
    is_open: bool = False
    marks: dict[Value, frozenset[Mark]] = field(default_factory=dict)

    def put(self, key: Value, value: Value, *, is_certain: bool) -> None:
        """Set a key; one that is not a plain constant leaves the dict open.

        Args:
            key: The key.
            value: Its value.
            is_certain: Whether the assignment certainly happens.
        """
        if not is_constant(key) or len(self.entries) >= MAX_ITEMS:
            self.is_open = True
            return
        if is_certain:
            self.possible_keys.discard(key)
            self.marks.pop(key, None)
        elif key not in self.entries:
            self.possible_keys.add(key)
        self.entries[key] = value

    def update(self, other: Value, *, is_certain: bool) -> None:
        """Set the keys of another value; one that is not a dict leaves this dict open."""
        if not isinstance(other, AbstractDict):
            self.is_open = True
            return
        for key, value in list(other.entries.items()):
            is_guarded = key in other.marks and (key not in self.entries or key in self.marks)
            self.put(key, value, is_certain=is_certain and key not in other.possible_keys)
            if is_guarded:
                self.marks[key] = other.marks[key]
        self.is_open = self.is_open or other.is_open

    def list_marks(self) -> dict[int, frozenset[Mark]]:
        """Return the marks of the keys, by their position."""
        if not self.marks:
            return {}
        return {position: self.marks[key] for position, key in enumerate(self.entries) if key in self.marks}

    def copy(self) -> AbstractDict:
        """Return a new dict with the same entries."""
        return AbstractDict(dict(self.entries), set(self.possible_keys), self.is_open, dict(self.marks))


@dataclass(slots=True, eq=False)
class Record(AbstractList):
    """A tuple or object with named parts: an entry of `os.scandir`, a module of `pkgutil.iter_modules`.

    Attributes:
        fields: The names of its elements.
    """

    fields: tuple[str, ...] = ()

    def get_field(self, name: str) -> Value:
        """Return a part by its name; UNKNOWN for a name that it does not have."""
        return self.values[self.fields.index(name)] if name in self.fields else UNKNOWN


@dataclass(frozen=True, slots=True)
class PathValue:
    """A `pathlib.Path`."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class FileSpec:
    """A file that is loaded as a module by its path: a spec or a loader.

    Attributes:
        name: The name of the module.
        location: The path of the file.
    """

    name: Value
    location: Value


@dataclass(slots=True, eq=False)
class SourceModule:
    """A parsed file.

    Attributes:
        parts: Its dotted name inside the pack; empty for the pack itself.
        is_package: Whether it is an `__init__.py`, where one leading dot means itself.
        tree: Its syntax tree.
        path: Its file; None for a folder without `__init__.py`.
        content: Its source.
        scope: Its names, once `has_run`.
        has_run: Whether its statements were analysed, or are being analysed in an import cycle.
    """

    parts: tuple[str, ...]
    is_package: bool
    tree: ast.Module
    path: Path | None = None
    content: bytes = b""
    has_run: bool = False
    scope: NameScope = field(init=False)

    def __post_init__(self) -> None:
        self.scope = NameScope(module=self)

    @property
    def dotted(self) -> str:
        """Its `__name__`."""
        return ".".join((ROOT_NAME, *self.parts))

    @property
    def package(self) -> tuple[str, ...]:
        """The package that one leading dot of an import means."""
        if self.is_package:
            return self.parts
        return self.parts[:-1]


@dataclass(slots=True, eq=False)
class NameScope:
    """Names and their values, in a module, class or function."""

    module: SourceModule
    parent: NameScope | None = None
    names: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class ClassRef:
    """A class of the pack; its body is analysed at the first access to an attribute."""

    scope: NameScope
    node: ast.ClassDef
    body: NameScope | None = None


@dataclass(slots=True, eq=False)
class ClassInstance:
    """An object of a class of the pack.

    Attributes:
        of: Its class.
        attributes: Its own attributes, as far as they are known; UNKNOWN for one that may have several values.
    """

    of: ClassRef
    attributes: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EnumMember:
    """A member of an enumeration of the pack that a loop visits. An attribute of the class is only its value."""

    name: str
    value: Value


@dataclass(slots=True, eq=False)
class FuncRef:
    """A function of the pack, possibly bound to its first argument."""

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
    """A method of a list, dict or text."""

    owner: Value
    name: str


@dataclass(slots=True, eq=False)
class DeferredValue:
    """The right side of an assignment, evaluated at the first use of the name."""

    expression: ast.expr
    scope: NameScope


@dataclass(slots=True, eq=False)
class DeferredImport:
    """A name imported from a module of the pack, resolved at its first use."""

    module: SourceModule
    name: str


@dataclass(slots=True, eq=False)
class V3InputSpec:
    """A V3 input (`io.Combo.Input("name", options=…)`).

    Attributes:
        kind: `Combo`, `Int`, `Model`, …
        name: Input id; UNKNOWN when it is computed.
        options: The choices of a combo; None for other inputs.
        keywords: All keyword arguments.
        arguments: All positional arguments.
    """

    kind: str
    name: Value
    options: Value
    keywords: dict[str, Value]
    arguments: list[Value] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class V3Part:
    """Another part of a V3 schema: an output, the template of a growing input, an option of a dynamic combo.

    Attributes:
        kind: Its type and role (`Image.Output`, `Autogrow.TemplatePrefix`, `DynamicCombo.Option`).
        arguments: Its positional arguments.
        keywords: Its keyword arguments.
    """

    kind: str
    arguments: list[Value]
    keywords: dict[str, Value]


@dataclass(slots=True, eq=False)
class NodeSchema:
    """A V3 node description (`io.Schema(node_id=…, inputs=[…], outputs=[…], is_output_node=…)`)."""

    node_id: Value
    inputs: Value
    outputs: Value = UNKNOWN
    is_output_node: Value = UNKNOWN


def join_values(values: list[Value]) -> Value:
    """Return a value that covers several: the union of lists or dicts, an equal constant, or UNKNOWN."""
    first = values[0]
    if len(values) == 1 or all(value is first for value in values):
        return first
    dicts = [value for value in values if isinstance(value, AbstractDict)]
    if dicts:
        return _join_dicts(dicts, is_open=len(dicts) < len(values))
    lists = [value for value in values if isinstance(value, AbstractList)]
    if lists:
        return _join_lists(lists, is_open=len(lists) < len(values))
    are_constants = all(map(is_constant, values))
    if are_constants and all(value == first for value in values):
        return first
    return UNKNOWN


def join_with_previous(previous: Value, value: Value) -> Value:
    """Return the value of a name that an undecided branch binds again."""
    if isinstance(previous, AbstractList | AbstractDict):
        # A copy: the branch may change the new value, and must not change the previous one with it.
        copy = previous.copy()
        if isinstance(value, AbstractList | AbstractDict):
            return join_values([copy, value])
        return copy
    if isinstance(previous, str | int | float):
        return join_values([previous, value])
    return value


def _join_dicts(dicts: list[AbstractDict], *, is_open: bool) -> AbstractDict:
    keys: dict[Value, None] = {}
    for table in dicts:
        keys.update(dict.fromkeys(table.entries))
        # Different keys mean that the source did more than was understood.
        is_open = is_open or table.is_open or list(table.entries) != list(dicts[0].entries)
    joined = AbstractDict(is_open=is_open)
    for key in keys:
        owners = [table for table in dicts if key in table.entries]
        is_possible_only = any(key in table.possible_keys for table in owners)
        value = join_values([table.entries[key] for table in owners])
        joined.put(key, value, is_certain=len(owners) == len(dicts) and not is_possible_only)
        if all(key in table.marks for table in owners):
            joined.marks[key] = owners[0].marks[key]
    return joined


def _join_lists(lists: list[AbstractList], *, is_open: bool) -> AbstractList:
    joined = lists[0].copy()
    for other in lists[1:]:
        joined.extend(other)
    joined.is_open = joined.is_open or is_open
    return joined
