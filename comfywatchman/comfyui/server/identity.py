"""Is the ComfyUI that responds at a URL the watched one? Without proof of its identity the server is ignored.

A process of this machine that listens there and was started with the server's arguments proves it by its base
directory. Where no such process can be seen (another user's, a container, a tunnel), the folders that the server reads
and what it finds in them must be the watched ones. The arguments alone prove nothing: `main.py` is the same everywhere,
and so is `/workspace/ComfyUI/main.py` in many containers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.http import HttpSession
from comfywatchman.base.json_values import as_list
from comfywatchman.comfyui.install.folders import CUSTOM_NODES, DIFFUSERS, ModelFolders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.server.api import RunningComfyUI
from comfywatchman.comfyui.server.listening import ServerProcess, find_listeners, read_start_time
from comfywatchman.comfyui.server.model_folders import fetch_folder_paths

_BASE_OPTION: Final = "--base-directory"
_SHORTEST_BASE_OPTION: Final = "--ba"
"""argparse accepts an unambiguous beginning of an option."""

_PACK_PREFIX: Final = f"{CUSTOM_NODES}."
_PORTS: Final = {"http": 80, "https": 443}


class ServerIdentity(StrEnum):
    """Whether a server is the watched one."""

    WATCHED = "watched"
    OTHER = "other"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Identification:
    """The identity of a server and the reason, as the end of a sentence; empty for the watched one."""

    identity: ServerIdentity
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ServerStart:
    """The start of a server: its process id and the time as a POSIX time. No other start has both."""

    pid: int
    started_at: float


@dataclass(frozen=True, slots=True)
class WatchedComfyUI:
    """What is known of the watched ComfyUI.

    Attributes:
        installation: Where it is.
        folders: Its model folders, without those that only packs have.
        names: The names of model files by canonical folder, just listed.
    """

    installation: Installation
    folders: ModelFolders
    names: Mapping[str, Collection[str]]


def identify_server(
    running: RunningComfyUI,
    watched: WatchedComfyUI,
    fetch_packs: Callable[[], Mapping[str, str]],
    *,
    timeout_seconds: float = 10.0,
) -> Identification:
    """Find out whether a server is the watched ComfyUI.

    Args:
        running: The server.
        watched: The watched ComfyUI.
        fetch_packs: Fetches the server's classes with their modules; called only when nothing else decides.
        timeout_seconds: Time for each request.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    by_process = _identify_by_process(running, watched.installation)
    if by_process is not None:
        return by_process
    base = find_option_value(running.argv, _BASE_OPTION, shortest=_SHORTEST_BASE_OPTION)
    if base is not None and os.path.isabs(base) and _resolve_path(base) != _resolve_path(watched.installation.base):
        return _build_other_base(base)
    with HttpSession(timeout_seconds=timeout_seconds) as session:
        paths = fetch_folder_paths(session, running.url.rstrip("/"))
        by_folders = _identify_by_folders(paths, watched.folders)
        if by_folders is not None:
            return by_folders
        comparison = _compare_models(session, running.url, paths, watched)
    if comparison.foreign is None:
        comparison = comparison.add(_compare_packs(fetch_packs().values(), watched.folders))
    return _identify_by_content(comparison)


def find_server_start(running: RunningComfyUI) -> ServerStart | None:
    """Return the process of a server with its start; None when it cannot be seen."""
    processes = list(_find_server_processes(running))
    if len(processes) != 1:
        return None
    started_at = read_start_time(processes[0].pid)
    return None if started_at is None else ServerStart(processes[0].pid, started_at)


def find_option_value(argv: Sequence[str], name: str, *, shortest: str) -> str | None:
    """Return the value of an option as argparse finds it: abbreviated or not, with `=` or without; the last counts."""
    value = None
    for index, argument in enumerate(argv):
        option, has_value, text = argument.partition("=")
        if not (option.startswith(shortest) and name.startswith(option)):
            continue
        if has_value:
            value = text
        elif index + 1 < len(argv):
            value = argv[index + 1]
    return value


def _identify_by_process(running: RunningComfyUI, installation: Installation) -> Identification | None:
    """Compare the base directory of the process that listens at the URL; None when no process shows it."""
    for process in _find_server_processes(running):
        base = _find_base_directory(process, running.argv)
        if base is None:
            continue
        shown, status = base
        try:
            is_same = os.path.samestat(status, installation.base.stat())
        except OSError:
            continue
        return Identification(ServerIdentity.WATCHED) if is_same else _build_other_base(shown)
    return None


