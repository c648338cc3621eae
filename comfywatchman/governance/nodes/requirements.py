"""What a pack says it needs: its requirement files as people write them, read into lines that uv can lock.

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

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.governance.nodes.identity import redact_url

_FILE: Final = "requirements.txt"
_PROJECT_FILE: Final = "pyproject.toml"
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
_LINE_OPTION: Final = re.compile(r"\s--(?:hash|config-settings?|global-option|install-option)[ =].*$")
_EGG: Final = re.compile(r"(?:^|&)egg=([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^]]*\])?")
_SCHEMES: Final = frozenset({"https", "git+https", "git+ssh"})
_VARIABLE: Final = re.compile(r"\$\{[A-Z0-9_]+\}")


@dataclass(frozen=True, slots=True)
class NodeRequirements:
    """What a pack asks for.

    Attributes:
        lines: Requirements that can be locked, as PEP 508 lines, each once, in the order of the files.
        unnamed: Addresses of code whose package name only its build tells; they can be installed, and locked once an
            installation has told the name.
        hints: Lines of the pack's other requirement files: they say with which bounds it wants a package, if it is
            found to need it.
        unparseable: What cannot be governed, as `file: line (why)`; addresses without credentials.
    """

    lines: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    unparseable: tuple[str, ...] = ()


@dataclass(slots=True)
class _RequirementCollector:
    lines: dict[str, None] = field(default_factory=dict)
    unnamed: dict[str, None] = field(default_factory=dict)
    unparseable: dict[str, None] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


def read_requirements(folder: Path) -> NodeRequirements:
    """Read what the pack in a folder asks for; links are not followed, and files that are none count as absent."""

    def read(name: str) -> bytes | None:
        place = folder / name
        # A requirement file that is a link could show any file of this user in a report.
        if place.is_symlink() or place.parent.resolve() != (folder.resolve() / name).parent:
            return None
        try:
            return read_regular(place, max_bytes=_MAX_BYTES)
        except Failure:
            return None

    others = sorted(path.name for path in folder.glob("requirements*.txt") if path.name != _FILE)
    return collect_requirements(read, others)


def collect_requirements(read: Callable[[str], bytes | None], others: list[str]) -> NodeRequirements:
    """Read a pack's requirements; `requirements.txt` counts, and only without it `[project] dependencies`.

    ComfyUI's users and installers run `pip install -r requirements.txt`, so that is what a pack is tested with.

    Args:
        read: Gives the content of a file of the pack by its relative path, or None.
        others: The pack's other `requirements*.txt`.
    """
    main, aside = _RequirementCollector(), _RequirementCollector()
    project = _parse_project_dependencies(read(_PROJECT_FILE), main)
    if read(_FILE) is None:
        _parse_lines(project, _PROJECT_FILE, main, read)
    else:
        _parse_file(_FILE, main, read)
        _parse_lines(project, _PROJECT_FILE, aside, read)
    for name in others:
        _parse_file(name, aside, read)
    hints = tuple(line for line in aside.lines if line not in main.lines)
    return NodeRequirements(tuple(main.lines), tuple(main.unnamed), hints, tuple(main.unparseable))


def decode_text(content: bytes) -> str:
    """Decode a text file as its byte order mark says, else as UTF-8, else byte by byte; what is not text vanishes."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    if content[1:2] == b"\0":
        return content.decode("utf-16-le", "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def parse_name(line: str) -> str:
    """Return the normalised package name of a requirement line."""
    return canonicalize_name(Requirement(line).name)


def _parse_project_dependencies(content: bytes | None, found: _RequirementCollector) -> list[str]:
    if content is None:
        return []
    try:
        project = tomllib.loads(decode_text(content)).get("project", {})
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found.unparseable[f"{_PROJECT_FILE}: it is no TOML ({error})"] = None
        return []
    lines = project.get("dependencies", []) if isinstance(project, dict) else []
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []


def _parse_file(name: str, found: _RequirementCollector, read: Callable[[str], bytes | None]) -> None:
    if name in found.seen or len(found.seen) >= _MAX_FILES:
        return
    found.seen.add(name)
    content = read(name)
    if content is None:
        found.unparseable[f"{name}: it cannot be read, or is no file of this pack"] = None
        return
    _parse_lines(list(_split_logical_lines(decode_text(content))), name, found, read)


def _parse_lines(
    lines: list[str], name: str, found: _RequirementCollector, read: Callable[[str], bytes | None]
) -> None:
    for line in lines[:_MAX_LINES]:
        if match := _INCLUDE.fullmatch(line):
            _parse_file(posixpath.normpath(posixpath.join(posixpath.dirname(name), match[1].strip())), found, read)
        elif trouble := _parse_line(line, found):
            found.unparseable[f"{name}: {_redact_line(line)} ({trouble})"] = None
    if len(lines) > _MAX_LINES:
        found.unparseable[f"{name}: only its first {_MAX_LINES} lines were read"] = None


def _split_logical_lines(text: str) -> Iterator[str]:
    joined = re.sub(r"\\[ \t]*\r?\n", " ", text.replace("\0", ""))
    for line in joined.splitlines():
        stripped = re.sub(r"(^|\s)#.*$", "", line).strip()
        if stripped:
            yield stripped


def _parse_line(line: str, found: _RequirementCollector) -> str | None:
    """Sort one line in; return why it cannot be governed, or None."""
    match = _EDITABLE.fullmatch(line)
    text = _LINE_OPTION.sub("", f" {match[1] if match else line}").strip()
    if text[:1] in {'"', "'"} and text[-1] == text[0]:
        text = text[1:-1]
    if text.startswith("-"):
        return "an option; give indexes in [network] of the governed config.toml"
    if _VARIABLE.search(text):
        return "it takes a value from an environment variable"
    if "://" in text and "@" not in text.split("://", 1)[0]:
        return _parse_address(text, found)
    return _parse_named(text, found)


def _parse_named(text: str, found: _RequirementCollector) -> str | None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        is_path = text.startswith((".", "/", "~")) or "/" in text or text.endswith((".whl", ".tar.gz", ".zip"))
        return "a path of this machine" if is_path else "not a requirement"
    if requirement.url and (trouble := _find_url_problem(requirement.url)):
        return trouble
    found.lines[str(requirement)] = None
    return None


def _parse_address(text: str, found: _RequirementCollector) -> str | None:
    """Take a bare address: its name stands in `#egg=`, in a wheel's file name, or nowhere."""
    url, _, marker = text.partition(" ;")
    if trouble := _find_url_problem(url):
        return trouble
    parts = urlsplit(url)
    named = _find_name(url)
    bare = _strip_egg(url)
    if named is None:
        if marker.strip():
            return "an address without a package name cannot have a condition; write it as `name @ address ; condition`"
        if not parts.scheme.startswith("git+"):
            return "an address without a package name; write it as `name @ address`"
        found.unnamed[bare] = None
        return None
    return _parse_named(f"{named} @ {bare}{f' ; {marker.strip()}' if marker.strip() else ''}", found)


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
    before, _, fragment = url.partition("#")
    kept = "&".join(part for part in fragment.split("&") if part and not part.startswith("egg="))
    return f"{before}#{kept}" if kept else before


def _find_url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, password, user = parts.hostname, parts.password, parts.username
    except ValueError:
        return "no address"
    if parts.scheme.lower() not in _SCHEMES or not host:
        return "only https, git+https and git+ssh addresses are taken"
    if password or (user and user != "git"):
        return "its address holds credentials"
    if host.startswith("-") or "::" in url or not url.isprintable() or " " in url:
        return "no address"
    return None


def _redact_line(line: str) -> str:
    text = re.sub(r"\S+://\S+", lambda match: redact_url(match[0]), line)
    return "".join(char if char.isprintable() else "?" for char in text)[:200]
