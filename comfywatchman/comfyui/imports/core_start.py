"""The Python packages that ComfyUI imports when it starts, from its source: without one of them it exits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.imports.core_modules import CoreModules
from comfywatchman.comfyui.imports.environment import PythonEnvironment
from comfywatchman.comfyui.install.start_blockers import StartBlocker
from comfywatchman.comfyui.packs.definitions import list_core_files
from comfywatchman.comfyui.static_analysis.module_names import resolve_module
from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES, parse_source

_IMPORT: Final = re.compile(
    rb"^(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+([^#\n]*)|import[ \t]+([^#\n]+))", re.MULTILINE
)
"""An import at the beginning of a line, which nothing guards unless the line belongs to a text."""

_ROOT: Final = "main"
_PATH_FOLDER: Final = "comfy"


class PackageUse(msgspec.Struct, frozen=True):
    """An import of a Python package at the start of ComfyUI.

    Attributes:
        module: Name of the package.
        chain: The imports that lead to it, each with the file below ComfyUI's folder and the line; the last one is the
            import of the package itself.
    """

    module: str
    chain: tuple[tuple[str, int], ...]


class CoreStart(msgspec.Struct, frozen=True):
    """What ComfyUI imports when it starts.

    Attributes:
        uses: One import of each package.
        files: The files that were read for it.
    """

    uses: tuple[PackageUse, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def packages(self) -> frozenset[str]:
        """The packages."""
        return frozenset(use.module for use in self.uses)


class CoreNodeFile(msgspec.Struct, frozen=True):
    """A file of ComfyUI's own nodes that its start does not need (`comfy_extras`, `comfy_api_nodes`).

    Attributes:
        file: Its path below ComfyUI's folder.
        imports: What it imports beyond what ComfyUI imports when it starts.
    """

    file: str
    imports: CoreStart


def read_core_start(core: CoreModules) -> CoreStart:
    """Read what ComfyUI imports when it starts. Text search is enough: a finding is verified before it counts."""
    files: list[str] = []
    uses = _follow_imports(core, _ROOT, files, seen=set())
    return CoreStart(uses, tuple(files))


def read_node_files(core: CoreModules, start: CoreStart) -> tuple[CoreNodeFile, ...]:
    """Read what the files of ComfyUI's own nodes import beyond its start: ComfyUI starts without those that fail."""
    loaded = {_name_module(file) for file in start.files}
    found: list[CoreNodeFile] = []
    for path in list_core_files(core.root):
        name = path.relative_to(core.root).as_posix()
        # Without nodes.py itself there is no start.
        if name in start.files:
            continue
        files: list[str] = []
        uses = _follow_imports(core, _name_module(name), files, seen=set(loaded))
        more = tuple(use for use in uses if use.module not in start.packages)
        found.append(CoreNodeFile(name, CoreStart(more, tuple(files))))
    return tuple(found)


def _name_module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _find_on_path(core: CoreModules, dotted: str) -> str | None:
    """Return the module in the folder that nodes.py puts on Python's path; None when it is not there."""
    found = core.find_module(f"{_PATH_FOLDER}.{dotted}")
    return None if found == _PATH_FOLDER else found


def _follow_imports(core: CoreModules, root: str, files: list[str], *, seen: set[str]) -> tuple[PackageUse, ...]:
    """Return one import of each package by a module and by those of ComfyUI that it imports; add the files read."""
    uses: dict[str, PackageUse] = {}
    chains: dict[str, tuple[tuple[str, int], ...]] = {root: ()}
    waiting = [root]
    while waiting:
        module = waiting.pop()
        file = core.find_file(module)
        if file is None:
            continue
        name = file.relative_to(core.root).as_posix()
        files.append(name)
        for line, dotted in _find_imports(file, module, is_package=file.name == "__init__.py"):
            chain = (*chains[module], (name, line))
            inner = core.find_module(dotted) or _find_on_path(core, dotted)
            if inner is None:
                top = dotted.partition(".")[0]
                uses.setdefault(top, PackageUse(top, chain))
            elif inner not in chains and inner not in seen:
                chains[inner] = chain
                waiting.append(inner)
    return tuple(uses.values())


def find_import_blocker(start: CoreStart, root: Path, environments: Sequence[PythonEnvironment]) -> StartBlocker | None:
    """Return the first package that ComfyUI needs at its start and its Python certainly lacks; None when there is none.

    Args:
        start: What ComfyUI imports when it starts.
        root: The folder of `main.py`.
        environments: The Python environments that may be ComfyUI's.
    """
    if len(environments) != 1 or environments[0].is_guess or environments[0].hook is not None:
        return None
    environment = environments[0]
    for use in start.uses:
        if environment.has_module(use.module) or not is_unguarded(use, root):
            continue
        if environment.find_obstacle(use.module) is not None:
            continue
        file, line = use.chain[-1]
        return StartBlocker(
            root / file,
            line,
            f"it imports {use.module}, which ComfyUI's Python ({environment.location}) does not have",
            f"Install ComfyUI's requirements into that Python: {environment.location}/bin/python -m pip install "
            "-r requirements.txt, in ComfyUI's folder.",
        )
    return None


def _find_imports(file: Path, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    try:
        content = read_regular(file, max_bytes=MAX_SOURCE_BYTES)
    except Failure:
        return
    parts = module.split(".")
    package = parts if is_package else parts[:-1]
    for match in _IMPORT.finditer(content):
        line = content.count(b"\n", 0, match.start()) + 1
        dots, source, names, plain = (group.decode("ascii", "replace") for group in match.groups(b""))
        if plain:
            for name in _split_names(plain):
                yield line, name
            continue
        base = resolve_module(package, source, len(dots), prefix="")
        if base is not None:
            yield line, base
            for name in _split_names(names.strip("( \\")):
                yield line, f"{base}.{name}"


def _split_names(text: str) -> list[str]:
    names = [part.partition(" as ")[0].strip() for part in text.split(",")]
    return [name for name in names if name and name.replace(".", "").isidentifier()]


def is_unguarded(use: PackageUse, root: Path) -> bool:
    """Return whether nothing catches the error of an import, in none of the files that lead to it."""
    return all(_is_top_level(root / file, line) for file, line in use.chain)


def _is_top_level(file: Path, line: int) -> bool:
    """Return whether the statement in a line is an import at the top level of its file, outside of every block."""
    try:
        tree = parse_source(read_regular(file, max_bytes=MAX_SOURCE_BYTES))
    except (Failure, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.Import | ast.ImportFrom) and node.lineno == line for node in tree.body)
