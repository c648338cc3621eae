"""Restoring the models of a version: files that are missing, and on request those with another content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import fsync_folder, make_folder, unwritable_failure
from comfywatchman.versions.lockfile import LockedModel, VersionLock
from comfywatchman.versions.verify import PartFinding, PartState

_SET_ASIDE = ".replaced"
"""Suffix of a file that gives way; ComfyUI lists no such file."""


class RestoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome for one model.

    Attributes:
        path: Its place below `models`.
        is_restored: Whether it is now as the lock says.
        code: Code of the failure; None without one.
        message: The failure, for people.
    """

    path: str
    is_restored: bool
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class RestoreTools:
    """Functions of other parts of the program that restoring uses.

    Attributes:
        place_model: Puts a model at a path that is free, from this host or from one of its sources; raises `Failure`.
        hash_file: Returns size and SHA-256 of a file; raises `Failure`.
    """

    place_model: Callable[[LockedModel, Path], None]
    hash_file: Callable[[Path], tuple[int, str]]


def restore_models(
    lock: VersionLock, findings: Iterable[PartFinding], models: Path, tools: RestoreTools, *, overwrite: bool
) -> tuple[RestoredModel, ...]:
    """Put the models back that a comparison found missing.

    A file with another content is replaced only on request, and comes back when its successor is not available.

    Args:
        lock: The lock.
        findings: The comparison of the lock with the host.
        models: The `models` folder.
        tools: Functions of other parts of the program.
        overwrite: Whether files with another content are replaced.
    """
    locked = {model.path: model for model in lock.models}
    wanted = {PartState.MISSING, PartState.DIFFERENT} if overwrite else {PartState.MISSING}
    outcomes = []
    for finding in findings:
        if finding.kind == "model" and finding.state in wanted:
            model = locked[finding.name]
            try:
                _restore(model, models / model.path, tools)
            except Failure as failure:
                outcome = RestoredModel(path=model.path, is_restored=False, code=failure.code, message=failure.message)
            else:
                outcome = RestoredModel(path=model.path, is_restored=True)
            outcomes.append(outcome)
    return tuple(outcomes)


def _restore(model: LockedModel, path: Path, tools: RestoreTools) -> None:
    aside = path.with_name(path.name + _SET_ASIDE)
    try:
        make_folder(path.parent)
        if os.path.lexists(path):
            os.rename(path, aside)
        try:
            tools.place_model(model, path)
            _require_content(model, path, tools)
        except BaseException:
            if os.path.lexists(aside):
                os.replace(aside, path)
            raise
        aside.unlink(missing_ok=True)
        fsync_folder(path.parent)
    except OSError as error:
        raise unwritable_failure(path, error) from error


def _require_content(model: LockedModel, path: Path, tools: RestoreTools) -> None:
    if tools.hash_file(path) == (model.size, model.sha256):
        return
    path.unlink()
    raise Failure(
        "version-model-unavailable",
        f"The file found for {model.path} differs from the locked one.",
        hint="Put the right file into a model folder of this host and run a cycle.",
    )
