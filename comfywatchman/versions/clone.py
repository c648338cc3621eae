"""Cloning a version: building it anew from its lock alone, beside its final name, and proving it before it gets that.

Each step looks first at what an interrupted run has left, so that running the command again goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import fsync_folder, make_folder, printable_path, unwritable_failure
from comfywatchman.base.git import list_tracked_files
from comfywatchman.base.text import pluralize
from comfywatchman.versions.code import lock_code
from comfywatchman.versions.lockfile import (
    LockedCode,
    LockedModel,
    LockedPackage,
    LockedPython,
    VersionLock,
)
from comfywatchman.versions.packages import record_origins
from comfywatchman.versions.place import ClonePlace, VersionMarker, read_marker, write_marker
from comfywatchman.versions.requirements import LOCAL_REPOSITORY, NO_HASH, find_package_gap
from comfywatchman.versions.staging import mark_environment, open_staging, remove_tree, require_inside
from comfywatchman.versions.verify import InstalledState, PartFinding, PartState, verify_version

_GIT_SECONDS: Final = 120.0
_SHOWN_GAPS: Final = 5


@dataclass(frozen=True, slots=True)
class CloneTools:
    """Functions of other parts of the program that cloning uses. Each raises `Failure`.

    Attributes:
        clone_code: Clones a repository at the locked commit into a folder that does not exist.
        make_environment: Creates an environment with the locked Python in a folder.
        install_packages: Installs exactly these packages into an environment.
        list_paths: Returns the folders with the packages of an environment.
        place_model: Puts a model at a path, from this host or from one of its sources; never replaces a file.
        hash_file: Returns size and SHA-256 of a file.
        start: Starts ComfyUI once; None to leave that out.
        progress: Called with a text when a step begins.
    """

    clone_code: Callable[[LockedCode, Path], None]
    make_environment: Callable[[LockedPython, Path], None]
    install_packages: Callable[[Path, Sequence[LockedPackage]], None]
    list_paths: Callable[[Path], tuple[Path, ...]]
    place_model: Callable[[LockedModel, Path], None]
    hash_file: Callable[[Path], tuple[int, str]]
    start: Callable[[ClonePlace], None] | None
    progress: Callable[[str], None]


def check_clonable(lock: VersionLock, *, allow_local: bool = False, with_models: bool = True) -> None:
    """Check that everything in a lock can be restored.

    Args:
        lock: The lock.
        allow_local: Whether repositories may be folders of this machine.
        with_models: Whether models belong to the clone; without them, missing ones do not count.

    Raises:
        Failure: `version-not-clonable`, with the parts that cannot.
    """
    # Without a hash a package is installed by its version, and its files are compared afterwards. A model without an
    # address may be on this host.
    harmless = {NO_HASH, "no-source"}
    if allow_local:
        harmless.add(LOCAL_REPOSITORY)
    gaps = {(gap.name, gap.reason) for gap in lock.unpinned if with_models or gap.kind != "model"}
    # A lock may come from anybody: what it states of its packages is not enough.
    for package in lock.python.packages if lock.python else ():
        gaps.add((package.name, find_package_gap(package) or NO_HASH))
    serious = sorted((name, reason) for name, reason in gaps if reason not in harmless)
    if not serious:
        return
    shown = ", ".join(f"{name} ({reason})" for name, reason in serious[:_SHOWN_GAPS])
    more = f" and {len(serious) - _SHOWN_GAPS} more" if len(serious) > _SHOWN_GAPS else ""
    raise Failure(
        "version-not-clonable",
        f"The version {lock.tag} cannot be built from its lock: {shown}{more}.",
        hint=_explain_gaps({reason for _name, reason in serious}),
    )


def _explain_gaps(reasons: set[str]) -> str:
    """Return the next step for the reasons why a version cannot be cloned."""
    if reasons == {LOCAL_REPOSITORY}:
        return "To clone from folders of this machine, give --allow-local."
    if reasons == {"no-environment"}:
        return "Make the version again, and name ComfyUI's Python environment: --venv FOLDER"
    return "Commit and push changed files, install packages from an index or a repository, and make the version again."


def clone_version(
    lock: VersionLock, target: Path, tools: CloneTools, *, with_models: bool = True, allow_local: bool = False
) -> ClonePlace:
    """Build a version in a new folder.

    Args:
        lock: The lock.
        target: The folder, which must not exist. Until all is proved, the files are in `<target>.partial`.
        tools: Functions of other parts of the program.
        with_models: Whether models belong to it.
        allow_local: Whether repositories may be folders of this machine.

    Raises:
        Failure: A `version-…` code, or the failure of a step. What was built stays for the next run.
    """
    check_clonable(lock, allow_local=allow_local, with_models=with_models)
    with open_staging(lock, target) as place:
        _build(lock, place, tools, with_models=with_models)
        try:
            os.rename(place.root, target)
            fsync_folder(target.parent)
        except OSError as error:
            raise unwritable_failure(target, error, verb="created") from error
    return ClonePlace(target)


def _build(lock: VersionLock, place: ClonePlace, tools: CloneTools, *, with_models: bool) -> None:
    """Build and prove all parts, and mark the clone as complete."""
    _clone_all_code(lock, place, tools)
    if lock.python is not None:
        _build_environment(lock, lock.python, place, tools)
    models = lock.models if with_models else ()
    for model in models:
        tools.progress(f"Model {model.path}")
        _place_model(model, place, tools)
    tools.progress("Comparing with the lock")
    _prove(lock, place, tools, with_models=with_models)
    if tools.start is not None:
        tools.progress("Starting ComfyUI once")
        tools.start(place)
    has_environment = lock.python is not None
    marker = VersionMarker(
        tag=lock.tag, content_sha256=lock.content_sha256, has_environment=has_environment, is_complete=True
    )
    write_marker(place, marker)


def find_installed_state(place: ClonePlace, tools: CloneTools, *, has_python: bool) -> InstalledState:
    """Return the places of a clone that its lock is compared with."""

    def find_model(path: str) -> Path | None:
        model = place.models / path
        return model if model.exists() else None

    return InstalledState(
        comfyui=place.comfyui,
        custom_nodes=place.custom_nodes,
        python=place.python if has_python else None,
        paths=tools.list_paths(place.environment) if has_python else (),
        models=place.models,
        find_model=find_model,
    )


def _clone_all_code(lock: VersionLock, place: ClonePlace, tools: CloneTools) -> None:
    _clone_code(lock.comfyui, place.comfyui, place, tools)
    for node in lock.nodes:
        if node.source == "git":
            _clone_code(node, place.custom_nodes / node.name, place, tools)


def _clone_code(code: LockedCode, folder: Path, place: ClonePlace, tools: CloneTools) -> None:
    require_inside(folder, place)
    if os.path.lexists(folder):
        if not folder.is_symlink() and _is_unchanged(code, folder):
            return
        remove_tree(folder)
    tools.progress(f"Cloning {code.name}")
    # Beside the final place: git calls a copy unchanged whose submodules are still missing.
    remove_tree(place.unfinished_code)
    tools.clone_code(code, place.unfinished_code)
    try:
        make_folder(folder.parent)
        os.rename(place.unfinished_code, folder)
    except OSError as error:
        raise unwritable_failure(folder, error, verb="created") from error


def _is_unchanged(code: LockedCode, folder: Path) -> bool:
    try:
        present = lock_code(folder, code.name)
    except Failure:
        # Its repository was damaged; it is cloned again.
        return False
    return (present.commit, present.dirty_tree) == (code.commit, None)


def _build_environment(lock: VersionLock, python: LockedPython, place: ClonePlace, tools: CloneTools) -> None:
    _require_own_environment(place)
    marker = read_marker(place.root)
    is_whole = marker is not None and marker.has_environment and place.python.exists()
    if not is_whole:
        # An installer that was killed leaves packages that look installed and lack files.
        remove_tree(place.environment)
        tools.progress(f"Creating an environment with Python {python.version}")
        tools.make_environment(python, place.environment)
    tools.progress(f"Installing {pluralize(len(python.packages), 'package')}")
    tools.install_packages(place.environment, python.packages)
    record_origins(tools.list_paths(place.environment), python.packages)
    mark_environment(lock, place)


def _require_own_environment(place: ClonePlace) -> None:
    """Check that the repository brings no environment: its interpreter would be run."""
    name = place.environment.name
    tracked = list_tracked_files(place.comfyui, name, timeout_seconds=_GIT_SECONDS)
    if tracked is None or tracked:
        raise Failure(
            "version-not-clonable",
            f"ComfyUI's repository has files of its own in {name}, where the clone's environment belongs.",
            hint="Do not use this version, or make it again from a repository without them.",
        )


def _place_model(model: LockedModel, place: ClonePlace, tools: CloneTools) -> None:
    path = place.models / model.path
    require_inside(path, place)
    try:
        if os.path.lexists(path):
            if not path.is_symlink() and tools.hash_file(path) == (model.size, model.sha256):
                return
            path.unlink()
        make_folder(path.parent)
        tools.place_model(model, path)
    except OSError as error:
        raise unwritable_failure(path, error) from error


def _prove(lock: VersionLock, place: ClonePlace, tools: CloneTools, *, with_models: bool) -> None:
    """Compare the clone with its lock.

    Raises:
        Failure: `version-clone-differs`.
    """
    state = find_installed_state(place, tools, has_python=lock.python is not None)
    findings = verify_version(lock, state, hash_file=tools.hash_file)
    wrong = [finding for finding in findings if _is_wrong(finding, with_models=with_models)]
    if wrong:
        first = wrong[0]
        shown = f"{first.kind} {first.name} is {first.state.value} (locked: {first.expected}, here: {first.actual})"
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise Failure(
            "version-clone-differs",
            f"The clone is not what the lock says: {shown}{more}.",
            hint=f"It is kept in {printable_path(place.root)}. Use the Python and platform of the lock, or make the"
            " version again on this machine.",
        )


def _is_wrong(finding: PartFinding, *, with_models: bool) -> bool:
    if finding.kind == "model" and not with_models:
        return False
    return finding.state is not PartState.OK
