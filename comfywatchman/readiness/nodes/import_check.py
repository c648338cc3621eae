"""Finds the packs and classes that ComfyUI cannot import; the result is stored until something that it read changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.comfyui.imports.check import (
    CHECKER_VERSION,
    PackSource,
    check_packs,
    find_environments,
    find_exit_blockers,
)
from comfywatchman.comfyui.imports.core_modules import CoreModules
from comfywatchman.comfyui.imports.core_start import (
    CoreNodeFile,
    CoreStart,
    find_import_blocker,
    read_core_start,
    read_node_files,
)
from comfywatchman.comfyui.imports.environment import PythonEnvironment
from comfywatchman.comfyui.imports.problems import ImportProblem, PackImports
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.start_blockers import StartBlocker
from comfywatchman.comfyui.packs.definitions import CORE_FOLDERS, list_file_classes
from comfywatchman.comfyui.packs.metadata import READER_VERSION, NodePack
from comfywatchman.comfyui.packs.scan import PackListing
from comfywatchman.comfyui.static_analysis.module_names import NO_NAMES, ModuleNames, read_module_names
from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES, parse_source
from comfywatchman.readiness.database import Database, TableStore

_RESULT_KEY: Final = b"result"
_NAMES_PREFIX: Final = b"names:"
_SELECT: Final = "SELECT stamp, value FROM import_fact WHERE key = ?"
_INSERT: Final = "INSERT OR REPLACE INTO import_fact (key, stamp, value) VALUES (?, ?, ?)"


class _StoredCheck(msgspec.Struct, frozen=True):
    """The problems found, and what was read for it.

    Attributes:
        problems: What keeps packs and their classes from being used, by the path of the pack.
        start: What ComfyUI imports when it starts.
        paths: Files and folders of ComfyUI that were read, and those that packs read.
    """

    problems: dict[str, PackImports]
    start: CoreStart
    paths: tuple[bytes, ...]


class ImportFindings(NamedTuple):
    """What keeps packs and their classes from being used, by the path of the pack; and ComfyUI from starting."""

    problems: Mapping[str, PackImports]
    blockers: tuple[StartBlocker, ...]


_RESULT_DECODER: Final = msgspec.msgpack.Decoder(_StoredCheck)
_NAMES_DECODER: Final = msgspec.msgpack.Decoder(ModuleNames)


class ImportCheck:
    """The check of the imports on one host.

    Args:
        installation: The ComfyUI.
        python_folder: The Python environment that is known to be ComfyUI's; None to look for one beside it.
        database: Stores the result.
        folders: The model folders that ComfyUI knows without packs.
    """

    def __init__(
        self,
        installation: Installation,
        python_folder: Path | None,
        database: Database,
        folders: Collection[str],
    ) -> None:
        self._folders = frozenset(folders)
        self._installation = installation
        self._store = TableStore(database, name="check of imports")
        self._new_names: list[tuple[bytes, str, bytes]] = []
        self.environments = find_environments(installation, python_folder)

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems of the database, for people."""
        return tuple(self._store.problems)

    def run(self, listings: Sequence[PackListing], packs: Sequence[NodePack]) -> ImportFindings:
        """Check the imports of all packs.

        Args:
            listings: The files of each pack.
            packs: The facts of each pack, in the same order.
        """
        key = self._build_key(listings)
        result = self._read_result(key)
        if result is None:
            pairs = zip(listings, packs, strict=True)
            sources = [PackSource(listing, pack) for listing, pack in pairs if not listing.is_hidden]
            result = self._check(sources)
            stamp = _hash([key, *_stamp_paths(result.paths)])
            row = (_RESULT_KEY, stamp, msgspec.msgpack.encode(result))
            self._store.write([(_INSERT, [*self._new_names, row])])
        blocker = find_import_blocker(result.start, self._installation.root, self.environments)
        blockers = find_exit_blockers(packs, result.problems)
        return ImportFindings(result.problems, blockers if blocker is None else (blocker, *blockers))

    def _read_result(self, key: str) -> _StoredCheck | None:
        stored = self._read(_RESULT_KEY)
        result = None if stored is None else _decode_result(stored[1])
        if stored is None or result is None or stored[0] != _hash([key, *_stamp_paths(result.paths)]):
            return None
        return result

    def _check(self, sources: Sequence[PackSource]) -> _StoredCheck:
        core, start = None, CoreStart()
        node_files: tuple[CoreNodeFile, ...] = ()
        if self._has_core():
            core = CoreModules(self._installation.root, self._read_names)
            start = read_core_start(core)
            node_files = read_node_files(core, start)
        checks = check_packs(
            sources,
            core,
            self._installation.version,
            self.environments,
            start.packages,
            folders=self._folders,
            node_files=node_files,
        )
        paths = set(checks.read_paths)
        problems = checks.problems
        if core is not None:
            files = {*start.files, *(file for one in node_files for file in one.imports.files)}
            paths |= core.consulted | {core.root / file for file in files}
            paths |= {core.root / folder for folder in CORE_FOLDERS}
            problems |= self._list_broken_classes(checks.node_files)
        return _StoredCheck(problems, start, tuple(sorted(map(os.fsencode, paths))))

    def _list_broken_classes(self, broken: Mapping[str, ImportProblem]) -> dict[str, PackImports]:
        """Return the classes of ComfyUI's own node files that cannot be imported, by the path of ComfyUI."""
        root = self._installation.root
        classes = {name: problem for file, problem in broken.items() for name in list_file_classes(root, file)}
        return {printable_path(root): PackImports(classes=classes)} if classes else {}

    def _has_core(self) -> bool:
        return os.path.isfile(self._installation.root / "nodes.py")

    def _build_key(self, listings: Iterable[PackListing]) -> str:
        parts = [str(CHECKER_VERSION), READER_VERSION, str(self._installation.root), str(self._installation.version)]
        parts += [f"{listing.path} {listing.enabled} {listing.fingerprint} {listing.is_hidden}" for listing in listings]
        parts += sorted(self._folders)
        parts += [_describe_environment(environment) for environment in self.environments]
        return _hash(parts)

    def _read(self, key: bytes) -> tuple[str, bytes] | None:
        rows = self._store.read(_SELECT, (key,))
        return rows[0] if rows else None

    def _read_names(self, path: Path) -> ModuleNames:
        """Return the names that a module of ComfyUI binds; parsed only when the file changed."""
        key = _NAMES_PREFIX + os.fsencode(path)
        stamp = f"{READER_VERSION} {_stamp_path(os.fsencode(path))}"
        stored = self._read(key)
        if stored is not None and stored[0] == stamp:
            try:
                return _NAMES_DECODER.decode(stored[1])
            except msgspec.DecodeError:
                pass  # written by another version of this program
        names = _parse_names(path, self._installation.root)
        self._new_names.append((key, stamp, msgspec.msgpack.encode(names)))
        return names


def _parse_names(path: Path, root: Path) -> ModuleNames:
    package = path.relative_to(root).parts[:-1]
    try:
        content = read_regular(path, max_bytes=MAX_SOURCE_BYTES)
        return read_module_names(parse_source(content), content, package, prefix="")
    except (Failure, SyntaxError, ValueError, RecursionError, MemoryError):
        return NO_NAMES


def _decode_result(encoded: bytes) -> _StoredCheck | None:
    try:
        return _RESULT_DECODER.decode(encoded)
    except msgspec.DecodeError:
        return None


def _describe_environment(environment: PythonEnvironment) -> str:
    names = " ".join(sorted(environment.names))
    versions = sorted(environment.versions.items())
    state = f"{environment.hook} {environment.is_guess}"
    unread = f"{environment.obstacle} {sorted(environment.broken_links)}"
    return f"{environment.folder} {environment.version} {state} {unread} {names} {versions}"


def _stamp_paths(paths: Iterable[bytes]) -> Iterator[str]:
    for path in paths:
        yield _stamp_path(path)


def _stamp_path(path: bytes) -> str:
    try:
        path_stat = os.stat(path)
    except OSError:
        return "absent"
    return f"{path_stat.st_size} {path_stat.st_mtime_ns}"


def _hash(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