def _find_server_processes(running: RunningComfyUI) -> Iterator[ServerProcess]:
    """Yield the processes of this machine that listen at the URL and were started with the server's arguments."""
    try:
        parts = urlsplit(running.url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return
    for process in find_listeners(parts.hostname or "", port):
        # A tunnel or a proxy listens for a server that may run anywhere.
        if running.argv and process.argv[-len(running.argv) :] == running.argv:
            yield process


def _find_base_directory(process: ServerProcess, argv: Sequence[str]) -> tuple[str, os.stat_result] | None:
    """Return the base directory of a process as it was given, and its status; None when it cannot be seen."""
    base = find_option_value(argv, _BASE_OPTION, shortest=_SHORTEST_BASE_OPTION)
    main = _path_of_process(process.pid, argv[0])
    try:
        # A node pack may have changed the working directory; then main.py is not found, or not looked for here.
        os.stat(main)
        if base is None:
            path = os.path.dirname(os.path.realpath(main) if os.path.islink(main) else main)
        else:
            path = _path_of_process(process.pid, base)
        return base or os.path.realpath(path), os.stat(path)
    except (OSError, ValueError):
        return None


def _path_of_process(pid: int, path: str) -> str:
    """Return a path as a process sees it, also one in a container (proc_pid_cwd(5), proc_pid_root(5))."""
    if os.path.isabs(path):
        return f"/proc/{pid}/root{path}"
    return f"/proc/{pid}/cwd/{path}"


@dataclass(frozen=True, slots=True)
class _ContentComparison:
    """Number of files and packs that the server and this machine both have, and one that only one of them has."""

    agreeing: int = 0
    foreign: str | None = None

    def add(self, other: _ContentComparison) -> _ContentComparison:
        """Return both comparisons as one."""
        return _ContentComparison(self.agreeing + other.agreeing, self.foreign or other.foreign)


def _identify_by_folders(paths: Mapping[str, Sequence[Path]], folders: ModelFolders) -> Identification | None:
    """Compare the folders of node packs, of which the base directory has one; None when they are the same."""
    pack_folders = paths.get(CUSTOM_NODES)
    if pack_folders is None:
        reason = "no process of this user listens there, and it does not state its folders"
        return Identification(ServerIdentity.UNKNOWN, reason)
    if _resolve(pack_folders) == _resolve(folders.custom_nodes):
        return None
    shown = ", ".join(map(printable_path, pack_folders))
    return Identification(ServerIdentity.OTHER, f"it reads node packs from {shown}")


def _identify_by_content(comparison: _ContentComparison) -> Identification:
    """Judge a server whose folders have the same paths: they may be those of a container or of another machine."""
    if comparison.foreign is not None:
        shown = printable_path(comparison.foreign)
        reason = f"its folders have the same paths but not the same content ({shown})"
        return Identification(ServerIdentity.OTHER, reason)
    if comparison.agreeing == 0:
        reason = "no process of this user listens there, and it has neither models nor packs to compare"
        return Identification(ServerIdentity.UNKNOWN, reason)
    return Identification(ServerIdentity.WATCHED)


def _compare_models(
    session: HttpSession, url: str, paths: Mapping[str, Sequence[Path]], watched: WatchedComfyUI
) -> _ContentComparison:
    """Compare the files of each model folder that has the same directories here and there."""
    comparison = _ContentComparison()
    for key, directories in paths.items():
        folder = watched.folders.get(key)
        # A diffusers model is a folder, which this route does not list.
        if folder is None or key == DIFFUSERS or _resolve(directories) != _resolve(folder.directories):
            continue
        theirs = _fetch_names(session, url, key)
        if theirs is None:
            continue
        ours = frozenset(watched.names.get(folder.name, ()))
        foreign = next((name for name in sorted(theirs - ours) if not _has_file(name, directories)), None)
        # The server skips what it cannot open, and a file may have been deleted since it was listed here.
        foreign = foreign or next((name for name in sorted(ours - theirs) if _has_file(name, directories)), None)
        comparison = comparison.add(_ContentComparison(len(theirs & ours), foreign and f"{key}/{foreign}"))
    return comparison


def _compare_packs(modules: Iterable[str], folders: ModelFolders) -> _ContentComparison:
    """Compare the packs whose classes the server lists with those on this machine."""
    packs = sorted({module.removeprefix(_PACK_PREFIX) for module in modules if module.startswith(_PACK_PREFIX)})
    foreign = next((pack for pack in packs if not _has_pack(pack, folders.custom_nodes)), None)
    return _ContentComparison(len(packs), foreign and f"{CUSTOM_NODES}/{foreign}")


def _fetch_names(session: HttpSession, url: str, key: str) -> frozenset[str] | None:
    """Return the names that the server lists for a model folder; None when it does not list them."""
    response = session.get(f"{url.rstrip('/')}/models/{quote(key, safe='')}")
    try:
        answer = response.parse_json()
    except Failure:
        return None
    return frozenset(name for name in as_list(answer) if isinstance(name, str))


def _has_pack(name: str, directories: Iterable[Path]) -> bool:
    return any(os.path.exists(directory / name) or _has_file(f"{name}.py", (directory,)) for directory in directories)


def _has_file(name: str, directories: Iterable[Path]) -> bool:
    return any(os.path.isfile(directory / name) for directory in directories)


def _resolve(directories: Iterable[Path]) -> frozenset[str]:
    return frozenset(_resolve_path(directory) for directory in directories)


def _resolve_path(path: str | Path) -> str:
    try:
        return os.path.realpath(path)
    # The server may name anything, even a path with a NUL byte.
    except (OSError, ValueError):
        return os.fspath(path)


def _build_other_base(base: str) -> Identification:
    return Identification(ServerIdentity.OTHER, f"its base directory is {printable_path(base)}")
