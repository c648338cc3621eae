"""Read the requirement files of ComfyUI or a node pack into lines that uv can lock.

Formats: pip's requirements file (https://pip.pypa.io/en/stable/reference/requirements-file-format/) and PEP 508.
"""

from __future__ import annotations

import codecs
import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from comfywatchman.base.address import redact_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.parsing.toml_text import parse_toml

_FILE: Final = "requirements.txt"
_PROJECT_FILE: Final = "pyproject.toml"
_MANAGER_FILE: Final = "manager_requirements.txt"
"""Newer versions of ComfyUI list there what they need with `--enable-manager`."""
_MAX_FILES: Final = 20
_MAX_BYTES: Final = 1 << 20
_MAX_LINES: Final = 2000
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_INCLUDE: Final = re.compile(r"(?:-r|--requirement)(?:[ =]\s*|(?=[^\s-]))(.+)")
_EDITABLE: Final = re.compile(r"(?:-e|--editable)(?:[ =]\s*|(?=[^\s-]))(.+)")
_INDEX_OPTION: Final = re.compile(r"(?:-i|--index-url|--extra-index-url)[ =]\s*((?:https?|file)://\S+)")
_LINE_OPTION: Final = re.compile(r"\s--(?:hash|config-settings?|global-option|install-option)[ =].*$")
_EGG: Final = re.compile(r"(?:^|&)egg=([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^]]*\])?")
_SCHEMES: Final = frozenset({"https", "git+https", "git+ssh"})
_VARIABLE: Final = re.compile(r"\$\{[A-Z0-9_]+\}")


ReadFile = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class NodeRequirements:
    """The requirements of ComfyUI or a pack.

    Attributes:
        lines: Requirements that can be locked, as PEP 508 lines, each once, in the order of the files.
        unnamed: URLs of repositories whose package name only their build shows; they can be installed, and locked
            once an installation has shown the name.
        hints: Lines of the pack's other requirement files: the bounds for packages that it installs by itself.
        unparseable: Lines that cannot be governed, as `file: line (reason)`; URLs without credentials.
        options: The lines of `unparseable` that are options of pip, such as `--extra-index-url`.
        index_urls: The indexes that these options name, without those whose URL contains credentials.
    """

    lines: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    unparseable: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    index_urls: tuple[str, ...] = ()


@dataclass(slots=True)
class _RequirementCollector:
    """The lines read so far; the dictionaries are ordered sets."""

    lines: dict[str, None] = field(default_factory=dict)
    unnamed: dict[str, None] = field(default_factory=dict)
    unparseable: dict[str, None] = field(default_factory=dict)
    options: dict[str, None] = field(default_factory=dict)
    index_urls: dict[str, None] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


def read_requirements(folder: Path) -> NodeRequirements:
    """Read the requirements of the pack in a folder; links and files that cannot be read count as missing."""
    others = sorted(path.name for path in folder.glob("requirements*.txt") if path.name != _FILE)
    return collect_requirements(lambda name: _read_pack_file(folder, name), others)


def read_comfyui_requirements(comfyui: Path, *, with_manager: bool = False) -> NodeRequirements | None:
    """Read the requirements of ComfyUI itself; None when it has no requirements.txt that can be read.

    Its pyproject.toml describes the program for developers and is not read.

    Args:
        comfyui: The folder with main.py.
        with_manager: Whether ComfyUI is started with `--enable-manager`, which needs further packages.
    """
    collector = _RequirementCollector()

    def read(name: str) -> bytes | None:
        return _read_pack_file(comfyui, name)

    if read(_FILE) is None:
        return None
    _parse_file(_FILE, collector, read)
    if with_manager and read(_MANAGER_FILE) is not None:
        _parse_file(_MANAGER_FILE, collector, read)
    return _build_requirements(collector, _RequirementCollector())


def collect_requirements(read: ReadFile, others: list[str]) -> NodeRequirements:
    """Parse the requirements of a pack from `requirements.txt`, or without one from `[project] dependencies`.

    Users and installers of ComfyUI run `pip install -r requirements.txt`, so that is what packs are tested with.

    Args:
        read: Returns the content of a file of the pack by its relative path, or None.
        others: The names of the pack's other `requirements*.txt`.
    """
    main, hints = _RequirementCollector(), _RequirementCollector()
    project_lines = _parse_project_dependencies(read(_PROJECT_FILE), main)
    if read(_FILE) is None:
        _parse_lines(project_lines, _PROJECT_FILE, main, read)
    else:
        _parse_file(_FILE, main, read)
        _parse_lines(project_lines, _PROJECT_FILE, hints, read)
    for name in others:
        _parse_file(name, hints, read)
    return _build_requirements(main, hints)


def _build_requirements(main: _RequirementCollector, hints: _RequirementCollector) -> NodeRequirements:
    return NodeRequirements(
        lines=tuple(main.lines),
        unnamed=tuple(main.unnamed),
        hints=tuple(line for line in hints.lines if line not in main.lines),
        unparseable=tuple(main.unparseable),
        options=tuple(main.options),
        index_urls=tuple(main.index_urls),
    )


