"""The command that starts ComfyUI for a trial: alone on a port of its own, and away from everything of the user's."""

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
"""Arguments that a trial sets itself, or that would make it another thing than a trial."""

_MEMORY_OPTIONS: Final = frozenset({"--gpu-only", "--highvram", "--normalvram", "--lowvram", "--novram", "--cpu"})
"""One of these at most: ComfyUI's parser refuses a second."""


def read_known_options(comfyui: Path) -> frozenset[str] | None:
    """Return the options of this ComfyUI, read from its source; None when it does not tell, so that all are tried.

    Asking `main.py --help` would cost an import; `comfy/cli_args.py` names each option as a text.
    """
    try:
        text = read_regular(comfyui / "comfy" / "cli_args.py", max_bytes=_MAX_BYTES).decode("utf-8", "replace")
    except Failure:
        return None
    return frozenset(_OPTION.findall(text)) or None


def has_base_directory_option(options: frozenset[str] | None) -> bool:
    """Say whether this ComfyUI can be given a base directory of its own (since 0.3.11)."""
    return options is None or "--base-directory" in options


def build_command(
    python: Path, comfyui: Path, base: Path, port: int, *, use_cpu: bool, extra: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the whole command; options that this ComfyUI does not know are left out.

    Args:
        python: The interpreter.
        comfyui: The folder of `main.py`.
        base: The scratch base directory.
        port: Where it is to listen on 127.0.0.1.
        use_cpu: Whether the GPU is left alone.
        extra: A person's own arguments.
    """
    known = read_known_options(comfyui)
    wanted = [
        ("--listen", "127.0.0.1"),
        ("--port", str(port)),
        ("--base-directory", str(base)),
        ("--output-directory", str(base / "output")),
        ("--temp-directory", str(base)),
        ("--input-directory", str(base / "input")),
        ("--user-directory", str(base / "user")),
        ("--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"),
        ("--disable-auto-launch", None),
        *([("--cpu", None)] if use_cpu else []),
    ]
    given = [name if value is None else f"{name}={value}" for name, value in wanted if known is None or name in known]
    return (str(python), str(comfyui / "main.py"), *_filter_arguments(extra, use_cpu=use_cpu), *given)


def build_environment(python: Path, inherited_path: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which `pip`, `python` and `uv` of a node's installer mean this environment.

    Args:
        python: The interpreter, `<environment>/bin/python`.
        inherited_path: The search path of programs so far.
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
    """Yield what stays of a person's arguments; an option goes with its values."""
    dropped = _RESERVED_OPTIONS | (_MEMORY_OPTIONS if use_cpu else frozenset())
    skipping = False
    for part in extra:
        if part.startswith("-"):
            skipping = part.partition("=")[0] in dropped
        if not skipping:
            yield part
