"""What uv's words mean when it fails: the kind of trouble, and who asks for what. Pure.

uv has no machine-readable form of a failed resolution, and its exit status is 1 for a conflict, a stale lock and a
package that is not in its cache alike. The words below are those of uv 0.4 to 0.13: up to 0.12 a tree drawn with
lines and wrapped at 80 columns, from 0.13 on lines of `error:` and `cause:`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from packaging.requirements import InvalidRequirement, Requirement

from comfywatchman.governance.store.records import RequirementEdge
from comfywatchman.governance.store.truth import BASE_GROUP, NODE_PREFIX, PROJECT

UvErrorKind = Literal[
    "conflict", "offline_cache_miss", "network", "build_failed", "stale_lock", "not_found", "bad_input", "other"
]

PIN: Final = "pin"
"""The source of a constraint or override, which uv prints as if a package asked for it."""

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
_STALE: Final = ("needs to be updated, but", "Unable to find lockfile")
_OFFLINE: Final = ("network was disabled", "Network connectivity is disabled", "was not found in the cache")
_GONE: Final = (
    *("404 Not Found", "410 Gone", "Distribution not found at", "does not appear to be a git repository"),
    *("' not found", "couldn't find remote ref", "Remote branch", "not our ref"),
)
_NETWORK: Final = (
    *("Failed to fetch", "error sending request", "dns error", "tcp connect error", "operation timed out"),
    *("request or response body error", "error decoding response body", "HTTP status", "Unsupported `Content-Type`"),
    *("401 Unauthorized", "403 Forbidden", "valid authentication credentials", "invalid peer certificate", _GIT),
)
_BUILD: Final = ("Failed to build", "Failed to download and build", "build backend", "Build backend")
_ABSENT: Final = (
    *("was not found in the package registry", "was not found in the provided package locations"),
    *("there is no version of", "there are no versions of", "has an invalid package format", "requires Python"),
    "-compatible wheels",
)
_INPUT: Final = (
    *("Failed to parse", "malformed dependency groups", "unexpected argument", "invalid value", "No `project` table"),
    *("Required uv version", "project's Python requirement", "No interpreter found", "are incompatible with the"),
    "Failed to read `--find-links` directory",
)

_VERBS: Final = frozenset({"depends", "depend", "requires", "require", "is", "are", "was", "were", "has", "have"})
_ASKING: Final = frozenset({"depends", "depend", "requires", "require"})
_NO_NAMES: Final = frozenset({"your", "you", "we", "all", "only", "the", "there", "any", "python"})


def classify(status: int, text: str) -> UvErrorKind:
    """Say what kind of trouble uv had.

    What a build printed does not count, save for git's own words, which alone say why it failed.

    Args:
        status: Its exit status.
        text: What it printed on its standard error, in any layout, coloured or not.
    """
    if status == 0:
        return "other"
    plain = _strip_decoration(text)
    said = _join_lines(_CHILD_OUTPUT.split(plain, maxsplit=1)[0])
    said = _join_lines(plain) if _GIT in said else said
    ordered: tuple[tuple[UvErrorKind, Sequence[str]], ...] = (
        ("stale_lock", _STALE),
        ("offline_cache_miss", _OFFLINE),
        ("not_found", _GONE),
        ("network", _NETWORK),
        ("build_failed", _BUILD),
        ("conflict", (_UNSOLVED, "conflicting URLs for package")),
        ("bad_input", _INPUT),
    )
    kind: UvErrorKind = next((kind for kind, phrases in ordered if _contains_any(said, phrases)), "other")
    if kind == "conflict" and _contains_any(said, _ABSENT) and len(_find_declarers(text)) <= 1:
        return "not_found"
    return kind


def parse_edges(text: str, *, pins: Sequence[str] = ()) -> tuple[RequirementEdge, ...]:
    """Return who asks for what in a failed resolution, in uv's order, what it only concludes left out.

    A source is `base`, `node <id>` (the id as uv writes it: lower case, `-` for `_` and `.`), `group <name>`, `pin`, or
    a package with its versions. A requirement that uv shows as several ranges stands as the bare name.

    Args:
        text: What uv printed on its standard error, in any layout, coloured or not.
        pins: Constraints and overrides in force: uv prints them as if the package that they concern asked for them.
    """
    plain = _strip_decoration(text)
    start = plain.find(_UNSOLVED)
    if start < 0:
        return ()
    body = _MARKER.sub("", _join_lines(_HINT.split(plain[start:], maxsplit=1)[0]))
    known = {_normalize(pin) for pin in pins}
    edges: dict[RequirementEdge, None] = {}
    for part in body.split(_CONCLUSION):
        because = _BECAUSE.search(part)
        if because:
            edges.update(
                dict.fromkeys(_attribute_to_pin(edge, known) for edge in _parse_premises(part[because.end() :].split()))
            )
    return tuple(edges)


def is_root(edge: RequirementEdge) -> bool:
    """Say whether a requirement is one that somebody declared: ComfyUI, a node or another group."""
    return edge.source == BASE_GROUP or edge.source.startswith(("node ", "group "))


def _parse_premises(words: Sequence[str]) -> Iterator[RequirementEdge]:
    # "A depends on B and C depends on D": `subject` is where the words before the next verb begin.
    subject = at = 0
    while at < len(words):
        if words[at] in _ASKING:
            source = _parse_source(words[subject:at])
            at, wanted = _parse_targets(words, at + 1)
            if source:
                yield from (RequirementEdge(source=source, requirement=one) for one in wanted)
            subject = at
        elif words[at] == "and" or words[at].endswith(","):
            subject = at = at + 1
        else:
            at += 1


def _parse_targets(words: Sequence[str], at: int) -> tuple[int, list[str]]:
    wanted: list[str] = []
    is_union = False
    while at < len(words) and not _is_subject(words, at + (words[at] == "and")):
        word = words[at].rstrip(",.")
        requirement = _parse_requirement(word)
        if word in {"and", "of:"}:
            is_union = word == "of:"
        elif requirement and word not in {"on", "one"}:
            wanted.append(requirement.name if is_union else word)
        elif ":" not in word and word not in {"on", "one"}:
            break
        at += 1
    return at, wanted


def _is_subject(words: Sequence[str], at: int) -> bool:
    # In "… and C depends on D" the C is no further thing that is asked for.
    after = words[at + 1] if at + 1 < len(words) else ""
    return at < len(words) and (words[at] in _NO_NAMES or after in _VERBS)


def _parse_source(words: Sequence[str]) -> str | None:
    text = " ".join(words)
    if text in {"your project", "your workspace", "you", PROJECT}:
        return BASE_GROUP
    name = text.removeprefix("all versions of ")
    _, colon, group = name.rpartition(":")
    if " " in name or not colon:
        return name if _parse_requirement(name) else None
    if group == BASE_GROUP:
        return BASE_GROUP
    return f"node {group.removeprefix(NODE_PREFIX)}" if group.startswith(NODE_PREFIX) else f"group {group}"


def _find_declarers(text: str) -> set[str]:
    return {edge.source for edge in parse_edges(text) if is_root(edge)}


def _attribute_to_pin(edge: RequirementEdge, pins: set[str]) -> RequirementEdge:
    is_pin = bool(pins) and not is_root(edge) and _normalize(edge.requirement) in pins
    return RequirementEdge(source=PIN, requirement=edge.requirement) if is_pin else edge


def _normalize(line: str) -> str:
    requirement = _parse_requirement(line)
    return line if requirement is None else str(requirement).lower().replace("_", "-")


def _parse_requirement(word: str) -> Requirement | None:
    if word.lower() in _NO_NAMES:
        return None
    try:
        return Requirement(word)
    except InvalidRequirement:
        return None


def _strip_decoration(text: str) -> str:
    return _PREFIX.sub("", _ANSI.sub("", text[:_MAX_CHARACTERS]))


def _join_lines(text: str) -> str:
    return " ".join(text.split())


def _contains_any(text: str, phrases: Sequence[str]) -> bool:
    return any(phrase in text for phrase in phrases)
