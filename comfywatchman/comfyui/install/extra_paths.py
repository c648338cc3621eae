"""Read ComfyUI's extra_model_paths.yaml, which names further model folders, with ComfyUI's own rules."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.install.start_blockers import StartBlocker

if TYPE_CHECKING:
    import yaml

_MAX_BYTES: Final = 128 << 10
_MAX_MERGED_KEYS: Final = 10_000
_MAX_NUMBER_LENGTH: Final = 100
_MAX_ENTRIES: Final = 10_000

_REPAIR: Final = "Correct this line, or move the file away."
_EXPECTED_PATH: Final = "Write a folder there, or delete the line; several folders go on lines of their own below `|`."
_YAML_FIXES: Final = (
    ("escape", "Write Windows paths without quotes or in single quotes: in double quotes, \\ begins an escape."),
    ("'\\t'", "Replace the tab by spaces."),
)
"""A part of PyYAML's message, and what to do then."""


@dataclass(frozen=True, slots=True)
class ExtraPath:
    """One folder that an extra_model_paths.yaml names.

    Attributes:
        folder: The model folder's name as written there; it may be an alias (`unet`, `clip`).
        directory: The directory with the models, absolute and normalised.
        is_default: ComfyUI searches this directory first, and writes to it.
        line: The line that names it, from 1; None when it is not known.
        base: The `base_path` or the file's folder, when the directory lies in it; else the directory itself.
    """

    folder: str
    directory: Path
    is_default: bool
    line: int | None = None
    base: Path | None = None