def decode_text(content: bytes) -> str:
    """Decode a text file by its byte order mark, else as UTF-8, else as Latin-1."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    if content[1:2] == b"\0":
        # UTF-16 without a byte order mark: every second byte of ASCII text is zero.
        return content.decode("utf-16-le", "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def parse_name(line: str) -> str:
    """Return the normalised package name of a requirement line."""
    return canonicalize_name(Requirement(line).name)


def _read_pack_file(folder: Path, name: str) -> bytes | None:
    path = folder / name
    # A requirement file that is a link, or in a linked folder, could show any file of this user in a report.
    if path.is_symlink() or path.parent.resolve() != (folder.resolve() / name).parent:
        return None
    try:
        return read_regular(path, max_bytes=_MAX_BYTES)
    except Failure:
        return None


def _parse_project_dependencies(content: bytes | None, collector: _RequirementCollector) -> list[str]:
    if content is None:
        return []
    try:
        project = parse_toml(decode_text(content)).get("project", {})
    except tomllib.TOMLDecodeError as error:
        collector.unparseable[f"{_PROJECT_FILE}: it is not valid TOML ({error})"] = None
        return []
    lines = project.get("dependencies", []) if isinstance(project, dict) else []
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []


def _parse_file(name: str, collector: _RequirementCollector, read: ReadFile) -> None:
    if name in collector.seen or len(collector.seen) >= _MAX_FILES:
        return
    collector.seen.add(name)
    content = read(name)
    if content is None:
        collector.unparseable[f"{name}: it cannot be read, or is not a file of this pack"] = None
        return
    _parse_lines(list(_split_logical_lines(decode_text(content))), name, collector, read)


def _parse_lines(lines: list[str], name: str, collector: _RequirementCollector, read: ReadFile) -> None:
    for line in lines[:_MAX_LINES]:
        include = _INCLUDE.fullmatch(line)
        if include:
            # Relative to the file that includes it, as pip does.
            included = posixpath.join(posixpath.dirname(name), include[1].strip())
            _parse_file(posixpath.normpath(included), collector, read)
            continue
        problem = _parse_line(line, collector)
        if problem is not None:
            description = f"{name}: {_redact_line(line)} ({problem})"
            collector.unparseable[description] = None
            if line.startswith("-") and not _EDITABLE.fullmatch(line):
                collector.options[description] = None
            index = _INDEX_OPTION.fullmatch(line)
            if index and "@" not in index[1]:
                collector.index_urls[index[1]] = None
    if len(lines) > _MAX_LINES:
        collector.unparseable[f"{name}: only its first {_MAX_LINES} lines were read"] = None


def _split_logical_lines(text: str) -> Iterator[str]:
    """Yield the lines of a requirement file: continued lines joined, comments and empty lines left out."""
    joined = re.sub(r"\\[ \t]*\r?\n", " ", text.replace("\0", ""))
    for line in joined.splitlines():
        stripped = re.sub(r"(^|\s)#.*$", "", line).strip()
        if stripped:
            yield stripped


def _parse_line(line: str, collector: _RequirementCollector) -> str | None:
    """Collect one line; return why it cannot be governed, or None."""
    editable = _EDITABLE.fullmatch(line)
    text = _LINE_OPTION.sub("", f" {editable[1] if editable else line}").strip()
    is_quoted = text[:1] in {'"', "'"} and text[-1] == text[0]
    if is_quoted:
        text = text[1:-1]
    if text.startswith("-"):
        return "an option; configure indexes in [network.indexes] of the root's config.toml"
    if _VARIABLE.search(text):
        return "it takes a value from an environment variable"
    # `name @ https://…` has an @ before the scheme; a bare URL does not.
    if "://" in text and "@" not in text.split("://", 1)[0]:
        return _parse_address(text, collector)
    return _parse_requirement(text, collector)


def _parse_requirement(text: str, collector: _RequirementCollector) -> str | None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        is_path = text.startswith((".", "/", "~")) or "/" in text or text.endswith((".whl", ".tar.gz", ".zip"))
        return "a path of this machine" if is_path else "not a requirement"
    if requirement.url:
        problem = _find_url_problem(requirement.url)
        if problem is not None:
            return problem
    collector.lines[str(requirement)] = None
    return None


def _parse_address(text: str, collector: _RequirementCollector) -> str | None:
    """Collect a bare URL: its package name is in `#egg=`, in the file name of a wheel, or nowhere."""
    url, _, marker = text.partition(" ;")
    marker = marker.strip()
    problem = _find_url_problem(url)
    if problem is not None:
        return problem
    name = _find_name(url)
    bare_url = _strip_egg(url)
    if name is not None:
        condition = f" ; {marker}" if marker else ""
        return _parse_requirement(f"{name} @ {bare_url}{condition}", collector)
    if marker:
        return "a URL without a package name cannot have a condition; write it as `name @ URL ; condition`"
    if not urlsplit(url).scheme.startswith("git+"):
        return "a URL without a package name; write it as `name @ URL`"
    collector.unnamed[bare_url] = None
    return None


def _find_name(url: str) -> str | None:
    parts = urlsplit(url)
    if egg := _EGG.search(parts.fragment):
        return f"{egg[1]}{egg[2] or ''}"
    if parts.path.endswith(".whl"):
        try:
            return parse_wheel_filename(unquote(posixpath.basename(parts.path)))[0]
        except InvalidWheelFilename:
            return None
    return None


def _strip_egg(url: str) -> str:
    base, _, fragment = url.partition("#")
    others = [part for part in fragment.split("&") if part and not part.startswith("egg=")]
    return f"{base}#{'&'.join(others)}" if others else base


def _find_url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, password, user = parts.hostname, parts.password, parts.username
    except ValueError:
        return "not a valid URL"
    if parts.scheme.lower() not in _SCHEMES or not host:
        return "only https, git+https and git+ssh URLs are supported"
    if password or (user and user != "git"):
        return "its URL contains credentials"
    if host.startswith("-") or "::" in url or not url.isprintable() or " " in url:
        return "not a valid URL"
    return None


def _redact_line(line: str) -> str:
    text = re.sub(r"\S+://\S+", lambda match: redact_url(match[0]), line)
    return "".join(char if char.isprintable() else "?" for char in text)[:200]
