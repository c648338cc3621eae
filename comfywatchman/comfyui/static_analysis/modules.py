"""The Python files of one pack, found and parsed when they are needed, never imported."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.comfyui.static_analysis.values import ROOT_NAME, ClassRef, NameScope, SourceModule

MAX_SOURCE_BYTES: Final = 2 << 20
"""A larger source file is not read; the largest real node file seen has 0.6 MB."""

MAX_TREE_BYTES: Final = 3 << 20
"""More source than this is not parsed at once: its syntax trees take about 45 times as much memory."""


@dataclass(slots=True)
class SourceTree:
    """The source of one pack.

    Attributes:
        root: The pack's folder, or the folder that holds a one-file pack.
        own_names: Top-level names that an absolute import may find inside the pack.
        problems: What could not be read, in words.
        modules: What was parsed so far; None where there is no such module.
        held_bytes: Size of the source whose trees are in memory.
    """

    root: Path
    own_names: frozenset[str]
    problems: list[str] = field(default_factory=list)
    modules: dict[tuple[str, ...], SourceModule | None] = field(default_factory=dict)
    held_bytes: int = 0

    def module(self, parts: tuple[str, ...]) -> SourceModule | None:
        """Return the module at a dotted place, parsed at most once; None when there is none."""
        if parts not in self.modules:
            self.modules[parts] = self._find(parts)
        return self.modules[parts]

    def add_file(self, parts: tuple[str, ...], path: Path) -> SourceModule | None:
        """Parse a file and let it stand at a dotted place; None when it cannot be parsed."""
        module = self._parse(parts, path, is_package=path.name == "__init__.py")
        self.modules[parts] = module
        return module

    def imported(self, importer: SourceModule, dotted: str, level: int) -> SourceModule | None:
        """Return the pack's module that an import names; None for modules outside the pack."""
        parts = tuple(dotted.split(".")) if dotted else ()
        if level == 0:
            if parts and parts[0] == ROOT_NAME:
                return self.module(parts[1:])
            return self.module(parts) if parts and parts[0] in self.own_names else None
        base = importer.package
        if level - 1 > len(base):
            return None
        return self.module(base[: len(base) - level + 1] + parts)

    def is_missing(self, importer: SourceModule, dotted: str, level: int) -> bool:
        """Say whether a relative import surely names a module that is not in the pack, compiled ones included."""
        above = importer.package[: len(importer.package) - level + 1]
        place = self.root.joinpath(*above, *dotted.split("."))
        is_inside = level - 1 <= len(importer.package)
        return is_inside and not os.path.isdir(place) and not any(place.parent.glob(f"{place.name}.*"))

    def forget(self, keep: Collection[tuple[str, ...]]) -> None:
        """Let go of all trees but those to keep; circles are cut by hand, so that their memory is free at once."""
        for parts in [parts for parts in self.modules if parts not in keep]:
            module = self.modules.pop(parts)
            if module is not None:
                _clear_scope(module.scope)
                module.tree.body.clear()
        self.held_bytes = 0

    def _find(self, parts: tuple[str, ...]) -> SourceModule | None:
        if not all(part.isidentifier() for part in parts):
            return None
        place = self.root.joinpath(*parts)
        candidates = [place / "__init__.py"]
        if parts:
            candidates.append(place.with_name(f"{parts[-1]}.py"))
        for path in candidates:
            if os.path.isfile(path):
                return self._parse(parts, path, is_package=path.name == "__init__.py")
        if parts and os.path.isdir(place):
            return SourceModule(parts=parts, is_package=True, tree=ast.Module(body=[], type_ignores=[]))
        return None

    def _parse(self, parts: tuple[str, ...], path: Path, *, is_package: bool) -> SourceModule | None:
        name = printable_path(path.relative_to(self.root) if path.is_relative_to(self.root) else path)
        try:
            content = read_regular(path, max_bytes=MAX_SOURCE_BYTES)
            self.held_bytes += len(content)
            if self.held_bytes > MAX_TREE_BYTES:
                self.problems.append(f"{name} was not read: the pack has too much source")
                return None
            tree = parse_source(content)
        except Failure as failure:
            self.problems.append(f"{name}: {failure.message}")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            self.problems.append(f"{name} is no readable Python: {_first_line(error)}")
        else:
            return SourceModule(parts=parts, is_package=is_package, tree=tree)
        return None


def parse_source(content: bytes) -> ast.Module:
    """Parse Python source without running any of it.

    Raises:
        SyntaxError: It is no Python that this interpreter knows.
        ValueError: It holds NUL bytes.
        RecursionError: It is nested too deep.
        MemoryError: The same, as the parser says it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(content)


def _clear_scope(scope: NameScope) -> None:
    for value in scope.names.values():
        if isinstance(value, ClassRef) and value.body is not None:
            value.body.names.clear()
    scope.names.clear()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
