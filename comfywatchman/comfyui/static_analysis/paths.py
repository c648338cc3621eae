"""Paths of a pack's own files as its source computes them: `os.path`, `pathlib`, and listings of its folders."""

from __future__ import annotations

import itertools
import math
import os
import pkgutil
import re
import string
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Final

from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractList,
    BoundMethod,
    FileSpec,
    PathValue,
    Record,
    Value,
)

CONSTANTS: Final[Mapping[str, str | float]] = {
    "math.inf": math.inf,
    "os.curdir": ".",
    "os.extsep": ".",
    "os.path.sep": "/",
    "os.sep": "/",
    "string.ascii_letters": string.ascii_letters,
    "string.ascii_lowercase": string.ascii_lowercase,
    "string.ascii_uppercase": string.ascii_uppercase,
    "string.digits": string.digits,
    "sys.maxsize": (1 << 63) - 1,
}
"""Constants of Python's library by their dotted names, on a machine of 64 bits."""

_PATH_CLASSES: Final = frozenset({"pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath"})
_MAX_ENTRIES: Final = 2_000
_WILDCARDS: Final = "*?["
_ALL_FOLDERS: Final = "**"
_CACHE_FOLDER: Final = "__pycache__"
"""Python creates it at the first import, so that listings do not depend on whether it exists already."""

_TEXT_FUNCTIONS: Final[Mapping[str, Callable[..., str]]] = {
    "os.path.dirname": os.path.dirname,
    "os.path.basename": os.path.basename,
    "os.path.abspath": os.path.abspath,
    "os.path.realpath": os.path.realpath,
    "os.path.normpath": os.path.normpath,
    "os.path.join": os.path.join,
    "os.fspath": str,
    "builtins.str": str,
}
"""Functions of one or more paths whose result is a path or a part of one."""

_PATH_TESTS: Final[Mapping[str, Callable[[str], bool]]] = {
    "exists": os.path.exists,
    "isfile": os.path.isfile,
    "isdir": os.path.isdir,
    "is_file": os.path.isfile,
    "is_dir": os.path.isdir,
}


