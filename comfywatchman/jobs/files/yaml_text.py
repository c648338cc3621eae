"""Parse YAML 1.2 text into plain values, with the line of each field.

The core schema of YAML 1.2 decides types: `050` is 50, `NO` is text, and a date is text. YAML 1.1, which PyYAML follows
by itself, reads them as 40, false and a date. A key given twice, a tag and a value that JSON cannot hold are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem

if TYPE_CHECKING:
    import yaml

MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000
"""Most values of a file with aliases expanded: a few lines of aliases can stand for millions of values."""

TAG: Final = "tag:yaml.org,2002:"
CORE_PATTERNS: Final = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)
"""The core schema (YAML 1.2.2, section 10.3.2): tag, pattern, and the characters that such a value begins with."""

_MIN_INT: Final = -(1 << 63)
_MAX_INT: Final = (1 << 64) - 1
"""Largest seed of ComfyUI, and what JSON readers hold exactly."""

_MAX_INT_DIGITS: Final = 30
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
"""Neither JSON nor a database holds half a surrogate pair, and PostgreSQL no NUL."""


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """The mapping that a file holds.

    Attributes:
        value: Plain values: text, numbers, true and false, None, lists, and mappings with text as keys.
        lines: The line of each field by its path (`inputs.prompt`, `prompts.0`), from 1.
    """

    value: dict[str, Any]
    lines: Mapping[str, int]


def parse_yaml(content: bytes) -> YamlDocument:
    """Parse the only document of a file; an empty file is an empty mapping.

    Raises:
        JobFileError: The content is not such a document; whatever the bytes are, nothing else is raised.
    """
    import yaml

    text = _decode(content)
    try:
        root = _build_loader()(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise JobFileError(
            [JobFileProblem("This line contains a character that YAML does not allow.", line)]
        ) from error
    except yaml.MarkedYAMLError as error:
        raise _describe_syntax_error(error, text) from error
    except RecursionError as error:
        raise JobFileError([JobFileProblem(f"It is nested more than {MAX_DEPTH} levels deep.")]) from error
    # PyYAML does not guard every escape and directive: "\U00110000" is a ValueError of chr().
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError) as error:
        raise JobFileError([JobFileProblem(f"It is not valid YAML: {str(error) or type(error).__name__}.")]) from error
    if root is None:
        return YamlDocument({}, {})
    builder = _ValueBuilder()
    value = builder.build(root, "", 0)
    if value is None:
        return YamlDocument({}, {})
    if not isinstance(value, dict):
        raise JobFileError([JobFileProblem("It is not a list of fields such as `job_type: T2I`.", 1)])
    return YamlDocument(value, builder.lines)


@dataclass(slots=True)
class _ValueBuilder:
    """Builds plain values from the nodes of one document."""

    lines: dict[str, int] = field(default_factory=dict)
    count: int = 0

    def build(self, node: yaml.Node, path: str, depth: int) -> Any:
        import yaml

        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self.count += 1
        if self.count > MAX_NODES:
            raise JobFileError([JobFileProblem(f"It holds more than {MAX_NODES} values.", line, path)])
        # An alias inside its own anchor has no end either.
        if depth > MAX_DEPTH:
            raise JobFileError([JobFileProblem(f"It is nested more than {MAX_DEPTH} levels deep.", line, path)])
        if isinstance(node, yaml.MappingNode):
            _check_tag(node, "map", line, path)
            return self._build_mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            _check_tag(node, "seq", line, path)
            return [self.build(item, _join(path, index), depth + 1) for index, item in enumerate(node.value)]
        return _build_scalar(node, line, path)

    def _build_mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        import yaml

        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise JobFileError([JobFileProblem("The name of a field must be plain text.", line, path)])
            key = key_node.value
            field_path = _join(path, key)
            if key in values:
                raise JobFileError([JobFileProblem("This field is given twice.", line, field_path)])
            _check_text(key, line, path)
            # The line of the name, not that of a value below it.
            self.lines[field_path] = line
            values[key] = self.build(value_node, field_path, depth + 1)
        return values


@cache
def _build_loader() -> type[yaml.SafeLoader]:
    import yaml

    # Not the faster loader in C: deep nesting ends the process instead of raising RecursionError.
    class CoreSchemaLoader(yaml.SafeLoader):
        """A loader with the types of YAML 1.2."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the class attribute of PyYAML

    for name, pattern, first in CORE_PATTERNS:
        CoreSchemaLoader.add_implicit_resolver(TAG + name, re.compile(f"(?:{pattern})$"), first)
    return CoreSchemaLoader


def _decode(content: bytes) -> str:
    encoding = "utf-8-sig"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        # Windows' editors call this "Unicode".
        encoding = "utf-16"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise JobFileError([JobFileProblem("It is not UTF-8 text. Save it as UTF-8.", line)]) from error


def _describe_syntax_error(error: yaml.MarkedYAMLError, text: str) -> JobFileError:
    mark = error.problem_mark or error.context_mark
    problem = " ".join((error.problem or error.context or "").split())
    line = mark.line + 1 if mark else None
    # The mark is at the end of the text where more was expected.
    is_incomplete = mark is not None and not text[mark.index :].strip()
    if "'\\t'" in problem:
        problem += "; replace the tab by spaces"
    return JobFileError([JobFileProblem(f"It is not valid YAML: {problem}.", line)], is_incomplete=is_incomplete)


def _build_scalar(node: yaml.Node, line: int, path: str) -> Any:
    text = node.value
    tag = node.tag.removeprefix(TAG)
    if tag == "str":
        return _check_text(text, line, path)
    if tag == "null":
        return None
    if tag == "bool" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if tag == "int":
        return _build_int(text, line, path)
    if tag == "float":
        return _build_float(text, line, path)
    raise JobFileError([JobFileProblem(f"Tags such as {node.tag!r:.60} are not allowed here.", line, path)])


def _build_int(text: str, line: int, path: str) -> int:
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    try:
        number = int(text[2:] if base != 10 else text, base) if len(text) <= _MAX_INT_DIGITS else None  # noqa: PLR2004
    except ValueError:
        # A tag that its value does not have: `!!int x`.
        number = None
    if number is None or not _MIN_INT <= number <= _MAX_INT:
        raise JobFileError([JobFileProblem("This is not a number that ComfyUI can hold.", line, path)])
    return number


def _build_float(text: str, line: int, path: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise JobFileError([JobFileProblem("This is not a finite number.", line, path)])
    return number


def _check_text(text: str, line: int, path: str) -> str:
    if _UNSTORABLE.search(text):
        raise JobFileError([JobFileProblem("This text contains a character that cannot be stored.", line, path)])
    return text


def _check_tag(node: yaml.Node, kind: str, line: int, path: str) -> None:
    if node.tag != TAG + kind:
        raise JobFileError([JobFileProblem(f"Tags such as {node.tag!r:.60} are not allowed here.", line, path)])


def _join(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)
