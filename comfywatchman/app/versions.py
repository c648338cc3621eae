"""Connect `versions` with the other areas, whose functions it gets as arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from comfywatchman.app.environment import environment_checks, observed_loaders, production_folder
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.imports.check import find_environments
from comfywatchman.comfyui.imports.environment import read_environment
from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.readiness.assessment.dry_run import DryRunResult, ScannedWorkflow, scan_files
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.models.inventory import ModelFile
from comfywatchman.readiness.verdicts.workflow import judge_references
from comfywatchman.versions.collect import CollectTools, EnvironmentPlace, ModelInUse, VersionState
from comfywatchman.versions.home import VersionHome, read_home_marker
from comfywatchman.versions.lockfile import LockedPackage, LockedWorkflow, Unpinned
from comfywatchman.versions.model_sources import ModelDeclaration, find_declared
from comfywatchman.versions.packages import find_torch_backend
from comfywatchman.versions.place import ClonePlace, read_marker
from comfywatchman.versions.torch_builds import find_locked_backend
from comfywatchman.versions.verify import InstalledState


def read_version_state(
    session: Session, workflows: Sequence[Path], venv: Path | None, *, declared: Sequence[ModelDeclaration] = ()
) -> VersionState:
    """Read the state of the watched ComfyUI that a version would lock.

    Args:
        session: The session.
        workflows: Workflow files, and folders of them; none to lock no models.
        venv: The Python environment of ComfyUI; None to take production's, or the one beside ComfyUI.
        declared: Models that belong to the version whatever workflows use, and addresses of models.

    Raises:
        Failure: `comfyui-not-found`, `version-environment-unknown` or a `config-…` code.
    """
    installation = session.require_installation("to make a version of")
    models: tuple[ModelInUse, ...] = ()
    locked: tuple[LockedWorkflow, ...] = ()
    unfound: tuple[Unpinned, ...] = ()
    if workflows:
        result = scan_files(
            workflows,
            installation=installation,
            settings=session.settings,
            layout=session.layout,
            is_sample=session.is_sample,
            environment_checks=environment_checks(session),
            observed_loaders=observed_loaders(session),
            production=production_folder(session),
        )
        names = name_workflows([Path(workflow.path) for workflow in result.workflows], workflows)
        models, unfound = _find_models(result, names, installation)
        locked = tuple(_lock_workflow(workflow, names) for workflow in result.workflows)
    models, missing = _add_declared(models, declared, installation)
    unfound = (*unfound, *missing)
    return VersionState(
        comfyui=installation.root,
        comfyui_version=installation.version,
        custom_nodes=installation.base / "custom_nodes",
        environment=find_environment(session, installation, venv),
        models=models,
        workflows=locked,
        unfound=unfound,
    )


def read_installed_state(session: Session, venv: Path | None) -> InstalledState:
    """Return the places of the watched ComfyUI that a lock is compared with.

    Raises:
        Failure: `comfyui-not-found`, `version-environment-unknown` or a `config-…` code.
    """
    installation = session.require_installation("to compare with a version")
    environment = find_environment(session, installation, venv)
    return InstalledState(
        comfyui=installation.root,
        custom_nodes=installation.base / "custom_nodes",
        python=environment.python if environment is not None else None,
        paths=environment.paths if environment is not None else (),
        models=installation.models_directory,
        find_model=_build_model_finder(installation),
    )


def _build_model_finder(installation: Installation) -> Callable[[str], Path | None]:
    """Return a function that finds the file of a place below `models`, in whatever folder ComfyUI would find it."""
    folders, _blockers = resolve_folders(installation)

    def find_model(path: str) -> Path | None:
        place = installation.models_directory / path
        if place.exists():
            return place
        # It may lie on another disk that extra_model_paths.yaml names.
        name, _, rest = path.partition("/")
        folder = folders.get(name)
        for directory in folder.directories if folder is not None else ():
            if (directory / rest).exists():
                return directory / rest
        return None

    return find_model


def _add_declared(
    models: Sequence[ModelInUse], declared: Sequence[ModelDeclaration], installation: Installation
) -> tuple[tuple[ModelInUse, ...], tuple[Unpinned, ...]]:
    """Add declared models, and the addresses of those that workflows use; return the ones that are not there too."""
    files, missing = find_declared(declared, _build_model_finder(installation))
    known = {model.path: model for model in models}
    for entry in declared:
        if entry.path in files:
            model = known.get(entry.path) or ModelInUse(files[entry.path], entry.path)
            sources = (*model.sources, *entry.sources)
            known[entry.path] = replace(model, sources=sources, licence=entry.licence or model.licence)
    return tuple(known.values()), tuple(Unpinned(kind="model", name=path, reason="missing") for path in missing)


def find_environment(session: Session, installation: Installation, venv: Path | None) -> EnvironmentPlace | None:
    """Return the Python environment of a ComfyUI: the named one, production, ours, or the only one beside ComfyUI.

    Raises:
        Failure: `version-environment-unknown` when the named folder is none, or several may be ComfyUI's.
    """
    named = venv or production_folder(session) or _find_own_environment(installation)
    if named is not None:
        environment = read_environment(named.absolute())
        if environment is None:
            raise Failure(
                "version-environment-unknown",
                f"{printable_path(named)} is not a Python environment.",
                hint="Name the folder that holds bin/python: --venv FOLDER",
            )
        return EnvironmentPlace(environment.folder / "bin" / "python", environment.paths)
    environments = find_environments(installation, None)
    if len(environments) > 1:
        folders = ", ".join(environment.location for environment in environments)
        raise Failure(
            "version-environment-unknown",
            f"Several Python environments may be ComfyUI's: {folders}.",
            hint="Name the one that it runs with: --venv FOLDER",
        )
    if not environments:
        return None
    return EnvironmentPlace(environments[0].folder / "bin" / "python", environments[0].paths)


def _find_own_environment(installation: Installation) -> Path | None:
    """Return the environment that `version init` or `version clone` made for a ComfyUI; None when neither did."""
    root = installation.root.parent
    recorded = read_home_marker(VersionHome(root)).environment
    candidate = Path(recorded) if recorded else ClonePlace(root).environment
    is_ours = bool(recorded) or read_marker(root) is not None
    return candidate if is_ours and (candidate / "pyvenv.cfg").is_file() else None


def build_collect_tools(
    session: Session, environment: EnvironmentPlace | None, *, progress: Callable[[str], None], offline: bool
) -> CollectTools:
    """Build the functions that collecting a version needs."""

    def find_hashes(packages: Sequence[LockedPackage]) -> Mapping[str, tuple[str, ...]]:
        if environment is None or not packages:
            return {}
        progress("Looking up the hashes of packages")
        return _find_package_hashes(session, packages, environment.python, offline=offline)

    return CollectTools(build_model_hasher(session), find_hashes, progress)


def name_workflows(files: Sequence[Path], roots: Sequence[Path]) -> dict[str, str]:
    """Return the name of each workflow file below the argument that it was found under, with `/`."""
    names = {}
    for file in files:
        for root in roots:
            absolute = root.absolute()
            if file == absolute:
                names[str(file)] = file.name
                break
            if file.is_relative_to(absolute):
                names[str(file)] = file.relative_to(absolute).as_posix()
                break
    return names


def _lock_workflow(workflow: ScannedWorkflow, names: Mapping[str, str]) -> LockedWorkflow:
    status = workflow.verdict.status.value
    return LockedWorkflow(path=names[workflow.path], sha256=workflow.sha256, status=status)


def _find_models(
    result: DryRunResult, names: Mapping[str, str], installation: Installation
) -> tuple[tuple[ModelInUse, ...], tuple[Unpinned, ...]]:
    """Return the model files that active nodes use, and the names of those that are not there."""
    files = {model.path: model for model in result.host.inventory.all_models()}
    sources: dict[str, set[str]] = {}
    users: dict[str, set[str]] = {}
    unfound: set[Unpinned] = set()
    for workflow in result.workflows:
        lacking = tuple(node.class_type for node in workflow.verdict.missing_nodes)
        unfound.update(Unpinned(kind="node", name=name, reason="missing") for name in lacking)
        declared = {model.name: model.url for model in workflow.facts.declared if model.url}
        findings = judge_references(workflow.facts.references, result.host.inventory, lacking, result.host.choices)
        for finding in findings:
            if not finding.reference.active:
                continue
            if finding.path is None or finding.path not in files:
                name = finding.reference.value
                unfound.add(Unpinned(kind="model", name=name, reason=finding.state.value.replace("_", "-")))
                continue
            users.setdefault(finding.path, set()).add(names[workflow.path])
            url = declared.get(os.path.basename(finding.reference.value.replace("\\", "/")))
            if url is not None:
                sources.setdefault(finding.path, set()).add(url)
    models = []
    for path, workflows in users.items():
        place = _find_place(files[path], installation)
        models.append(ModelInUse(Path(path), place, tuple(sources.get(path, ())), tuple(workflows)))
    return tuple(models), tuple(unfound)


def _find_place(model: ModelFile, installation: Installation) -> str:
    """Return the place of a model below `models`; one of another disk is given the place that ComfyUI would accept."""
    path = Path(model.path)
    if path.is_relative_to(installation.models_directory):
        return path.relative_to(installation.models_directory).as_posix()
    return f"{model.folder}/{model.name}"


def build_model_hasher(session: Session) -> Callable[[Path], tuple[int, str]]:
    """Return a function for size and SHA-256 of a file; hashes of earlier cycles are used while a file is unchanged.

    The function raises `Failure` for a file that cannot be read.
    """
    from comfywatchman.readiness.database import open_database
    from comfywatchman.readiness.models.hashing import Hasher
    from comfywatchman.readiness.models.inventory import build_file_key

    with closing(open_database(session.layout.database)) as database:
        known = dict(ModelIndex(database).hashes())

    def hash_file(path: Path) -> tuple[int, str]:
        try:
            status = os.stat(path)
        except OSError as error:
            raise Failure("file-unreadable", f"{printable_path(path)} cannot be opened: {error.strerror}.") from error
        stored = known.get(build_file_key(status))
        if stored is not None:
            return status.st_size, stored.sha256
        with Hasher() as hasher:
            result = hasher.hash_file(os.fspath(path), with_autov3=False)
        if isinstance(result, str):
            raise Failure("file-unreadable", f"{printable_path(path)} {result}.")
        _key, hashes = result
        return status.st_size, hashes.sha256

    return hash_file


def _find_package_hashes(
    session: Session, packages: Sequence[LockedPackage], python: Path, *, offline: bool
) -> dict[str, tuple[str, ...]]:
    from comfywatchman.base.config import network_variables
    from comfywatchman.governance.store.records import InstalledPackage
    from comfywatchman.governance.store.settings import NetworkTable
    from comfywatchman.governance.uv.client import Uv, find_uv
    from comfywatchman.governance.uv.file_hashes import find_file_hashes

    hashes = _read_governed_hashes(session, packages)
    missing = [package for package in packages if package.name not in hashes]
    if missing and not offline:
        options = NetworkTable(offline=False, cache_dir="", index_url="", no_index=False, find_links=())
        uv = Uv(find_uv(), network_variables(), options)
        wanted = [InstalledPackage(package.name, package.version) for package in missing]
        # Builds such as +cu128 are in an index of their own.
        backend = find_locked_backend(find_torch_backend(missing))
        found = find_file_hashes(uv, wanted, python=python.absolute(), torch_backend=backend)
        for package, digests in found.items():
            hashes[package.name] = digests
    return hashes


def _read_governed_hashes(session: Session, packages: Sequence[LockedPackage]) -> dict[str, tuple[str, ...]]:
    """Return the hashes in the lock of the governed environment, where there is one."""
    if production_folder(session) is None:
        return {}
    from comfywatchman.governance.store.layout import GovLayout
    from comfywatchman.governance.store.records import InstalledPackage
    from comfywatchman.governance.store.uv_lock import parse_file_hashes

    try:
        text = GovLayout(session.governed_root).uv_lock.read_text("utf-8")
    except OSError:
        return {}
    known = parse_file_hashes(text)
    hashes = {}
    for package in packages:
        digests = known.get(InstalledPackage(package.name, package.version))
        if digests is not None:
            hashes[package.name] = digests
    return hashes
