"""Parsing uv's error messages: the kind of error, and the requirements that conflict. Pure.

uv has no machine-readable output for a failed resolution, and exits with 1 for a conflict, a stale lock and a missing
cache entry alike. The phrases below are those of uv 0.4 to 0.13: up to 0.12 a tree drawn with lines and wrapped at 80
columns, from 0.13 on lines of `error:` and `cause:`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from packaging.requirements import Requirement

from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.store.truth import BASE_GROUP, PROJECT
from comfywatchman.governance.uv.requirement import PIN, group_source, is_root, parse_requirement

UvErrorKind = Literal[
    "conflict", "offline_cache_miss", "network", "build_failed", "stale_lock", "not_found", "bad_input", "other"
]

# Longer messages are cut, so that parsing takes bounded time.
_MAX_CHARACTERS: Final = 1 << 20
_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_PREFIX: Final = re.compile(r"^[ \t\u00d7╰├─▶│]+", re.MULTILINE)
_MARKER: Final = re.compile(r"\{[^{}]*\}")
_CHILD_OUTPUT: Final = re.compile(r"^(?:\[stdout\]|\[stderr\]|--- stderr|--- stdout)", re.MULTILINE)
_HINT: Final = re.compile(r"^hint:", re.MULTILINE)
_BECAUSE: Final = re.compile(r"\bbecause\s", re.IGNORECASE)
_CONCLUSION: Final = "we can conclude that"
_UNSOLVED: Final = "No solution found when resolving"
_GIT: Final = "Git operation failed"

# A message may contain phrases of several kinds: the first kind in this order counts.
_PHRASES: Final[dict[UvErrorKind, tuple[str, ...]]] = {
    "stale_lock": (
        "needs to be updated, but",
        "Unable to find lockfile",
    ),
    "offline_cache_miss": (
        "network was disabled",
        "Network connectivity is disabled",
        "was not found in the cache",
    ),
    "not_found": (
        "404 Not Found",
        "410 Gone",
        "Distribution not found at",
        "does not appear to be a git repository",
        "' not found",
        "couldn't find remote ref",
        "Remote branch",
        "not our ref",
    ),
    "network": (
        "Failed to fetch",
        "error sending request",
        "dns error",
        "tcp connect error",
        "operation timed out",
        "request or response body error",
        "error decoding response body",
        "HTTP status",
        "Unsupported `Content-Type`",
        "401 Unauthorized",
        "403 Forbidden",
        "valid authentication credentials",
        "invalid peer certificate",
        _GIT,
    ),
    "build_failed": (
        "Failed to build",
        "Failed to download and build",
        "build backend",
        "Build backend",
    ),
    "conflict": (
        _UNSOLVED,
        "conflicting URLs for package",
    ),
    "bad_input": (
        "Failed to parse",
        "malformed dependency groups",
        "unexpected argument",
        "invalid value",
        "No `project` table",
        "Required uv version",
        "project's Python requirement",
        "No interpreter found",
        "are incompatible with the",
        "Failed to read `--find-links` directory",
    ),
}
# In an unsolved resolution these mean that a package or version does not exist.
_ABSENT_PHRASES: Final = (
    "was not found in the package registry",
    "was not found in the provided package locations",
    "there is no version of",
    "there are no versions of",
    "has an invalid package format",
    "requires Python",
    "-compatible wheels",
)

_VERBS: Final = frozenset({"depends", "depend", "requires", "require", "is", "are", "was", "were", "has", "have"})
_REQUIRING_VERBS: Final = frozenset({"depends", "depend", "requires", "require"})
# Words of uv's sentences that would also be valid names of packages.
_NOT_PACKAGES: Final = frozenset({"your", "you", "we", "all", "only", "the", "there", "any", "python"})


def classify(status: int, text: str) -> UvErrorKind:
    """Return the kind of a uv failure.

    Output of package builds is ignored, except for git's, which alone explains why a git operation failed.

    Args:
        status: uv's exit status.
        text: uv's standard error, in any layout, coloured or not.
    """
    if status == 0:
        return "other"
    plain = _strip_decoration(text)
    message = _join_lines(_CHILD_OUTPUT.split(plain, maxsplit=1)[0])
    if _GIT in message:
        message = _join_lines(plain)
    kind: UvErrorKind = next((kind for kind, phrases in _PHRASES.items() if _contains_any(message, phrases)), "other")
    # With two declarers of a package it is their combination that does not exist.
    if kind == "conflict" and _contains_any(message, _ABSENT_PHRASES) and len(_find_declarers(text)) <= 1:
        return "not_found"
    return kind


def parse_edges(text: str, *, pins: Sequence[str] = ()) -> tuple[RequirementEdge, ...]:
    """Return the requirements in a failed resolution, in uv's order, without uv's conclusions.

    A source is `base`, `node <id>` (the id as uv writes it: lower case, `-` for `_` and `.`), `group <name>`, `pin`, or
    a package with its versions. A requirement that uv shows as several ranges becomes the bare name.

    Args:
        text: uv's standard error, in any layout, coloured or not.
        pins: Constraints and overrides in force: uv prints them as if the package that they concern required them.
    """
    plain = _strip_decoration(text)
    start = plain.find(_UNSOLVED)
    if start < 0:
        return ()
    body = _MARKER.sub("", _join_lines(_HINT.split(plain[start:], maxsplit=1)[0]))
    normalized_pins = {_normalize(pin) for pin in pins}
    edges: dict[RequirementEdge, None] = {}
    # "Because A depends on B and C depends on D, we can conclude that …": the premises lie between the two phrases.
    for part in body.split(_CONCLUSION):
        because = _BECAUSE.search(part)
        if because is None:
            continue
        for edge in _parse_premises(part[because.end() :].split()):
            edges[_attribute_to_pin(edge, normalized_pins)] = None
    return tuple(edges)


def _parse_premises(words: Sequence[str]) -> Iterator[RequirementEdge]:
    # "A depends on B and C depends on D": `subject` is where the words before the next verb begin.
    subject = position = 0
    while position < len(words):
        word = words[position]
        if word in _REQUIRING_VERBS:
            source = _parse_source(words[subject:position])
            position, requirements = _parse_targets(words, position + 1)
            if source:
                for requirement in requirements:
                    yield RequirementEdge(source=source, requirement=requirement)
            subject = position
        elif word == "and" or word.endswith(","):
            position += 1
            subject = position
        else:
            position += 1


def _parse_targets(words: Sequence[str], position: int) -> tuple[int, list[str]]:
    """Parse the requirements after a verb; return the position after them, and the requirements."""
    requirements: list[str] = []
    is_union = False
    while position < len(words):
        next_subject = position + 1 if words[position] == "and" else position
        if _is_subject(words, next_subject):
            break
        word = words[position].rstrip(",.")
        requirement = _parse_word(word)
        if word in {"and", "of:"}:
            # "one of:" begins a list of ranges of one package; each "and" begins a new requirement.
            is_union = word == "of:"
        elif word in {"on", "one"}:
            pass
        elif requirement:
            requirements.append(requirement.name if is_union else word)
        elif ":" not in word:
            break
        position += 1
    return position, requirements


def _is_subject(words: Sequence[str], position: int) -> bool:
    """Return whether the words at a position begin a new clause: in "… and C depends on D" the C is not a target."""
    if position >= len(words):
        return False
    following = words[position + 1] if position + 1 < len(words) else ""
    return words[position] in _NOT_PACKAGES or following in _VERBS


def _parse_source(words: Sequence[str]) -> str | None:
    text = " ".join(words)
    if text in {"your project", "your workspace", "you", PROJECT}:
        return BASE_GROUP
    name = text.removeprefix("all versions of ")
    # uv writes a dependency group as `project:group`.
    _, colon, group = name.rpartition(":")
    if " " not in name and colon:
        return group_source(group)
    return name if _parse_word(name) else None


def _find_declarers(text: str) -> set[str]:
    return {edge.source for edge in parse_edges(text) if is_root(edge)}


def _attribute_to_pin(edge: RequirementEdge, pins: set[str]) -> RequirementEdge:
    if pins and not is_root(edge) and _normalize(edge.requirement) in pins:
        return RequirementEdge(source=PIN, requirement=edge.requirement)
    return edge


def _normalize(line: str) -> str:
    requirement = _parse_word(line)
    return line if requirement is None else str(requirement).lower().replace("_", "-")


def _parse_word(word: str) -> Requirement | None:
    if word.lower() in _NOT_PACKAGES:
        return None
    return parse_requirement(word)


def _strip_decoration(text: str) -> str:
    return _PREFIX.sub("", _ANSI.sub("", text[:_MAX_CHARACTERS]))


def _join_lines(text: str) -> str:
    return " ".join(text.split())


def _contains_any(text: str, phrases: Sequence[str]) -> bool:
    return any(phrase in text for phrase in phrases)
