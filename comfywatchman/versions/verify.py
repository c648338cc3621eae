"""Verifying a lock: whether a ComfyUI, its nodes, packages and models are those of a version."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.versions.code import lock_code, lock_nodes
from comfywatchman.versions.describe import describe_code
from comfywatchman.versions.interpreter import read_interpreter
from comfywatchman.versions.lockfile import LockedCode, LockedModel, LockedPackage, LockedPython, VersionLock
from comfywatchman.versions.packages import read_packages


class PartState(StrEnum):
    """How a part of a version was found.

    Attributes:
        OK: As the lock says.
        MISSING: Not there.
        DIFFERENT: There, with another content, commit or version.
        EXTRA: There, and not in the lock.
        UNKNOWN: It could not be looked at.
    """

    OK = "ok"
    MISSING = "missing"
    DIFFERENT = "different"
    EXTRA = "extra"
    UNKNOWN = "unknown"


class PartFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a version, compared with the lock.

    Attributes:
        kind: `comfyui`, `node`, `python`, `package` or `model`.
        name: Its name.
        state: How it was found.
        expected: What the lock says, in short; empty where that is no news.
        actual: What is there.
    """

    kind: str
    name: str
    state: PartState
    expected: str = ""
    actual: str = ""


@dataclass(frozen=True, slots=True)
class InstalledState:
    """The parts of a host that a lock is compared with.

    Attributes:
        comfyui: The folder with ComfyUI's main.py.
        custom_nodes: The folder of its custom nodes.
        python: The interpreter; None when there is no environment.
        paths: The folders with its packages.
        models: The `models` folder.
        find_model: Returns the file of a place below `models`, in whatever folder ComfyUI would find it; None when
            there is none.
    """

    comfyui: Path
    custom_nodes: Path
    python: Path | None
    paths: tuple[Path, ...]
    models: Path
    find_model: Callable[[str], Path | None]


def verify_version(
    lock: VersionLock, state: InstalledState, *, hash_file: Callable[[Path], tuple[int, str]] | None
) -> tuple[PartFinding, ...]:
    """Compare everything in a lock with a host.

    Args:
        lock: The lock.
        state: The host.
        hash_file: Returns size and SHA-256 of a model; None to compare sizes only.
    """
    findings = [_compare_code(lock.comfyui, "comfyui", state.comfyui)]
    findings.extend(_compare_nodes(lock, state))
    findings.extend(_compare_python(lock.python, state))
    findings.extend(verify_models(lock.models, state.find_model, hash_file=hash_file))
    return tuple(findings)


def verify_models(
    models: Iterable[LockedModel],
    find_model: Callable[[str], Path | None],
    *,
    hash_file: Callable[[Path], tuple[int, str]] | None,
) -> Iterator[PartFinding]:
    """Compare the models of a lock with the files of a host; arguments as for `verify_version`."""
    for model in models:
        path = find_model(model.path)
        if path is None:
            yield PartFinding(kind="model", name=model.path, state=PartState.MISSING, expected=f"{model.size:,} bytes")
        else:
            yield _compare_model(model, path, hash_file)


def _compare_model(model: LockedModel, path: Path, hash_file: Callable[[Path], tuple[int, str]] | None) -> PartFinding:
    try:
        size = os.stat(path).st_size
        if size != model.size:
            return PartFinding(
                kind="model",
                name=model.path,
                state=PartState.DIFFERENT,
                expected=f"{model.size:,} bytes",
                actual=f"{size:,} bytes",
            )
        if hash_file is not None:
            _size, sha256 = hash_file(path)
            if sha256 != model.sha256:
                return PartFinding(
                    kind="model", name=model.path, state=PartState.DIFFERENT, expected=model.sha256, actual=sha256
                )
    except Failure as failure:
        return PartFinding(kind="model", name=model.path, state=PartState.UNKNOWN, actual=failure.message)
    except OSError as error:
        return PartFinding(kind="model", name=model.path, state=PartState.UNKNOWN, actual=error.strerror or str(error))
    return PartFinding(kind="model", name=model.path, state=PartState.OK)


def _compare_nodes(lock: VersionLock, state: InstalledState) -> Iterator[PartFinding]:
    expected = {node.name: node for node in lock.nodes}
    for node in lock.nodes:
        yield _compare_code(node, "node", state.custom_nodes / node.name)
    try:
        installed = lock_nodes(state.custom_nodes)
    except Failure:
        # A node that cannot be recorded is reported by its own comparison, or is not part of the version.
        return
    for node in installed:
        if node.name not in expected:
            yield PartFinding(kind="node", name=node.name, state=PartState.EXTRA, actual=describe_code(node))


def _compare_code(expected: LockedCode, kind: str, place: Path) -> PartFinding:
    if not os.path.lexists(place):
        return PartFinding(kind=kind, name=expected.name, state=PartState.MISSING, expected=describe_code(expected))
    try:
        actual = lock_code(place, expected.name)
    except Failure as failure:
        return PartFinding(kind=kind, name=expected.name, state=PartState.UNKNOWN, actual=failure.message)
    if _identify_code(actual) == _identify_code(expected):
        return PartFinding(kind=kind, name=expected.name, state=PartState.OK)
    return PartFinding(
        kind=kind,
        name=expected.name,
        state=PartState.DIFFERENT,
        expected=describe_code(expected),
        actual=describe_code(actual),
    )


def _identify_code(code: LockedCode) -> tuple[str | None, ...]:
    # The tree that is in use decides; two commits may have the same one, but then they are not the same version.
    return (code.commit, code.dirty_tree or code.tree, code.code_sha256)


def _compare_python(expected: LockedPython | None, state: InstalledState) -> Iterator[PartFinding]:
    if expected is None:
        return
    wanted = f"{expected.implementation} {expected.version} on {expected.platform}"
    if state.python is None:
        yield PartFinding(kind="python", name="Python", state=PartState.MISSING, expected=wanted)
        return
    try:
        facts = read_interpreter(state.python)
    except Failure as failure:
        yield PartFinding(kind="python", name="Python", state=PartState.UNKNOWN, actual=failure.message)
        return
    actual = f"{facts.implementation} {facts.version} on {facts.platform}"
    is_same = wanted == actual
    yield PartFinding(
        kind="python",
        name="Python",
        state=PartState.OK if is_same else PartState.DIFFERENT,
        expected="" if is_same else wanted,
        actual="" if is_same else actual,
    )
    yield from _compare_packages(expected.packages, read_packages(state.paths))


def _compare_packages(expected: Iterable[LockedPackage], installed: Iterable[LockedPackage]) -> Iterator[PartFinding]:
    present = {package.name: package for package in installed}
    for package in expected:
        actual = present.pop(package.name, None)
        if actual is None:
            yield PartFinding(kind="package", name=package.name, state=PartState.MISSING, expected=package.version)
        elif actual.version != package.version:
            yield PartFinding(
                kind="package",
                name=package.name,
                state=PartState.DIFFERENT,
                expected=package.version,
                actual=actual.version,
            )
        elif _are_other_files(package, actual):
            yield PartFinding(
                kind="package",
                name=package.name,
                state=PartState.DIFFERENT,
                expected=package.version,
                actual=f"{actual.version}, other files",
            )
        else:
            yield PartFinding(kind="package", name=package.name, state=PartState.OK)
    for package in present.values():
        yield PartFinding(kind="package", name=package.name, state=PartState.EXTRA, actual=package.version)


def _are_other_files(expected: LockedPackage, actual: LockedPackage) -> bool:
    known = expected.installed_sha256 is not None and actual.installed_sha256 is not None
    return known and expected.installed_sha256 != actual.installed_sha256
