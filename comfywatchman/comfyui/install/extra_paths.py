"""Read ComfyUI's extra_model_paths.yaml, which names further model folders, with ComfyUI's own rules."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular

_MAX_BYTES: Final = 1 << 20
_MAX_MERGED_KEYS: Final = 10_000
_MAX_ENTRIES: Final = 10_000


@dataclass(frozen=True, slots=True)
class ExtraPath:
    """One line of an extra_model_paths.yaml.

    Attributes:
        folder: The model folder's name as written there; it may be an alias (`unet`, `clip`).
        directory: The directory with the models, absolute and normalised.
        is_default: ComfyUI searches this directory first, and writes to it.
    """

    folder: str
    directory: Path
    is_default: bool


class _InvalidExtraPaths(Exception):
    """The reason why ComfyUI could not read the file."""


def read_extra_paths(path: Path) -> tuple[ExtraPath, ...]:
    """Read one file with the rules of ComfyUI 0.33 (`utils/extra_config.py`).

    `base_path` may use `~` and environment variables. A relative `base_path`, and a relative entry without one, is
    relative to the file's folder. A value may hold several lines.

    Raises:
        Failure: `comfyui-config-invalid` for each file on which ComfyUI refuses to start.
    """
    try:
        document = _load_yaml(read_regular(path, max_bytes=_MAX_BYTES))
        return tuple(_parse_document(document, path.absolute().parent))
    except Failure as failure:
        raise _invalid_failure(path, failure.message) from failure
    except _InvalidExtraPaths as error:
        raise _invalid_failure(path, f"{error}.") from error


def _load_yaml(content: bytes) -> Any:
    import yaml

    # The loader in C is much faster, but not part of every build of PyYAML.
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class GuardedLoader(base):  # type: ignore[misc]  # the base is chosen at run time
        """A safe loader that stops before nested merge keys (`<<:`) fill the memory."""

        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            if len(node.value) > _MAX_MERGED_KEYS:
                raise yaml.YAMLError("it merges more keys than any real file has")

    try:
        return yaml.load(content.decode("utf-8"), Loader=GuardedLoader)  # noqa: S506 - derived from the safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _InvalidExtraPaths(" ".join(str(error).split()) or type(error).__name__) from error


def _parse_document(document: Any, yaml_folder: Path) -> Iterator[ExtraPath]:
    if not isinstance(document, dict):
        raise _InvalidExtraPaths("it has no sections")
    # Anchors can multiply a few lines into millions of entries.
    count = 0
    for section, settings in document.items():
        # A section whose lines are all commented out.
        if settings is None:
            continue
        for extra_path in _parse_section(str(section), settings, yaml_folder):
            count += 1
            if count > _MAX_ENTRIES:
                raise _InvalidExtraPaths(f"it names more than {_MAX_ENTRIES} folders")
            yield extra_path


def _parse_section(name: str, settings: Any, yaml_folder: Path) -> Iterator[ExtraPath]:
    if not isinstance(settings, dict):
        raise _InvalidExtraPaths(f"section {name!r} has no settings")
    base = _resolve_base_folder(name, settings, yaml_folder)
    # ComfyUI takes any value that Python counts as true.
    is_default = bool(settings.get("is_default", False))
    for folder, lines in settings.items():
        if folder in {"base_path", "is_default"}:
            continue
        # No system call accepts a NUL byte.
        if not isinstance(lines, str) or "\0" in lines:
            raise _InvalidExtraPaths(f"{folder!r} in section {name!r} is not a path")
        for line in lines.split("\n"):
            if line:
                directory = os.path.normpath(os.path.join(base, line))
                yield ExtraPath(str(folder), Path(directory), is_default)


def _resolve_base_folder(section: str, settings: dict[Any, Any], yaml_folder: Path) -> str:
    if "base_path" not in settings:
        return str(yaml_folder)
    base = settings["base_path"]
    if not isinstance(base, str) or "\0" in base:
        raise _InvalidExtraPaths(f"base_path in section {section!r} is not a path")
    return os.path.join(yaml_folder, os.path.expandvars(os.path.expanduser(base)))


def _invalid_failure(path: Path, reason: str) -> Failure:
    return Failure(
        "comfyui-config-invalid",
        f"{printable_path(path)} cannot be used: {reason}",
        hint="ComfyUI itself refuses to start on this file; correct or remove it.",
    )