class _InvalidExtraPaths(Exception):
    """A fault on which ComfyUI's loader raises."""

    def __init__(self, reason: str, *, line: int | None = None, fix: str = _REPAIR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.fix = fix


def read_extra_paths(path: Path) -> tuple[ExtraPath, ...] | StartBlocker:
    """Read one file with the rules of `utils/extra_config.py`, which are the same in ComfyUI 0.3.75 to 0.33.

    `base_path` may use `~` and environment variables. A relative `base_path`, and a relative entry without one, is
    relative to the file's folder. A value may hold several lines.

    Returns:
        The folders. A blocker for each file on which ComfyUI's loader raises, or which cannot be read here.
    """
    try:
        content = read_regular(path, max_bytes=_MAX_BYTES)
    except Failure as failure:
        fix = "Create the file, make it readable, or take it out of the configuration and of ComfyUI's options."
        return StartBlocker(path, None, failure.message.rstrip("."), fix, hides_folders=True)
    try:
        text = _decode(content)
        document, root = _load_yaml(text)
        return tuple(_read_document(document, root, path.absolute().parent))
    except _InvalidExtraPaths as error:
        return StartBlocker(path, error.line, error.reason, error.fix, hides_folders=True)


def _decode(content: bytes) -> str:
    try:
        return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _InvalidExtraPaths("it is not UTF-8 text", line=line, fix="Save the file as UTF-8.") from error


def _load_yaml(text: str) -> tuple[Any, yaml.Node | None]:
    """Return the value of the only document and its node; only the node knows lines."""
    import yaml

    # Not the faster loader in C: it accepts files that ComfyUI's loader refuses, such as a tab after a colon.
    class GuardedLoader(yaml.SafeLoader):
        """A safe loader that stops before nested merge keys (`<<:`) fill the memory."""

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            super().flatten_mapping(node)
            if len(node.value) > _MAX_MERGED_KEYS:
                raise yaml.YAMLError("it merges more keys than any real file has")

        def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
            # YAML 1.1 reads 1:30 as 90; the time for a long number of this kind grows with the square of its length.
            if len(node.value) > _MAX_NUMBER_LENGTH:
                raise yaml.YAMLError("it holds a number that is longer than any real one")
            return super().construct_yaml_int(node)

        def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
            if len(node.value) > _MAX_NUMBER_LENGTH:
                raise yaml.YAMLError("it holds a number that is longer than any real one")
            return super().construct_yaml_float(node)

    # PyYAML registers the functions of its own class, not the names of the methods.
    GuardedLoader.add_constructor("tag:yaml.org,2002:int", GuardedLoader.construct_yaml_int)
    GuardedLoader.add_constructor("tag:yaml.org,2002:float", GuardedLoader.construct_yaml_float)
    try:
        loader = GuardedLoader(text)
        root = loader.get_single_node()
        return (None if root is None else loader.construct_document(root)), root
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise _InvalidExtraPaths("it contains a character that YAML does not allow", line=line) from error
    except yaml.MarkedYAMLError as error:
        raise _describe_syntax_error(error) from error
    # A value that its tag does not allow: `!!int x`, the date 2020-13-45.
    except (yaml.YAMLError, AttributeError, LookupError, RecursionError, ValueError) as error:
        raise _InvalidExtraPaths(f"it is not valid YAML: {str(error) or type(error).__name__}") from error


def _describe_syntax_error(error: yaml.MarkedYAMLError) -> _InvalidExtraPaths:
    mark = error.problem_mark or error.context_mark
    problem = " ".join((error.problem or error.context or "").split())
    fix = _REPAIR
    for part, advice in _YAML_FIXES:
        if part in problem:
            fix = advice
    return _InvalidExtraPaths(f"it is not valid YAML: {problem}", line=mark.line + 1 if mark else None, fix=fix)


def _read_document(document: Any, root: yaml.Node | None, yaml_folder: Path) -> Iterator[ExtraPath]:
    if document is None:
        fix = "Delete the file, or add a section to it."
        raise _InvalidExtraPaths("it is empty, or everything in it is commented out", line=1, fix=fix)
    # ComfyUI loops over the document and the sections, so an empty text or list does no harm.
    if not isinstance(document, dict):
        if document in ("", b"", [], set()):
            return
        raise _InvalidExtraPaths(f"it is {_describe_kind(document)} instead of sections", line=1)
    # Anchors can multiply a few lines into millions of entries.
    count = 0
    for section, settings in document.items():
        node, line = _find_value(root, section)
        if settings is None or settings in ("", [], set()):
            continue
        if not isinstance(settings, dict):
            reason = f"section {str(section)!r} is {_describe_kind(settings)} instead of folders"
            raise _InvalidExtraPaths(reason, line=line)
        for extra_path in _read_section(settings, node, yaml_folder):
            count += 1
            if count > _MAX_ENTRIES:
                raise _InvalidExtraPaths(f"it names more than {_MAX_ENTRIES} folders")
            yield extra_path


def _read_section(settings: dict[Any, Any], node: yaml.Node | None, yaml_folder: Path) -> Iterator[ExtraPath]:
    # Taken out, as ComfyUI does: a second section that is an alias (`*x`) of this one then has neither of them.
    base = yaml_folder
    if "base_path" in settings:
        base = _resolve_base_folder(settings.pop("base_path"), _find_value(node, "base_path")[1], yaml_folder)
    # ComfyUI takes any value that Python counts as true, the text "false" included.
    is_default = bool(settings.pop("is_default", False))
    for folder, value in settings.items():
        line = _find_value(node, folder)[1]
        if not isinstance(value, str):
            reason = f"{str(folder)!r} {_describe_value(value)}"
            raise _InvalidExtraPaths(reason, line=line, fix=_EXPECTED_PATH)
        # ComfyUI accepts a number or a date as a name, but no node asks for a folder by such a name.
        if not isinstance(folder, str):
            continue
        for entry in value.split("\n"):
            if entry:
                yield _build_extra_path(folder, entry, base, is_default=is_default, line=line)


def _build_extra_path(folder: str, entry: str, base: Path, *, is_default: bool, line: int | None) -> ExtraPath:
    base = Path(os.path.normpath(base))
    directory = Path(os.path.normpath(base / entry))
    return ExtraPath(folder, directory, is_default, line, base if directory.is_relative_to(base) else directory)


def _resolve_base_folder(value: Any, line: int | None, yaml_folder: Path) -> Path:
    if not isinstance(value, str):
        fix = "Write the folder there, in single quotes if it is a number, or delete the line."
        raise _InvalidExtraPaths(f"'base_path' {_describe_value(value)}", line=line, fix=fix)
    try:
        expanded = os.path.expandvars(os.path.expanduser(value))
    # `~name` with a NUL byte: the name is looked up among the users.
    except ValueError as error:
        raise _InvalidExtraPaths("'base_path' is not a possible path", line=line) from error
    return yaml_folder / expanded


def _find_value(node: yaml.Node | None, key: object) -> tuple[yaml.Node | None, int | None]:
    """Return the node of a key's value in a mapping and the line of the key; the last one of several counts."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in reversed(node.value):
            if key_node.value == str(key):
                return value_node, key_node.start_mark.line + 1
        return None, node.start_mark.line + 1
    return None, None


def _describe_value(value: object) -> str:
    return "has no value" if value is None else f"is {_describe_kind(value)} instead of a folder"


def _describe_kind(value: object) -> str:
    if isinstance(value, bool):
        return "yes or no"
    kinds = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), f"a value of type {type(value).__name__}")
