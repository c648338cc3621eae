"""Signatures of ComfyUI's node API, from its source: which arguments a call may have."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.imports.core_modules import CoreModules
from comfywatchman.comfyui.static_analysis.import_steps import ApiCallStep
from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES, parse_source

_MAX_DEPTH: Final = 12
_DECORATORS: Final = frozenset({"comfytype", "dataclass"})
_FALLBACK_BASE: Final = "ComfyTypeIO"
"""The base that the decorator `comfytype` adds to a class without one."""


@dataclass(frozen=True)
class Signature:
    """The parameters of a function, without `self`.

    Attributes:
        names: Those that may be passed by position, in order.
        keyword_only: Those that may not.
        required: Those without a default.
        takes_any_position: Whether it has `*args`.
        takes_any_keyword: Whether it has `**kwargs`.
    """

    names: tuple[str, ...]
    keyword_only: frozenset[str] = frozenset()
    required: tuple[str, ...] = ()
    takes_any_position: bool = False
    takes_any_keyword: bool = False

    def find_mismatch(self, call: ApiCallStep) -> str | None:
        """Return why Python rejects the arguments of a call, in its words; None when it accepts them."""
        if call.positional > len(self.names) and not self.takes_any_position:
            return f"it takes {len(self.names)} positional arguments but {call.positional} were given"
        positional = self.names[: call.positional]
        for name in call.keywords:
            if name in positional:
                return f"it got multiple values for argument '{name}'"
            if name not in self.names and name not in self.keyword_only and not self.takes_any_keyword:
                return f"it got an unexpected keyword argument '{name}'"
        given: Collection[str] = {*positional, *call.keywords}
        missing = [name for name in self.required if name not in given]
        if missing and not call.is_open:
            return f"it misses the required argument '{missing[0]}'"
        return None


@dataclass
class ApiSignatures:
    """The signatures of the functions and classes of ComfyUI.

    Args:
        core: ComfyUI's modules.
    """

    core: CoreModules
    _trees: dict[Path, ast.Module | None] = field(default_factory=dict)
    _signatures: dict[str, Signature | None] = field(default_factory=dict)

    def find(self, dotted: str) -> Signature | None:
        """Return the signature of a function or class by its dotted name; None when it is not known."""
        if dotted not in self._signatures:
            self._signatures[dotted] = self._find(dotted)
        return self._signatures[dotted]

    def explain_mismatch(self, step: ApiCallStep) -> str | None:
        """Return why ComfyUI rejects a call; None when it accepts it, or nothing is known of the function."""
        signature = self.find(step.name)
        if signature is not None:
            mismatch = signature.find_mismatch(step)
            if mismatch is not None:
                return mismatch
        if not (step.inputs or step.outputs):
            return None
        repeated = self.find_repeated_id(step)
        if repeated is None:
            return None
        return f"the id {repeated!r} occurs twice"

    def find_repeated_id(self, step: ApiCallStep) -> str | None:
        """Return an id for which ComfyUI rejects a schema; None when all are unique, or nothing is known."""
        validate = self._find_validation(step.name)
        if validate is None:
            return None
        repeated = [name for ids in (step.inputs, step.outputs) for name in ids if ids.count(name) > 1]
        # Up to 0.3 an output must not have the id of an input either.
        if any(isinstance(part, ast.BitAnd) for part in ast.walk(validate)):
            repeated += sorted(set(step.inputs).intersection(step.outputs))
        return next(iter(repeated), None)

    def _find_validation(self, dotted: str) -> ast.FunctionDef | None:
        definition = self.core.find_definition(dotted)
        if definition is None:
            return None
        file, names = definition
        tree = self._trees.get(file)
        if tree is None:
            return None
        validate = _ClassReader(tree).find([*names, "validate"])
        return validate if isinstance(validate, ast.FunctionDef) else None

    def _find(self, dotted: str) -> Signature | None:
        maker, call, rest = dotted.partition("().")
        definition = self.core.find_definition(maker)
        if definition is None:
            return None
        file, names = definition
        if file not in self._trees:
            self._trees[file] = _parse_file(file)
        tree = self._trees[file]
        if tree is None:
            return None
        path = list(names)
        if call:
            # `Custom("X").Input`: the rest leads into the class that the function makes.
            path += rest.split(".")
        reader = _ClassReader(tree)
        found = reader.find(path)
        if found is None:
            return None
        return reader.read_signature(found)


def _parse_file(path: Path) -> ast.Module | None:
    try:
        return parse_source(read_regular(path, max_bytes=MAX_SOURCE_BYTES))
    except (Failure, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


_Definition = ast.ClassDef | ast.FunctionDef


class _ClassReader:
    """Finds classes and their constructors in one module."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree

    def find(self, names: Sequence[str]) -> _Definition | None:
        """Return the definition that a path of names leads to: `Int`, `Input`."""
        found = _get_definition(self._tree.body, names[0])
        for name in names[1:]:
            if found is None:
                return None
            found = self._find_member(found, name, depth=0)
        return found

    def _find_member(self, owner: _Definition, name: str, *, depth: int) -> _Definition | None:
        """Return a class or function inside a class, or in its bases; in a function, in the class that it makes."""
        if isinstance(owner, ast.FunctionDef):
            inner = [part for part in owner.body if isinstance(part, ast.ClassDef)]
            if not inner:
                return None
            owner = inner[0]
        if depth > _MAX_DEPTH:
            return None
        found = _get_definition(owner.body, name)
        if found is not None:
            return found
        if _binds(owner.body, name):
            return None
        for base in self._list_bases(owner):
            found = self._find_member(base, name, depth=depth + 1)
            if found is not None:
                return found
        return None

    def _list_bases(self, owner: ast.ClassDef) -> Iterator[ast.ClassDef]:
        for base in owner.bases:
            path = ast.unparse(base).split(".")
            if not all(part.isidentifier() for part in path):
                continue
            found = self.find(path)
            # Inside its outer class, `class Input(Input)` derives from the class of the module.
            if isinstance(found, ast.ClassDef) and found is not owner:
                yield found
        if any(_get_name(decorator) == "comfytype" for decorator in owner.decorator_list):
            fallback = _get_definition(self._tree.body, _FALLBACK_BASE)
            if isinstance(fallback, ast.ClassDef) and fallback is not owner:
                yield fallback

    def read_signature(self, definition: _Definition, *, depth: int = 0) -> Signature | None:
        """Return the signature of calling a function or a class."""
        if isinstance(definition, ast.FunctionDef):
            if definition.decorator_list:
                return None
            return _read_arguments(definition.args, skipped=0)
        return self._read_constructor(definition, depth=depth)

    def _read_constructor(self, definition: ast.ClassDef, *, depth: int) -> Signature | None:
        names = {_get_name(decorator) for decorator in definition.decorator_list}
        if depth > _MAX_DEPTH or not names <= _DECORATORS or definition.keywords or _binds(definition.body, "__new__"):
            return None
        if "dataclass" in names:
            return _read_fields(definition)
        constructor = _get_definition(definition.body, "__init__")
        if isinstance(constructor, ast.FunctionDef):
            if constructor.decorator_list:
                return None
            return _read_arguments(constructor.args, skipped=1)
        for base in self._list_bases(definition):
            return self.read_signature(base, depth=depth + 1)
        return None


