"""Check which packs a host can import, and which of their classes it can use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from comfywatchman.comfyui.imports.checker import ImportChecker
from comfywatchman.comfyui.imports.core_modules import CoreModules
from comfywatchman.comfyui.imports.core_start import CoreNodeFile, is_unguarded
from comfywatchman.comfyui.imports.environment import PythonEnvironment, read_environment
from comfywatchman.comfyui.imports.host import ImportHost, PackEffects
from comfywatchman.comfyui.imports.problems import NO_PROBLEMS, ImportProblem, PackImports, ProblemKind
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.start_blockers import StartBlocker
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.packs.scan import PackListing
from comfywatchman.comfyui.static_analysis.import_steps import PackOutline

CHECKER_VERSION: Final = 12
"""Part of the key under which results are cached. Raise it whenever the same facts may give other results."""

_DECODER: Final = msgspec.msgpack.Decoder(PackOutline)
_MANAGER: Final = "comfyui-manager"
_TORCH: Final = "torch"
_EXIT: Final = "SystemExit"
_FOLDER_NAMES: Final = ("venv", ".venv")
_TOO_DEEP: Final = ImportProblem(
    ProblemKind.UNRESOLVED,
    "RecursionError",
    "",
    None,
    "",
    "too many of its modules import one another in a row, or its functions call one another, to be followed",
    is_certain=False,
)


@dataclass(frozen=True)
class PackSource:
    """A pack with its files.

    Attributes:
        listing: Its files.
        pack: Its facts.
    """

    listing: PackListing
    pack: NodePack

    @cached_property
    def outline(self) -> PackOutline:
        """What must succeed for it to be imported."""
        return _DECODER.decode(self.pack.outline) if self.pack.outline else PackOutline()


def find_environments(installation: Installation, python_folder: Path | None) -> tuple[PythonEnvironment, ...]:
    """Return the Python environments that may be ComfyUI's; none when it is not known.

    Args:
        installation: The ComfyUI.
        python_folder: The environment that is known to be ComfyUI's; None to look for one beside it.
    """
    if python_folder is not None:
        environment = read_environment(python_folder)
        return (environment,) if environment is not None else ()
    found: dict[Path, PythonEnvironment] = {}
    for parent in (installation.root, installation.base, installation.root.parent):
        for name in _FOLDER_NAMES:
            folder = parent / name
            if not os.path.isfile(folder / "pyvenv.cfg"):
                continue
            environment = read_environment(folder)
            # ComfyUI does not start without torch, so it uses another environment.
            if environment is not None and (_TORCH in environment.names or environment.obstacle is not None):
                is_guess = parent != installation.root
                found.setdefault(folder.resolve(), replace(environment, is_guess=is_guess))
    return tuple(found.values())


class PackChecks(NamedTuple):
    """The result of a check of all packs.

    Attributes:
        problems: What keeps packs and classes from being used, by the path of the pack; only of packs with problems.
        read_paths: Files and folders that packs read when they are imported, whether they exist or not.
        node_files: Why files of ComfyUI's own nodes cannot be imported, by their path below ComfyUI's folder.
    """

    problems: dict[str, PackImports]
    read_paths: frozenset[Path]
    node_files: Mapping[str, ImportProblem] = MappingProxyType({})


def check_packs(
    sources: Sequence[PackSource],
    core: CoreModules | None,
    comfyui_version: str | None,
    environments: Sequence[PythonEnvironment],
    core_packages: frozenset[str] = frozenset(),
    *,
    folders: frozenset[str] | None = None,
    node_files: Sequence[CoreNodeFile] = (),
) -> PackChecks:
    """Find what keeps packs and classes from being used.

    Args:
        sources: The packs.
        core: ComfyUI's own modules; None without its source.
        comfyui_version: Its version.
        environments: The Python environments that may be ComfyUI's.
        core_packages: Python packages that ComfyUI itself imports at its start.
        folders: The model folders that ComfyUI knows without packs; None when they are not known.
        node_files: The files of ComfyUI's own nodes.
    """
    enabled = [source for source in sources if source.pack.enabled]
    host = ImportHost(core, comfyui_version, environments, _collect_effects(enabled, folders), core_packages)
    problems: dict[str, PackImports] = {}
    for source in enabled:
        imports = _check_pack(source, host)
        if imports != NO_PROBLEMS:
            problems[source.pack.path] = imports
    broken = {} if core is None else _check_node_files(node_files, host, core.root)
    return PackChecks(problems, frozenset(host.read_paths), broken)


def _check_pack(source: PackSource, host: ImportHost) -> PackImports:
    checker = ImportChecker(source.outline, host, source.listing.sources, _find_root(source.listing))
    classes: dict[str, ImportProblem] = {}
    try:
        problem = checker.check_pack()
        if problem is None or not problem.is_certain:
            for class_type in sorted(source.outline.classes):
                class_problem = checker.check_class(class_type)
                if class_problem is not None and class_problem != problem:
                    classes[class_type] = class_problem
    except RecursionError:
        # Python itself gives up at a few hundred modules that import one another in a row.
        return PackImports(_TOO_DEEP)
    return PackImports(problem, classes)


def _check_node_files(files: Iterable[CoreNodeFile], host: ImportHost, root: Path) -> dict[str, ImportProblem]:
    broken: dict[str, ImportProblem] = {}
    for node_file in files:
        for use in node_file.imports.uses:
            absence = host.find_absence(use.module)
            if absence is None or absence.kind is not ProblemKind.PYTHON_PACKAGE or not is_unguarded(use, root):
                continue
            file, line = use.chain[-1]
            broken[node_file.file] = ImportProblem(
                absence.kind,
                "ModuleNotFoundError",
                file,
                line,
                f"import {use.module}",
                absence.explanation,
                absence.is_certain,
                absence.obstacle,
            )
            break
    return broken


def _find_root(listing: PackListing) -> Path:
    """Return the folder of a pack; of a one-file pack, the folder that holds it."""
    return listing.path.parent if os.path.isfile(listing.path) else listing.path


def find_exit_blockers(packs: Iterable[NodePack], problems: Mapping[str, PackImports]) -> tuple[StartBlocker, ...]:
    """Return the packs on whose import ComfyUI exits: it catches every other error of a pack.

    Args:
        packs: The packs.
        problems: What `check_packs` returned.
    """
    blockers: list[StartBlocker] = []
    for pack in packs:
        problem = problems.get(pack.path, NO_PROBLEMS).problem
        if problem is not None and problem.is_certain and problem.error == _EXIT:
            reason = f"the node pack {pack.folder} ends ComfyUI when it is imported ({problem.explanation})"
            fix = f"Update {pack.folder}, or disable it."
            blockers.append(StartBlocker(Path(pack.path) / problem.file, problem.line, reason, fix))
    return tuple(blockers)


def _collect_effects(sources: Iterable[PackSource], folders: frozenset[str] | None) -> PackEffects:
    sources = list(sources)
    sets_names = frozenset[str]().union(*(source.outline.sets_names for source in sources))
    installers = [source.pack.folder for source in sources if _installs_packages(source)]
    return PackEffects(
        sources=tuple(source.listing.sources for source in sources),
        sets_names=sets_names,
        installer=installers[0] if installers else None,
        folders=folders,
    )


def _installs_packages(source: PackSource) -> bool:
    # ComfyUI-Manager installs what a pack requires when it installs the pack, and nothing at a later start.
    return source.outline.installs_packages and not source.pack.is_called(_MANAGER)