class PackFiles:
    """The files of a pack: only they are looked at.

    Args:
        root: Its folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._roots = {os.path.abspath(root), os.path.realpath(root)}

    def find_parts(self, path: Value) -> tuple[str, ...] | None:
        """Return a path as parts below the pack's folder; None for a path elsewhere or one that is not known."""
        text = get_text(path)
        if text is None or not os.path.isabs(text):
            return None
        normal = os.path.normpath(text)
        for root in self._roots:
            if normal == root:
                return ()
            if normal.startswith(root + os.sep):
                return tuple(normal.removeprefix(root + os.sep).split(os.sep))
        return None

    def has(self, path: Value) -> bool:
        """Return whether a path leads into the pack."""
        return self.find_parts(path) is not None

    def call(self, name: str, arguments: list[Value], keywords: Mapping[str, Value]) -> Value:
        """Return the result of a function of paths; UNKNOWN for other functions and for paths that are not known."""
        if name in _PATH_CLASSES or name in _TEXT_FUNCTIONS:
            texts = _get_texts(arguments)
            return _call_text_function(name, texts) if texts else UNKNOWN
        module, _, function = name.rpartition(".")
        first = arguments[0] if arguments else UNKNOWN
        if name in {"os.path.splitext", "os.path.split"}:
            text = get_text(first)
            if text is None:
                return UNKNOWN
            split = os.path.splitext if function == "splitext" else os.path.split
            return AbstractList(list(split(text)))
        if module == "os.path" and function in _PATH_TESTS:
            return self._test_path(function, first)
        list_folder = _LISTINGS.get(name)
        if list_folder is None:
            return UNKNOWN
        return list_folder(self, first, keywords)

    def call_method(self, owner: PathValue | Record, name: str, arguments: list[Value]) -> Value:
        """Return the result of a method of a path or of an entry of a folder."""
        if name in _PATH_TESTS:
            # An entry of `os.scandir` is a record; its path is one of the fields.
            path = owner.get_field("path") if isinstance(owner, Record) else owner
            return self._test_path(name, path)
        texts = _get_texts(arguments)
        if isinstance(owner, Record) or texts is None:
            return UNKNOWN
        if name == "iterdir":
            return _build_paths(owner.text, self._list(owner))
        if name in {"glob", "rglob"} and len(texts) == 1:
            inner = f"**/{texts[0]}" if name == "rglob" else texts[0]
            found = self._glob(os.path.join(owner.text, inner))
            return AbstractList([PathValue(text) for text in found.values], found.is_open)
        return _call_pure_method(owner, name, texts)

    def _test_path(self, test: str, path: Value) -> Value:
        """Return the result of a test of a path; UNKNOWN for paths outside the pack."""
        text = get_text(path)
        if text is None or not self.has(text):
            return UNKNOWN
        return _PATH_TESTS[test](text)

    def _list(self, folder: Value) -> list[str] | None:
        """Return the names in a folder of the pack; None when they are not known."""
        text = get_text(folder)
        if text is None or not self.has(text):
            return None
        try:
            names = sorted(name for name in os.listdir(text) if name != _CACHE_FOLDER)
        except OSError:
            return None
        return names if len(names) <= _MAX_ENTRIES else None

    def list_names(self, folder: Value, _keywords: Mapping[str, Value]) -> AbstractList:
        """Call `os.listdir`."""
        names = self._list(folder)
        if names is None:
            return AbstractList(is_open=True)
        return AbstractList(list(names))

    def scan_folder(self, folder: Value, _keywords: Mapping[str, Value]) -> AbstractList:
        """Call `os.scandir`."""
        names = self._list(folder)
        if names is None:
            return AbstractList(is_open=True)
        text = get_text(folder) or ""
        return AbstractList([Record([name, os.path.join(text, name)], fields=("name", "path")) for name in names])

    def walk(self, folder: Value, _keywords: Mapping[str, Value]) -> AbstractList:
        """Call `os.walk`."""
        rows: list[Value] = []
        waiting = [get_text(folder) or ""]
        while waiting:
            current = waiting.pop()
            names = self._list(current)
            if names is None or len(rows) >= _MAX_ENTRIES:
                return AbstractList(rows, is_open=True)
            folders = [name for name in names if os.path.isdir(os.path.join(current, name))]
            files = [name for name in names if name not in folders]
            rows.append(AbstractList([current, AbstractList(list(folders)), AbstractList(list(files))]))
            inner = [os.path.join(current, name) for name in folders]
            waiting += [path for path in inner if not os.path.islink(path)]
        return AbstractList(rows)

    def glob(self, pattern: Value, keywords: Mapping[str, Value]) -> AbstractList:
        """Call `glob.glob`."""
        text = get_text(pattern)
        is_recursive = keywords.get("recursive", False)
        if text is None or not isinstance(is_recursive, bool):
            return AbstractList(is_open=True)
        # Without `recursive`, `**` means `*`.
        pattern = text if is_recursive else text.replace(_ALL_FOLDERS, "*")
        found = self._glob(pattern)
        # Wildcards match neither hidden files nor hidden folders.
        base = _split_pattern(pattern)[0]
        if f"{os.sep}." not in pattern.removeprefix(base):
            found.values = [path for path in found.values if f"{os.sep}." not in path.removeprefix(base)]
        return found

    def _glob(self, pattern: str) -> AbstractList:
        base, inner = _split_pattern(pattern)
        if not self.has(base) or not inner or ".." in inner.split(os.sep) or inner.endswith(_ALL_FOLDERS):
            return AbstractList(is_open=True)
        # Unlike the module glob, pathlib does not follow links to folders, which may lead in circles.
        found = [*itertools.islice(Path(base).glob(inner), _MAX_ENTRIES)]
        texts = sorted(str(path) for path in found if _CACHE_FOLDER not in path.parts)
        return AbstractList(list(texts), is_open=len(found) >= _MAX_ENTRIES)

    def iter_modules(self, folders: Value, keywords: Mapping[str, Value]) -> AbstractList:
        """Call `pkgutil.iter_modules`."""
        prefix = keywords.get("prefix", "")
        if not isinstance(folders, AbstractList) or folders.is_open or not isinstance(prefix, str):
            return AbstractList(is_open=True)
        texts = _get_texts(folders.values)
        if texts is None or not all(self.has(text) for text in texts):
            return AbstractList(is_open=True)
        fields = ("module_finder", "name", "ispkg")
        rows = [Record([UNKNOWN, info.name, info.ispkg], fields=fields) for info in pkgutil.iter_modules(texts, prefix)]
        return AbstractList(list(rows))