def _get_definition(body: Sequence[ast.stmt], name: str) -> _Definition | None:
    """Return the only definition of a name in a block; None when there is none, or several."""
    found = [part for part in body if isinstance(part, ast.ClassDef | ast.FunctionDef) and part.name == name]
    return found[0] if len(found) == 1 else None


def _binds(body: Sequence[ast.stmt], name: str) -> bool:
    """Return whether a block defines or assigns a name."""
    for part in body:
        if isinstance(part, ast.ClassDef | ast.FunctionDef) and part.name == name:
            return True
        if isinstance(part, ast.Assign) and any(ast.unparse(target) == name for target in part.targets):
            return True
    return False


def _get_name(decorator: ast.expr) -> str:
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    return ast.unparse(decorator)


def _read_arguments(arguments: ast.arguments, *, skipped: int) -> Signature:
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)][skipped:]
    # Defaults belong to the last parameters; one of them may be that of `self`, which was left out.
    required = positional[: max(0, len(positional) - len(arguments.defaults))]
    keyword_only = [argument.arg for argument in arguments.kwonlyargs]
    for name, default in zip(keyword_only, arguments.kw_defaults, strict=True):
        if default is None:
            required.append(name)
    return Signature(
        names=tuple(positional),
        keyword_only=frozenset(keyword_only),
        required=tuple(required),
        takes_any_position=arguments.vararg is not None,
        takes_any_keyword=arguments.kwarg is not None,
    )


def _read_fields(owner: ast.ClassDef) -> Signature | None:
    """Return the signature of a dataclass; None for one whose base classes or options add to it."""
    if owner.bases or any(isinstance(decorator, ast.Call) for decorator in owner.decorator_list):
        return None
    names: list[str] = []
    required: list[str] = []
    for part in owner.body:
        if not isinstance(part, ast.AnnAssign) or not isinstance(part.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(part.annotation):
            continue
        names.append(part.target.id)
        if part.value is None:
            required.append(part.target.id)
    return Signature(names=tuple(names), required=tuple(required))
