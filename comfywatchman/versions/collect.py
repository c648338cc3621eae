"""Collecting a lock: the state of one ComfyUI, its nodes, packages, models and workflows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.versions.code import find_unpinned_code, lock_code, lock_nodes
from comfywatchman.versions.interpreter import read_interpreter
from comfywatchman.versions.licences import read_model_licence
from comfywatchman.versions.lockfile import (
    LockedModel,
    LockedPackage,
    LockedPython,
    LockedWorkflow,
    Unpinned,
    VersionLock,
    check_tag,
    find_lock_problem,
    seal_lock,
)
from comfywatchman.versions.packages import find_ambiguous_packages, find_torch_backend, read_packages
from comfywatchman.versions.requirements import find_package_gap

READY = "READY"


@dataclass(frozen=True, slots=True)
class EnvironmentPlace:
    """A Python environment: its interpreter, and the folders with its packages."""

    python: Path
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ModelInUse:
    """A model file that a workflow uses.

    Attributes:
        file: The file.
        path: Its place below `models`, with `/`.
        sources: Addresses that are known for it.
        used_by: The workflows that use it.
        licence: Its licence as somebody declared it; None to take that in the file.
    """

    file: Path
    path: str
    sources: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class VersionState:
    """The state of a host that a lock records.

    Attributes:
        comfyui: The folder with ComfyUI's main.py.
        comfyui_version: The version that it states.
        custom_nodes: The folder of its custom nodes.
        environment: Its Python environment; None when it has none.
        models: The models that the workflows use.
        workflows: The workflows.
        unfound: Parts that the workflows need and that are not on this host.
    """

    comfyui: Path
    comfyui_version: str | None
    custom_nodes: Path
    environment: EnvironmentPlace | None
    models: tuple[ModelInUse, ...] = ()
    workflows: tuple[LockedWorkflow, ...] = ()
    unfound: tuple[Unpinned, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectTools:
    """Functions of other parts of the program that collecting uses.

    Attributes:
        hash_file: Returns size and SHA-256 of a file; raises `Failure` when it cannot be read.
        find_hashes: Returns the hashes of the files that an index has for packages, by name; a package without an
            answer is left out.
        progress: Called with a text when a step begins.
    """

    hash_file: Callable[[Path], tuple[int, str]]
    find_hashes: Callable[[Sequence[LockedPackage]], Mapping[str, tuple[str, ...]]]
    progress: Callable[[str], None]


def collect_version(tag: str, state: VersionState, tools: CollectTools, *, require_ready: bool = False) -> VersionLock:
    """Record a state as a lock.

    Args:
        tag: The name of the version.
        state: The state.
        tools: Functions of other parts of the program.
        require_ready: Refuse a state with a workflow that is not READY.

    Raises:
        Failure: A `version-…` code.
    """
    check_tag(tag)
    if require_ready:
        _check_ready(state)
    tools.progress("Reading ComfyUI and its custom nodes")
    comfyui = lock_code(state.comfyui, "ComfyUI", version=state.comfyui_version)
    nodes = lock_nodes(state.custom_nodes)
    python = None
    if state.environment is not None:
        tools.progress("Reading the installed packages")
        python = _lock_python(state.environment, tools)
    models = []
    for model in sorted(state.models, key=lambda model: model.path):
        tools.progress(f"Hashing {model.path}")
        models.append(_lock_model(model, tools))
    unpinned = list(state.unfound)
    for code in (comfyui, *nodes):
        unpinned.extend(find_unpinned_code(code))
    unpinned.extend(_find_unpinned_packages(python))
    if state.environment is not None:
        ambiguous = find_ambiguous_packages(state.environment.paths)
        unpinned.extend(Unpinned(kind="package", name=name, reason="installed-twice") for name in ambiguous)
    unpinned.extend(
        Unpinned(kind="model", name=model.path, reason="no-source") for model in models if not model.sources
    )
    lock = VersionLock(
        tag=tag,
        comfyui=comfyui,
        nodes=nodes,
        python=python,
        models=tuple(models),
        workflows=tuple(sorted(state.workflows, key=lambda workflow: (workflow.path, workflow.sha256))),
        unpinned=tuple(sorted(set(unpinned))),
    )
    problem = find_lock_problem(lock)
    if problem is not None:
        raise Failure(
            "version-lock-invalid",
            f"The version would name {problem}, which no lock may hold.",
            hint="Rename or remove that file or folder, then run the command again.",
        )
    return seal_lock(lock)


def _check_ready(state: VersionState) -> None:
    unready = [workflow.path for workflow in state.workflows if workflow.status != READY]
    if not state.workflows:
        raise Failure(
            "version-not-ready",
            "No workflow was given, so nothing shows that this state works.",
            hint="Name workflows or folders: --workflow PATH",
        )
    if unready:
        shown = ", ".join(sorted(unready)[:3])
        more = "" if len(unready) <= len(unready[:3]) else f" and {len(unready) - 3} more"
        raise Failure(
            "version-not-ready",
            f"{len(unready)} of {len(state.workflows)} workflows are not READY: {shown}{more}.",
            hint="comfywatchman explain WORKFLOW shows why.",
        )


def _lock_python(place: EnvironmentPlace, tools: CollectTools) -> LockedPython:
    facts = read_interpreter(place.python)
    packages = read_packages(place.paths)
    missing = [package for package in packages if package.source == "index" and not package.hashes]
    hashes = tools.find_hashes(missing)
    complete = [_with_hashes(package, hashes.get(package.name, package.hashes)) for package in packages]
    return LockedPython(
        implementation=facts.implementation,
        version=facts.version,
        platform=facts.platform,
        torch_backend=find_torch_backend(packages),
        packages=tuple(complete),
    )


def _with_hashes(package: LockedPackage, hashes: Sequence[str]) -> LockedPackage:
    return msgspec.structs.replace(package, hashes=tuple(sorted(hashes)))


def _lock_model(model: ModelInUse, tools: CollectTools) -> LockedModel:
    try:
        size, sha256 = tools.hash_file(model.file)
    except Failure as failure:
        raise Failure(
            "version-model-unreadable",
            f"{printable_path(os.fspath(model.file))} cannot be hashed: {failure.message}",
            hint="Check the file and its disk, then run the command again.",
        ) from failure
    return LockedModel(
        path=model.path,
        size=size,
        sha256=sha256,
        sources=tuple(sorted(set(model.sources))),
        used_by=tuple(sorted(set(model.used_by))),
        licence=model.licence or read_model_licence(model.file) or msgspec.UNSET,
    )


def _find_unpinned_packages(python: LockedPython | None) -> list[Unpinned]:
    if python is None:
        return [Unpinned(kind="package", name="*", reason="no-environment")]
    unpinned = []
    for package in python.packages:
        reason = find_package_gap(package)
        if reason is not None:
            unpinned.append(Unpinned(kind="package", name=package.name, reason=reason))
    return unpinned
