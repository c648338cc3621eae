"""Build the command that starts ComfyUI for a trial: on a port of its own, apart from all data of the user."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular

_OPTION: Final = re.compile(r"""["'](--[a-z0-9][a-z0-9-]*)["']""")
_MAX_BYTES: Final = 1 << 20
_RESERVED_OPTIONS: Final = frozenset(
    {
        "--listen",
        "--port",
        "--tls-keyfile",
        "--tls-certfile",
        "--base-directory",
        "--output-directory",
        "--temp-directory",
        "--input-directory",
        "--user-directory",
        "--database-url",
        "--models-directory",
        "--auto-launch",
        "--disable-auto-launch",
        "--quick-test-for-ci",
        "--enable-compress-response-body",
    }
)
"""Options that a trial sets itself, or that would defeat its purpose."""

_MEMORY_OPTIONS: Final = frozenset({"--gpu-only", "--highvram", "--normalvram", "--lowvram", "--novram", "--cpu"})
"""ComfyUI's parser accepts at most one of these."""


def read_known_options(comfyui: Path) -> frozenset[str] | None:
    """Return the command line options of this ComfyUI; None if its source does not show them.

    They are read from `comfy/cli_args.py`, where each option is a string: `main.py --help` would import torch.
    """
    try:
        text = read_regular(comfyui / "comfy" / "cli_args.py", max_bytes=_MAX_BYTES).decode("utf-8", "replace")
    except Failure:
        return None
    # An empty set would mean that there are no options; a source that is written otherwise must not mean that.
    return frozenset(_OPTION.findall(text)) or None


def has_base_directory_option(options: frozenset[str] | None) -> bool:
    """Return whether this ComfyUI has `--base-directory` (since 0.3.11); true for unknown options."""
    return options is None or "--base-directory" in options


def build_command(
    python: Path, comfyui: Path, base: Path, port: int, *, use_cpu: bool, extra: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the whole command, without options that this ComfyUI does not have.

    Args:
        python: The interpreter.
        comfyui: The folder of `main.py`.
        base: The scratch base directory.
        port: The port to listen on, on 127.0.0.1.
        use_cpu: Whether to run without the GPU.
        extra: The user's own arguments.
    """
    options: list[tuple[str, str | None]] = [
        ("--listen", "127.0.0.1"),
        ("--port", str(port)),
        ("--base-directory", str(base)),
        ("--output-directory", str(base / "output")),
        # ComfyUI itself adds `temp` to this folder.
        ("--temp-directory", str(base)),
        ("--input-directory", str(base / "input")),
        ("--user-directory", str(base / "user")),
        ("--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"),
        ("--disable-auto-launch", None),
    ]
    if use_cpu:
        options.append(("--cpu", None))
    command = [str(python), str(comfyui / "main.py"), *_filter_arguments(extra, use_cpu=use_cpu)]
    known = read_known_options(comfyui)
    for name, value in options:
        if known is None or name in known:
            command.append(name if value is None else f"{name}={value}")
    return tuple(command)


def build_environment(python: Path, inherited_path: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return variables that make `pip`, `python` and `uv` in a node's installer use this environment.

    Args:
        python: The interpreter, `<environment>/bin/python`.
        inherited_path: The present `PATH`.
        extra: Further variables.
    """
    folder = python.parent
    return {
        **extra,
        "PATH": f"{folder}:{inherited_path}" if inherited_path else str(folder),
        "VIRTUAL_ENV": str(folder.parent),
        "PYTHONNOUSERSITE": "1",
    }


def _filter_arguments(extra: Sequence[str], *, use_cpu: bool) -> Iterator[str]:
    """Drop reserved options from the user's arguments, together with their values."""
    dropped = _RESERVED_OPTIONS
    if use_cpu:
        dropped |= _MEMORY_OPTIONS
    is_dropping = False
    for argument in extra:
        # What follows an option without a dash is its value.
        if argument.startswith("-"):
            is_dropping = argument.partition("=")[0] in dropped
        if not is_dropping:
            yield argument