_LISTINGS: Final[Mapping[str, Callable[[PackFiles, Value, Mapping[str, Value]], AbstractList]]] = {
    "os.listdir": PackFiles.list_names,
    "os.scandir": PackFiles.scan_folder,
    "os.walk": PackFiles.walk,
    "glob.glob": PackFiles.glob,
    "glob.iglob": PackFiles.glob,
    "pkgutil.iter_modules": PackFiles.iter_modules,
}


def get_text(path: Value) -> str | None:
    """Return a path as text; None when it is not known."""
    if isinstance(path, PathValue):
        return path.text
    return path if isinstance(path, str) and "\0" not in path else None


def get_part(owner: FileSpec | PathValue | Record, name: str) -> Value:
    """Return an attribute of a path or record; a name that it does not have is taken for a method."""
    value: Value = UNKNOWN
    match owner:
        case FileSpec():
            value = {"loader": owner, "name": owner.name}.get(name, UNKNOWN)
        case PathValue():
            value = get_path_attribute(owner, name)
        case Record() if name in owner.fields:
            return owner.get_field(name)
    return BoundMethod(owner, name) if value is UNKNOWN else value


def get_path_attribute(path: PathValue, name: str) -> Value:
    """Return an attribute of a `pathlib.Path`; UNKNOWN for its methods."""
    pure = PurePath(path.text)
    match name:
        case "name" | "stem" | "suffix":
            return getattr(pure, name)
        case "parent":
            return PathValue(str(pure.parent))
        case "parents":
            return AbstractList([PathValue(str(parent)) for parent in pure.parents])
        case "parts":
            return AbstractList(list(pure.parts))
    return UNKNOWN


def _call_pure_method(path: PathValue, name: str, arguments: list[str]) -> Value:
    """Return the result of a method that does not look at files."""
    pure = PurePath(path.text)
    result: Value = UNKNOWN
    match name, arguments:
        case "joinpath", [*parts]:
            result = PathValue(os.path.join(path.text, *parts))
        case (("resolve" | "absolute"), []):
            result = PathValue(os.path.abspath(path.text))
        case "as_posix", []:
            result = path.text
        case (("with_suffix" | "with_name"), [text]) if pure.name and _is_plain(text):
            result = PathValue(str(getattr(pure, name)(text)))
        case "relative_to", [text] if pure.is_relative_to(text):
            result = PathValue(str(pure.relative_to(text)))
    return result


def join_path(left: Value, right: Value) -> Value:
    """Return `left / right`."""
    texts = _get_texts([left, right])
    is_path = isinstance(left, PathValue) or isinstance(right, PathValue)
    return PathValue(os.path.join(*texts)) if texts and is_path else UNKNOWN


def _split_pattern(pattern: str) -> tuple[str, str]:
    """Split a pattern into the folder in which it begins, before the first wildcard, and the rest."""
    head = re.split(f"[{re.escape(_WILDCARDS)}]", pattern, maxsplit=1)[0]
    base = os.path.dirname(head)
    return base, pattern[len(base) :].lstrip(os.sep)


def _call_text_function(name: str, texts: list[str]) -> Value:
    if name in _PATH_CLASSES:
        return PathValue(os.path.join(*texts))
    try:
        return _TEXT_FUNCTIONS[name](*texts)
    except (TypeError, ValueError, OSError):
        # The source passes a wrong number of arguments, or a path that no file can have.
        return UNKNOWN


def _build_paths(folder: str, names: Iterable[str] | None) -> AbstractList:
    if names is None:
        return AbstractList(is_open=True)
    return AbstractList([PathValue(os.path.join(folder, name)) for name in names])


def _get_texts(values: Iterable[Value]) -> list[str] | None:
    """Return paths as texts; None when one of them is not known."""
    texts: list[str] = []
    for value in values:
        text = get_text(value)
        if text is None:
            return None
        texts.append(text)
    return texts


def _is_plain(text: str) -> bool:
    return bool(text) and os.sep not in text and text != "."
