"""The modules of ComfyUI itself, and the names in them, from its source on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from comfywatchman.comfyui.install.reachability import NO_SUCH_TARGET
from comfywatchman.comfyui.static_analysis.module_names import ModuleNames
from comfywatchman.comfyui.static_analysis.outline_expressions import CORE_NAMES

_MAX_DEPTH: Final = 8

NamesReader = Callable[[Path], ModuleNames]
"""Returns the names that a file binds."""


class CoreModules:
    """The source of ComfyUI.

    Args:
        root: The folder of `main.py`.
        read_names: Returns the names that a file binds.

    Attributes:
        root: The folder of `main.py`.
        consulted: The files and folders that were read for the answers given so far.
    """

    def __init__(self, root: Path, read_names: NamesReader) -> None:
        self.root = root
        self._read_names = read_names
        self._names: dict[Path, ModuleNames] = {}
        self._kinds: dict[str, str | None] = {}
        self._listings: dict[str, frozenset[str]] = {}
        self._missing: dict[str, str | None] = {}
        self._unread: set[str] = set()
        self.consulted: set[Path] = set()

    def has_module(self, dotted: str) -> bool | None:
        """Return whether ComfyUI has a module or package; None for names outside of ComfyUI."""
        top = dotted.partition(".")[0]
        if top not in CORE_NAMES or not self._exists(top):
            return None
        parts = dotted.split(".")
        for length in range(2, len(parts) + 1):
            if not self._exists(".".join(parts[:length])):
                # A package may provide modules in its own way.
                return self._is_open(".".join(parts[: length - 1]))
        return True

    def find_module(self, dotted: str) -> str | None:
        """Return the module or package beside `main.py` that a dotted name begins with; None for modules of others."""
        parts = dotted.split(".")
        found = None
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if not self._exists(name):
                break
            found = name
        return found

    def find_file(self, dotted: str) -> Path | None:
        """Return the file of a module; None for one that does not exist, or has no file."""
        if not self._exists(dotted):
            return None
        path = self.root.joinpath(*dotted.split("."))
        return {"package": path / "__init__.py", "module": path.with_name(f"{path.name}.py")}.get(
            self._kinds[dotted] or ""
        )

    def find_definition(self, dotted: str, *, depth: int = 0) -> tuple[Path, tuple[str, ...]] | None:
        """Return the file that defines a name, and the name with its attributes there; None when it is not known.

        Args:
            dotted: The name from a module on: `comfy_api.latest.io.Int`.
            depth: How many imports were followed to get here.
        """
        module = self.find_module(dotted)
        file = None if module is None else self.find_file(module)
        if module is None or file is None or module == dotted or depth > _MAX_DEPTH:
            return None
        first, *rest = dotted.removeprefix(f"{module}.").split(".")
        names = self._get_names(file)
        origin = names.origins.get(first)
        if origin is not None:
            return self.find_definition(".".join((origin, *rest)), depth=depth + 1)
        if first in names.names:
            return file, (first, *rest)
        for star in names.stars:
            found = self.find_definition(".".join((star, first, *rest)), depth=depth + 1)
            if found is not None:
                return found
        return None

    def is_folder(self, dotted: str) -> bool:
        """Return whether a dotted name leads to a folder or file beside `main.py`."""
        return self._exists(dotted)

    def has_name(self, module: str, name: str, *, depth: int = 0) -> bool:
        """Return whether a module of ComfyUI has a name, or may have it."""
        # Python itself binds `__file__`, `__name__` and others.
        if depth > _MAX_DEPTH or name.startswith("__") or self._exists(f"{module}.{name}"):
            return True
        file = self.find_file(module)
        if file is None:
            # A folder without `__init__.py` has modules only; a compiled module may have any name.
            return self._kinds.get(module) != "folder"
        names = self._get_names(file)
        if name in names.names or names.is_open:
            return True
        return any(self._star_has_name(star, name, depth) for star in names.stars)

    def find_missing_attribute(self, dotted: str) -> str | None:
        """Return the part of `module.name.name` that ComfyUI lacks; None when nothing is missing."""
        if dotted not in self._missing:
            self._missing[dotted] = self._find_missing(dotted, depth=0)
        return self._missing[dotted]

    def _find_missing(self, dotted: str, *, depth: int) -> str | None:
        parts = dotted.split(".")
        if depth > _MAX_DEPTH or self.has_module(parts[0]) is not True:
            return None
        for length in range(1, len(parts)):
            module, name = ".".join(parts[:length]), parts[length]
            if not self._exists(module):
                return None
            if not self.has_name(module, name):
                return f"{module}.{name}"
            origin = self._find_origin(module, name)
            if origin is not None and origin != f"{module}.{name}" and self._exists(origin):
                return self._find_missing(".".join((origin, *parts[length + 1 :])), depth=depth + 1)
        return None

    def _find_origin(self, module: str, name: str) -> str | None:
        file = self.find_file(module)
        if file is None:
            return None
        return self._get_names(file).origins.get(name)

    def _star_has_name(self, star: str, name: str, depth: int) -> bool:
        if self.has_module(star) is not True:
            # All names of a module that is not ComfyUI's.
            return True
        file = self.find_file(star)
        public = None if file is None else self._get_names(file).public
        if public is not None:
            return name in public
        return not name.startswith("_") and self.has_name(star, name, depth=depth + 1)

    def _get_names(self, file: Path) -> ModuleNames:
        if file not in self._names:
            self.consulted.add(file)
            self._names[file] = self._read_names(file)
        return self._names[file]

    def _is_open(self, package: str) -> bool:
        file = self.find_file(package)
        return file is not None and self._get_names(file).is_open

    def _exists(self, dotted: str) -> bool:
        if dotted not in self._kinds:
            self._kinds[dotted] = self._find_kind(dotted)
        return self._kinds[dotted] is not None

    def _find_kind(self, dotted: str) -> str | None:
        """Return what a dotted name leads to: `package`, `folder`, `module` or `compiled`; None for nothing."""
        parent, _, name = dotted.rpartition(".")
        siblings = self._list_folder(parent)
        if parent in self._unread:
            return "compiled"  # anything may be in a folder that cannot be listed
        if name in siblings:
            return "package" if "__init__.py" in self._list_folder(dotted) else "folder"
        if f"{name}.py" in siblings:
            return "module"
        is_compiled = any(entry.startswith(f"{name}.") and entry.endswith((".so", ".pyc")) for entry in siblings)
        return "compiled" if is_compiled else None

    def _list_folder(self, dotted: str) -> frozenset[str]:
        if dotted not in self._listings:
            folder = self.root.joinpath(*dotted.split(".")) if dotted else self.root
            self.consulted.add(folder)
            try:
                self._listings[dotted] = frozenset(os.listdir(folder))
            except OSError as error:
                self._listings[dotted] = frozenset()
                if error.errno not in NO_SUCH_TARGET:
                    self._unread.add(dotted)
        return self._listings[dotted]
