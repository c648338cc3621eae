"""The Python environment of ComfyUI: which modules its interpreter can import, from the files on disk."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import is_folder, printable_path, read_regular
from comfywatchman.comfyui.install.reachability import (
    NO_SUCH_TARGET,
    Obstacle,
    explain_entry,
    explain_error,
    explain_missing_folder,
)

PythonVersion = tuple[int, int]

_MAX_FILE_BYTES: Final = 1 << 20
_LIBRARY: Final = re.compile(r"^python3\.(\d+)$")
_CONFIGURED_VERSION: Final = re.compile(r"^version(?:_info)?\s*=\s*3\.(\d+)", re.MULTILINE)
_HOME: Final = re.compile(r"^home\s*=\s*(.+?)\s*$", re.MULTILINE)
_SYSTEM_PACKAGES: Final = re.compile(r"^include-system-site-packages\s*=\s*true", re.MULTILINE | re.IGNORECASE)
_FINDER: Final = re.compile(r"^\s*import\s+(__editable__\w+_finder)\b")
_FINDER_MAPPING: Final = re.compile(r"^MAPPING\b[^=\n]*=\s*(\{.*?\})\s*$", re.MULTILINE | re.DOTALL)
_METADATA_SUFFIX: Final = ".dist-info"
_MODULE_SUFFIXES: Final = (".py", ".pyc", ".so", ".pyd")
_DISTUTILS: Final = "distutils"
_SETUPTOOLS: Final = "setuptools"
_CUSTOMIZATIONS: Final = frozenset({"sitecustomize", "usercustomize"})
_HARMLESS_HOOKS: Final = ("_virtualenv", "distutils-precedence", "-nspkg", "_nspkg", "_gov_own_copies")
"""`.pth` files that run code but add no modules, by a part of their name."""

_MODULE_LOADERS: Final = ("sys.modules", "__path__", "__getattr__", "azy")
"""Words in the `__init__.py` of packages that load modules in their own way."""

_REMOVED: Final[Mapping[int, frozenset[str]]] = MappingProxyType(
    {
        12: frozenset({"asynchat", "asyncore", "distutils", "imp", "smtpd"}),
        13: frozenset(
            {"aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "msilib", "nis"}
            | {"nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib"}
        ),
    }
)
"""Modules that a minor version of Python 3 removed (docs.python.org, "What's New")."""

_ADDED: Final[Mapping[int, frozenset[str]]] = MappingProxyType(
    {11: frozenset({"tomllib"}), 14: frozenset({"annotationlib", "compression"})}
)


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """A Python environment.

    Attributes:
        folder: The environment.
        version: Major and minor version of its Python.
        paths: Where it looks for modules, without the standard library.
        names: Modules and packages at the top of these paths.
        versions: Versions of its packages, by normalised name.
        hook: A file that may provide further modules at run time; None when there is none.
        is_guess: Whether ComfyUI may well use another environment.
        obstacle: Why some of these paths could not be looked at; None when all were.
        broken_links: Why modules and packages at the top of these paths could not be looked at, by name.
    """

    folder: Path
    version: PythonVersion
    paths: tuple[Path, ...]
    names: frozenset[str]
    versions: Mapping[str, str]
    hook: str | None = None
    is_guess: bool = False
    obstacle: Obstacle | None = None
    broken_links: Mapping[str, Obstacle] = field(default_factory=dict)

    @property
    def location(self) -> str:
        """Its folder, for people."""
        return printable_path(self.folder)

    def has_module(self, name: str) -> bool:
        """Return whether its standard library or its packages have a module of this name at the top."""
        if self.has_standard_module(name) or name in self.names:
            return True
        # setuptools keeps the module that Python 3.12 removed.
        return name == _DISTUTILS and _SETUPTOOLS in self.names

    def find_obstacle(self, name: str) -> Obstacle | None:
        """Return why a module of this name may be there although it was not found; None when it surely is not."""
        return self.broken_links.get(name) or self.obstacle

    def has_standard_module(self, name: str) -> bool:
        """Return whether the standard library of this Python has a module."""
        minor = self.version[1]
        for removed_in, names in _REMOVED.items():
            if name in names:
                return minor < removed_in
        for added_in, names in _ADDED.items():
            if name in names:
                return minor >= added_in
        return name in sys.stdlib_module_names or name in sys.builtin_module_names

    def find_missing_part(self, dotted: str) -> str | None:
        """Return the first part of a dotted name that an installed package lacks; None when nothing is missing.

        Only packages that are folders are looked into, and only as far as they do not load modules in their own way.
        """
        parts = dotted.split(".")
        if len(parts) == 1:
            return None
        for path in self.paths:
            folder = path / parts[0]
            if os.path.isdir(folder):
                return _find_missing_part(folder, parts)
        return None


def _find_missing_part(folder: Path, parts: list[str]) -> str | None:
    for position, part in enumerate(parts[1:], 1):
        inner = folder / part
        if os.path.isdir(inner):
            folder = inner
            continue
        if any(folder.glob(f"{part}.*")) or _loads_modules(folder):
            return None
        return ".".join(parts[: position + 1])
    return None


def _loads_modules(package: Path) -> bool:
    """Return whether a package may provide modules that are not files in its folder."""
    text = _read_text(package / "__init__.py")
    return not text or any(word in text for word in _MODULE_LOADERS)


def read_environment(folder: Path) -> PythonEnvironment | None:
    """Read an environment from its folder; None when it holds no Python packages.

    Nothing of it is imported or run.
    """
    configuration = _read_text(folder / "pyvenv.cfg")
    minors = _list_minors(folder / "lib")
    configured = _CONFIGURED_VERSION.search(configuration)
    if configured is not None:
        minors = [int(configured.group(1))]
    if not minors:
        return None
    # Without pyvenv.cfg it is an installation of Python itself, which has at most one version in use.
    minor = minors[-1]
    reader = _PathReader()
    for path in _list_paths(folder, minor, configuration):
        reader.add(path)
    if not reader.paths and reader.obstacle is None:
        return None
    return PythonEnvironment(
        folder=folder,
        version=(3, minor),
        paths=tuple(reader.paths),
        names=frozenset(reader.names),
        versions=MappingProxyType(reader.versions),
        hook=reader.hook,
        obstacle=reader.obstacle,
        broken_links=MappingProxyType(reader.broken_links),
    )


def find_environment_folder(python: Path) -> Path:
    """Return the environment of an interpreter. A link is not followed: it leads to the Python behind it."""
    return python.parent.parent


def _list_minors(library: Path) -> list[int]:
    try:
        names = os.listdir(library)
    except OSError:
        return []
    return sorted(int(match.group(1)) for match in map(_LIBRARY.match, names) if match is not None)


def _list_paths(folder: Path, minor: int, configuration: str) -> Iterator[Path]:
    """Yield the folders in which an environment looks for modules; some may not exist."""
    python = f"python3.{minor}"
    yield folder / "lib" / python / "site-packages"
    is_virtual = bool(configuration)
    home = _HOME.search(configuration)
    base = Path(home.group(1)).parent if home is not None else folder
    if is_virtual and not _SYSTEM_PACKAGES.search(configuration):
        return
    yield from (base / "lib" / python / "site-packages", base / "lib" / python / "dist-packages")
    # Debian's Python has folders of its own, below /usr/local too.
    yield from (base / "lib" / "python3" / "dist-packages", base / "local" / "lib" / python / "dist-packages")
    yield Path("~").expanduser() / ".local" / "lib" / python / "site-packages"


class _PathReader:
    """Reads the folders in which Python looks for modules, with their `.pth` files."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.names: set[str] = set()
        self.versions: dict[str, str] = {}
        self.hook: str | None = None
        self.obstacle: Obstacle | None = None
        self.broken_links: dict[str, Obstacle] = {}

    def add(self, path: Path) -> None:
        """Add one folder; one that does not exist is left out."""
        if path in self.paths:
            return
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            self.obstacle = self.obstacle or _explain_unread_path(path, error)
            return
        self.paths.append(path)
        for entry in entries:
            if entry.name.endswith(".pth"):
                self._read_pth(path, entry.name)
            elif entry.name.endswith(_METADATA_SUFFIX):
                name, _, version = entry.name.removesuffix(_METADATA_SUFFIX).partition("-")
                self.versions.setdefault(canonicalize_name(name), version)
            elif entry.name.endswith(_MODULE_SUFFIXES) or ("." not in entry.name and is_folder(entry)):
                self._add_name(entry.name)
            elif "." not in entry.name:
                # A package may be a link to a folder on a disk that is not mounted.
                obstacle = explain_entry(entry)
                if obstacle is not None:
                    self.broken_links[entry.name] = obstacle

    def _add_name(self, entry: str) -> None:
        name = entry.partition(".")[0]
        self.names.add(name)
        if name in _CUSTOMIZATIONS:
            self.hook = self.hook or entry

    def _read_pth(self, path: Path, entry: str) -> None:
        for line in _read_text(path / entry).splitlines():
            if line.startswith(("import ", "import\t")):
                self._read_hook(path, entry, line)
            elif line.strip() and not line.startswith("#"):
                self.add(path / line.strip())

    def _read_hook(self, path: Path, entry: str, line: str) -> None:
        finder = _FINDER.match(line)
        mapping = None
        if finder is not None:
            # An editable installation by setuptools lists its modules in a file of its own.
            mapping = _FINDER_MAPPING.search(_read_text(path / f"{finder.group(1)}.py"))
        if mapping is not None:
            self.names.update(_read_keys(mapping.group(1)))
        elif not any(part in entry for part in _HARMLESS_HOOKS):
            self.hook = self.hook or entry


def _explain_unread_path(path: Path, error: OSError) -> Obstacle | None:
    """Return why a folder with modules could not be listed; None for one that does not exist."""
    if error.errno in NO_SUCH_TARGET:
        return explain_missing_folder(os.path.abspath(path), None)
    return explain_error(os.fspath(path), error)


def _read_keys(text: str) -> Iterable[str]:
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return [str(key).partition(".")[0] for key in value] if isinstance(value, dict) else ()


def _read_text(path: Path) -> str:
    try:
        return read_regular(path, max_bytes=_MAX_FILE_BYTES).decode("utf-8", "replace")
    except Failure:
        return ""
