"""Comparing two locks: what changed between two versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from comfywatchman.versions.lockfile import LockedCode, LockedPython, VersionLock


class Change(StrEnum):
    """How a part differs between two versions."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class VersionDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One part that differs between two versions.

    Attributes:
        kind: `comfyui`, `node`, `python`, `package`, `model` or `workflow`.
        name: Its name.
        change: How it differs.
        before: What the first version has; empty for an added part.
        after: What the second one has; empty for a removed part.
    """

    kind: str
    name: str
    change: Change
    before: str = ""
    after: str = ""


def compare_versions(first: VersionLock, second: VersionLock) -> tuple[VersionDifference, ...]:
    """Return all parts that differ, by kind and name; empty when both locks describe the same state."""
    pairs = (
        ("comfyui", _describe_all((first.comfyui,)), _describe_all((second.comfyui,))),
        ("node", _describe_all(first.nodes), _describe_all(second.nodes)),
        ("python", _describe_python(first.python), _describe_python(second.python)),
        ("package", _describe_packages(first.python), _describe_packages(second.python)),
        ("model", {m.path: m.sha256 for m in first.models}, {m.path: m.sha256 for m in second.models}),
        ("workflow", {w.path: w.sha256 for w in first.workflows}, {w.path: w.sha256 for w in second.workflows}),
    )
    differences: list[VersionDifference] = []
    for kind, before, after in pairs:
        differences.extend(_compare_parts(kind, before, after))
    return tuple(differences)


def _compare_parts(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[VersionDifference]:
    for name in sorted({*before, *after}):
        left, right = before.get(name), after.get(name)
        if left == right:
            continue
        change = Change.CHANGED
        if left is None:
            change = Change.ADDED
        elif right is None:
            change = Change.REMOVED
        yield VersionDifference(kind=kind, name=name, change=change, before=left or "", after=right or "")


def _describe_all(codes: tuple[LockedCode, ...]) -> dict[str, str]:
    return {code.name: _describe_code(code) for code in codes}


def _describe_code(code: LockedCode) -> str:
    if code.commit is None:
        return f"code {code.code_sha256}"
    if code.dirty_tree is None:
        return code.commit
    return f"{code.commit} with changes {code.dirty_tree}"


def _describe_python(python: LockedPython | None) -> dict[str, str]:
    if python is None:
        return {}
    return {"Python": f"{python.implementation} {python.version} on {python.platform}"}


def _describe_packages(python: LockedPython | None) -> dict[str, str]:
    described = {}
    for package in python.packages if python else ():
        text = package.version
        if package.commit:
            text += f" at {package.commit}"
        if package.installed_sha256:
            # Two builds of one version differ in their files.
            text += f" (files {package.installed_sha256[:12]})"
        described[package.name] = text
    return described
