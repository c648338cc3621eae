"""Licences of models and node packs: what their files state, and which licences need a user's consent."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.parsing.toml_text import parse_toml
from comfywatchman.comfyui.models.metadata import read_metadata
from comfywatchman.versions.lockfile import LockedCode, LockedModel, get_licence

_MAX_FILE_BYTES: Final = 1 << 20
_MAX_CHARS: Final = 120
_FILE_NAME: Final = re.compile(r"(licen[cs]e|copying)([-_][a-z0-9-]+)?(\.(txt|md|rst|lesser))?", re.IGNORECASE)
_METADATA_KEYS: Final = ("modelspec.license", "general.license", "license")
_SPACES: Final = re.compile(r"[\s\x00-\x1f\x7f]+")

_TITLES: Final = (
    ("gnu affero general public license", "AGPL-3.0"),
    ("gnu lesser general public license", "LGPL"),
    ("gnu general public license version 3", "GPL-3.0"),
    ("gnu general public license version 2", "GPL-2.0"),
    ("apache license", "Apache-2.0"),
    ("mozilla public license", "MPL-2.0"),
    ("this is free and unencumbered software", "Unlicense"),
    ("mit license", "MIT"),
    ("permission is hereby granted, free of charge", "MIT"),
    ("redistribution and use in source and binary forms", "BSD"),
)
"""What the beginning of a licence file holds, and the name of the licence; the first that fits counts."""

_TITLE_CHARS: Final = 1200

# Not in "commercial and non-commercial use", which allows both.
_NON_COMMERCIAL: Final = (
    r"(?<!commercial and )(?<!commercial or )(?<!commercial/)non[-_ \u2010-\u2013]*commercial"
    r"(?!(?: and | or |/)commercial)"
)
_NO_COMMERCE: Final = re.compile(
    rf"{_NON_COMMERCIAL}|\b(?:no|not for) commercial"
    r"|commercial use (?:is )?(?:prohibited|forbidden|not (?:allowed|permitted))"
    r"|(?<![^\W_])nc(?![^\W_])"
    r"|research[-_ ](?:use[-_ ]|purposes?[-_ ])?only|academic[^.;]*\bonly\b|personal[-_ ]use",
    re.IGNORECASE,
)
_CLICK: Final = re.compile(r"\bgated\b|\bclick\b|\bmust be accepted\b|acceptance required", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LicensedPart:
    """A part of a version that is about to be fetched.

    Attributes:
        kind: `node` or `model`.
        name: Its name.
        licence: Its licence; None when nothing states it.
    """

    kind: str
    name: str
    licence: str | None

    @property
    def restriction(self) -> str | None:
        """Why the licence needs consent; None when it does not."""
        return find_restriction(self.licence)


def find_restriction(licence: str | None) -> str | None:
    """Return why a licence needs consent: it forbids commercial use, or must be accepted; None for others."""
    if licence is None:
        return None
    if _NO_COMMERCE.search(licence):
        return "forbids commercial use"
    return "must be accepted" if _CLICK.search(licence) else None


def list_licensed_parts(
    nodes: Iterable[LockedCode], models: Iterable[LockedModel], find_licence: Callable[[str], str | None]
) -> tuple[LicensedPart, ...]:
    """Return the licences of parts.

    Args:
        nodes: The node packs that are fetched.
        models: The models that are fetched.
        find_licence: Returns what a model site stated for a SHA-256; None when nothing is known.
    """
    parts = [LicensedPart("node", node.name, get_licence(node)) for node in nodes if node.source == "git"]
    parts += [LicensedPart("model", model.path, get_licence(model) or find_licence(model.sha256)) for model in models]
    return tuple(parts)


def read_code_licence(folder: Path) -> str | None:
    """Return the licence that a repository states: in pyproject.toml, else by the beginning of its licence file."""
    return _read_project_licence(folder / "pyproject.toml") or _read_licence_file(folder)


def read_model_licence(file: Path) -> str | None:
    """Return the licence in the metadata of a model file; None when it has none, or cannot be read."""
    metadata = read_metadata(file)
    entries = metadata.metadata if metadata is not None else {}
    return next((shorten_licence(entries[key]) for key in _METADATA_KEYS if entries.get(key)), None)


def shorten_licence(text: str) -> str | None:
    """Return a licence in one printable line; None when nothing is left of it."""
    line = _SPACES.sub(" ", text).strip()
    return line[:_MAX_CHARS] or None


def _read_project_licence(path: Path) -> str | None:
    try:
        content = parse_toml(read_regular(path, max_bytes=_MAX_FILE_BYTES).decode())
    except (Failure, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None
    project = content.get("project")
    licence = project.get("license") if isinstance(project, dict) else None
    text = licence.get("text") if isinstance(licence, dict) else licence
    if not isinstance(text, str):
        return None
    # Some hold the whole text of the licence.
    line = shorten_licence(text)
    return line if line is None or len(line) < _MAX_CHARS else _find_title(text) or line


def _read_licence_file(folder: Path) -> str | None:
    try:
        names = sorted(name for name in os.listdir(folder) if _FILE_NAME.fullmatch(name))
    except OSError:
        return None
    for name in names:
        try:
            text = read_regular(folder / name, max_bytes=_MAX_FILE_BYTES).decode(errors="replace")
        except Failure:
            continue
        return _find_title(text) or f"see {name}"
    return None


def _find_title(text: str) -> str | None:
    beginning = _SPACES.sub(" ", text[:_TITLE_CHARS]).lower()
    if re.search(_NON_COMMERCIAL, beginning):
        return "non-commercial"
    return next((name for title, name in _TITLES if title in beginning), None)
