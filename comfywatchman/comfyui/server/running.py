"""ComfyUIs that run on this machine now: their folder, interpreter, address and options, from their processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.install.install import is_comfyui
from comfywatchman.comfyui.server.identity import find_option_value
from comfywatchman.comfyui.server.listening import list_sockets

if TYPE_CHECKING:
    import psutil

_MAIN: Final = "main.py"
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound
_ARGUMENTS_BEFORE_MAIN: Final = 4
_EXTRA_PATHS_OPTION: Final = "--extra-model-paths-config"


@dataclass(frozen=True, slots=True)
class ComfyUIProcess:
    """A running ComfyUI.

    Attributes:
        pid: Its process id.
        folder: The folder of its `main.py`.
        python: The interpreter as its command names it; None when that is no absolute path.
        url: The address that it listens on; None when its sockets cannot be seen.
        base_directory: The value of `--base-directory`, as an absolute path.
        models_directory: The value of `--models-directory`, as an absolute path.
        input_directory: The value of `--input-directory`, as an absolute path.
        extra_model_paths: The values of `--extra-model-paths-config`, as absolute paths.
    """

    pid: int
    folder: Path
    python: Path | None = None
    url: str | None = None
    base_directory: Path | None = None
    models_directory: Path | None = None
    input_directory: Path | None = None
    extra_model_paths: tuple[Path, ...] = ()


def find_running_comfyuis() -> tuple[ComfyUIProcess, ...]:
    """Return the ComfyUIs that run on this machine, the lowest process id first.

    Processes of other users, whose working directory cannot be read, and those in containers are left out.
    """
    import psutil

    found: list[ComfyUIProcess] = []
    for process in psutil.process_iter():
        try:
            server = _read_server(process)
        except (psutil.Error, OSError):
            continue
        if server is not None:
            found.append(server)
    return tuple(sorted(found, key=lambda server: server.pid))


def _read_server(process: psutil.Process) -> ComfyUIProcess | None:
    argv = process.cmdline()
    index = _find_main(argv)
    if index is None:
        return None
    cwd = Path(process.cwd())
    folder = (cwd / argv[index]).resolve().parent
    if not is_comfyui(folder):
        return None
    options = argv[index + 1 :]
    python = Path(argv[0])
    return ComfyUIProcess(
        pid=process.pid,
        folder=folder,
        python=python if python.is_absolute() and python.exists() else None,
        url=_build_url(list_sockets(process.pid)),
        base_directory=_find_path(options, "--base-directory", "--b", cwd),
        models_directory=_find_path(options, "--models-directory", "--models", cwd),
        input_directory=_find_path(options, "--input-directory", "--i", cwd),
        extra_model_paths=tuple(_list_extra_paths(options, cwd)),
    )


def _find_main(argv: Sequence[str]) -> int | None:
    # The interpreter comes first, and may have a few options.
    for index, argument in enumerate(argv[1:_ARGUMENTS_BEFORE_MAIN], start=1):
        if os.path.basename(argument) == _MAIN:
            return index
    return None


def _find_path(options: Sequence[str], name: str, shortest: str, cwd: Path) -> Path | None:
    value = find_option_value(options, name, shortest=shortest)
    return cwd / value if value else None


def _list_extra_paths(options: Sequence[str], cwd: Path) -> Iterator[Path]:
    """Yield the values of an option that takes several values and may be repeated (`comfy/cli_args.py`)."""
    is_value = False
    for option in options:
        if option.startswith("-"):
            name, has_value, text = option.partition("=")
            is_value = name == _EXTRA_PATHS_OPTION and not has_value
            if name == _EXTRA_PATHS_OPTION and has_value:
                yield cwd / text
        elif is_value:
            yield cwd / option


def _build_url(sockets: Sequence[tuple[str, int]]) -> str | None:
    """Return the address for a request from this machine; IPv4 is preferred."""
    for address, port in sorted(sockets, key=lambda item: (":" in item[0], item)):
        host = _WILDCARDS.get(address) or (f"[{address}]" if ":" in address else address)
        return f"http://{host}:{port}"
    return None
