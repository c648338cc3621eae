"""Cloning a version: git, uv, the models of this host, and downloads."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.app.session import Session
from comfywatchman.app.versions import build_model_hasher
from comfywatchman.base.config import network_variables
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import fsync_file, printable_path
from comfywatchman.base.git_clone import Repository, clone_repository, set_origin
from comfywatchman.base.process import run_with_timeout
from comfywatchman.comfyui.imports.environment import read_environment
from comfywatchman.governance.nodes.identity import parse_origin
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.governance.uv.client import Uv, UvResult, find_uv
from comfywatchman.versions.clone import CloneTools
from comfywatchman.versions.interpreter import read_interpreter
from comfywatchman.versions.lockfile import LockedCode, LockedModel, LockedPackage, LockedPython, VersionLock
from comfywatchman.versions.model_sources import find_source_file, resolve_source
from comfywatchman.versions.package_files import PackageFile, list_package_files
from comfywatchman.versions.packages import find_torch_backend
from comfywatchman.versions.place import ClonePlace
from comfywatchman.versions.requirements import write_requirements
from comfywatchman.versions.torch_builds import find_locked_backend
from comfywatchman.versions.wheelhouse import Wheelhouse, name_submodule

_GIT_SECONDS: Final = 3600.0
_START_SECONDS: Final = 600.0
_SHOWN_LINES: Final = 5
_UNFINISHED: Final = ".unfinished"


@dataclass(frozen=True, slots=True)
class CloneOptions:
    """Options of a clone.

    Attributes:
        python: The interpreter for the environment; None to let uv find the locked version.
        network: Where packages come from.
        allow_local: Whether repositories may be folders of this machine.
        with_start: Whether ComfyUI is started once.
        use_cpu: Whether it is started without the GPU.
        wheelhouse: Where packages and repositories come from; None for the network.
    """

    python: Path | None
    network: NetworkTable
    allow_local: bool
    with_start: bool
    use_cpu: bool
    wheelhouse: Wheelhouse | None = None


def build_clone_tools(session: Session, options: CloneOptions, progress: Callable[[str], None]) -> CloneTools:
    """Build the functions that cloning a version needs."""
    wheelhouse = options.wheelhouse
    network = options.network
    if wheelhouse is not None:
        network = msgspec.structs.replace(network, offline=True, no_index=True, find_links=(str(wheelhouse.wheels),))
    uv = Uv(find_uv(), network_variables(), network, dies_with_us=True)

    def clone_code(code: LockedCode, folder: Path) -> None:
        find_bundle = wheelhouse.find_bundle if wheelhouse is not None else None
        clone_locked_code(code, folder, find_bundle=find_bundle, allow_local=options.allow_local, progress=progress)

    def make_environment(python: LockedPython, folder: Path) -> None:
        interpreter = options.python or find_interpreter(uv, python)
        require_same_python(interpreter, python)
        _check(uv.make_environment(folder, python=interpreter, seed=False, is_relocatable=True), "creating it")

    def install_packages(environment: Path, packages: Sequence[LockedPackage]) -> None:
        pinned = packages if wheelhouse is None else wheelhouse.pin_packages(packages)
        backend = choose_locked_backend(packages, network)
        with tempfile.TemporaryDirectory(prefix="comfywatchman-version-") as name:
            hashed, others = write_requirements(Path(name), pinned)
            for requirements, require_hashes in ((hashed, True), (others, False)):
                if requirements is not None:
                    result = uv.install_pins(
                        environment,
                        requirements,
                        require_hashes=require_hashes,
                        link_mode="copy",
                        torch_backend=backend,
                    )
                    _check(result, "installing its packages")

    return CloneTools(
        clone_code=clone_code,
        make_environment=make_environment,
        install_packages=install_packages,
        list_paths=_list_paths,
        place_model=build_model_placer(session, progress),
        hash_file=build_model_hasher(session),
        start=_build_starter(use_cpu=options.use_cpu) if options.with_start else None,
        progress=progress,
    )


def list_clone_packages(lock: VersionLock, options: CloneOptions) -> tuple[PackageFile, ...]:
    """Return the files of a version's packages with their sizes, as far as the wheelhouse or the index states them."""
    if lock.python is None:
        return ()
    if options.wheelhouse is not None:
        return options.wheelhouse.list_packages()
    unknown = tuple(PackageFile(package.name, package.version, "", None, None) for package in lock.python.packages)
    uv = Uv(find_uv(), network_variables(), options.network, dies_with_us=True)
    interpreter = options.python or find_interpreter(uv, lock.python)
    with tempfile.TemporaryDirectory(prefix="comfywatchman-version-") as name:
        # A repository would be cloned to look into it.
        packages = [package for package in lock.python.packages if package.source in {"index", "url"}]
        files = [path for path in write_requirements(Path(name), packages) if path is not None]
        if not files:
            return unknown
        backend = choose_locked_backend(packages, options.network)
        result = uv.resolve_files(files, python=interpreter.absolute(), torch_backend=backend, only_named=True)
        if not result.is_success:
            # The installation itself reports what is missing.
            return unknown
        known = list_package_files(result.output, lock.python.version)
    names = {file.name for file in known}
    return (*known, *(file for file in unknown if file.name not in names))


def choose_locked_backend(packages: Sequence[LockedPackage], network: NetworkTable) -> str | None:
    """Return the builds of torch that packages need; None where a place for packages was named, which then has them."""
    is_named = network.offline or network.no_index or network.index_url or network.find_links
    return None if is_named else find_locked_backend(find_torch_backend(packages))


def _list_paths(environment: Path) -> tuple[Path, ...]:
    found = read_environment(environment)
    return found.paths if found is not None else ()


def clone_locked_code(
    code: LockedCode,
    folder: Path,
    *,
    find_bundle: Callable[[str], Path | None] | None,
    allow_local: bool,
    progress: Callable[[str], None],
) -> None:
    """Clone ComfyUI or a node at its locked commit.

    Args:
        code: The code.
        folder: Where to clone it; must not exist.
        find_bundle: Returns the file with the repository of a code, or of a submodule (`name_submodule`); None to use
            its address.
        allow_local: Whether its address may be a folder of this machine.
        progress: Called now and then with a line of git's progress output.

    Raises:
        Failure: `gov-bad-url`, `git-missing`, `git-failed` or `child-timeout`.
    """
    origin = parse_origin(code.repo or "", allow_local=allow_local)
    find_submodule = None
    bundle = find_bundle(code.name) if find_bundle is not None else None
    if find_bundle is None or bundle is None:
        repository = Repository(origin.url, origin.user, origin.secret, origin.is_local, network_variables())
    else:
        repository = Repository(str(bundle), is_local=True)
        find_submodule = _build_submodule_finder(code, find_bundle)
    clone_repository(
        repository,
        folder,
        ref=code.commit or "",
        timeout_seconds=_GIT_SECONDS,
        progress=progress,
        find_submodule=find_submodule,
    )
    if bundle is not None:
        set_origin(folder, origin.url, timeout_seconds=_GIT_SECONDS)


def _build_submodule_finder(
    code: LockedCode, find_bundle: Callable[[str], Path | None]
) -> Callable[[str], Path | None]:
    def find_submodule(path: str) -> Path | None:
        return find_bundle(name_submodule(code.name, path))

    return find_submodule


def find_interpreter(uv: Uv, python: LockedPython) -> Path:
    """Return an interpreter of this machine with the locked version.

    Raises:
        Failure: `version-environment-unknown`.
    """
    result = uv.find_python(python.version)
    if not result.is_success or not result.output.strip():
        raise Failure(
            "version-environment-unknown",
            f"Python {python.version}, which the version needs, is not on this machine.",
            hint="Install it, or name an interpreter of that version: --python FILE",
        )
    return Path(result.output.strip())


def require_same_python(interpreter: Path, python: LockedPython) -> None:
    """Check that an interpreter has the locked version.

    Raises:
        Failure: `version-environment-unknown`.
    """
    actual = read_interpreter(interpreter).version
    if actual != python.version:
        raise Failure(
            "version-environment-unknown",
            f"The version needs Python {python.version}; the interpreter is {actual}.",
            hint="Name an interpreter of that version: --python FILE",
        )


def _check(result: UvResult, what: str) -> None:
    if not result.is_success:
        raise Failure(
            "version-environment-failed",
            f"The Python environment failed at {what}: {result.error_summary}",
            hint="Packages of another index than the default one need it named: --index URL or --find-links PLACE.",
        )


def build_model_placer(session: Session, progress: Callable[[str], None]) -> Callable[[LockedModel, Path], None]:
    """Return a function that links a model of this host by its hash, or downloads it from one of its addresses.

    The function raises `Failure` (`version-model-unavailable`) when neither gives it, and never replaces a file.
    """
    local = find_local_models(session)

    def place_model(model: LockedModel, path: Path) -> None:
        source = local.get(model.sha256)
        if source is not None:
            progress(f"Linking or copying {model.path} from this host")
            if _link(source, path):
                return
        failures = []
        for url in model.sources:
            progress(f"Fetching {model.path} from {url}")
            try:
                _fetch(session, model, url, path)
            except Failure as failure:
                failures.append(failure.message)
            else:
                return
        reason = failures[-1] if failures else "it is not on this host, and the lock names no address."
        raise Failure(
            "version-model-unavailable",
            f"The model {model.path} is not available: {reason}",
            hint="Put the file into a model folder of this host and run a cycle, or leave models out: --skip-models",
        )

    return place_model


def find_local_models(session: Session) -> Mapping[str, Path]:
    """Return the model files of this host by their SHA-256, as far as a cycle has hashed them."""
    from comfywatchman.comfyui.install.folders import resolve_folders
    from comfywatchman.readiness.downloads import links

    installation = session.installation()
    if installation is None:
        return {}
    folders, _blockers = resolve_folders(installation)
    models = links.find_local_models(session.layout.database, folders)
    return {sha256: Path(model.path) for sha256, model in models.items()}


def _link(source: Path, path: Path) -> bool:
    """Give a file of this host a second name, or copy it to another disk; the hash check decides on the content."""
    try:
        os.link(source.resolve(), path)
    except FileExistsError:
        return False
    except OSError:
        return _copy(source, path)
    return True


def _copy(source: Path, path: Path, *, sha256: str | None = None) -> bool:
    """Copy a file; with a hash, only one that has it."""
    # ComfyUI lists no file with this suffix; a copy that was interrupted is written anew.
    unfinished = path.with_name(f"{path.name}{_UNFINISHED}")
    try:
        shutil.copyfile(source, unfinished)
        if sha256 is not None and _hash(unfinished) != sha256:
            return False
        fsync_file(unfinished)
        os.rename(unfinished, path)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return True


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(session: Session, model: LockedModel, source: str, path: Path) -> None:
    """Put the file of one source at a path that is free.

    Raises:
        Failure: It cannot be fetched, or its content is not the locked one.
    """
    address = resolve_source(source)
    file = find_source_file(address)
    if file is None:
        _download(session, model, address, path)
        return
    # Never as a link: a lock may come from anybody, and a program that writes into a model would change the file.
    # The size comes first: the address may name a device.
    if not file.is_file() or file.stat().st_size != model.size or not _copy(file, path, sha256=model.sha256):
        raise Failure("version-model-unavailable", f"{printable_path(file)} is not the locked file, or cannot be read.")


def _download(session: Session, model: LockedModel, url: str, path: Path) -> None:
    from comfywatchman.base.stream import ConnectionPool
    from comfywatchman.readiness.downloads.pickles import build_file_check
    from comfywatchman.readiness.downloads.rules import build_allowlist
    from comfywatchman.sources.download.attempt import Downloader
    from comfywatchman.sources.download.fetch import download_file
    from comfywatchman.sources.download.limits import Bandwidth, DiskReservation, DownloadLimits
    from comfywatchman.sources.download.retry import RetryPolicy
    from comfywatchman.sources.download.target import DownloadRequest

    section = session.settings.downloads
    allowed = build_allowlist(session.settings)
    policy = RetryPolicy(stall_seconds=section.stall_seconds)
    limits = DownloadLimits(
        wait=threading.Event().wait,
        bandwidth=Bandwidth(section.max_mib_per_second * (1 << 20), session.clock.monotonic),
        disk=DiskReservation(int(section.keep_free_gb * (1 << 30))),
        report_progress=lambda _done, _total: None,
        monotonic=session.clock.monotonic,
    )
    request = DownloadRequest(path.name, url, model.size, model.sha256)
    pool = ConnectionPool(stall_seconds=policy.stall_seconds, may_be_private=allowed.local_hosts.__contains__)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with pool as connections:
            downloader = Downloader(connections, allowed, policy, limits, session.clock.now)
            check = build_file_check(allow_pickle=section.allow_pickle)
            download_file(request, folder, downloader, check=check, boot_id=session.clock.boot_id())
    finally:
        os.close(folder)


def _build_starter(*, use_cpu: bool) -> Callable[[ClonePlace], None]:
    def start(place: ClonePlace) -> None:
        start_once(place.comfyui, place.python, use_cpu=use_cpu)

    return start


def start_once(comfyui: Path, python: Path, *, use_cpu: bool) -> None:
    """Start ComfyUI with its nodes and let it end, as its own CI does.

    Raises:
        Failure: `version-does-not-start`, with its last lines.
    """
    command = [str(python), "main.py", "--quick-test-for-ci", "--disable-auto-launch"]
    if use_cpu:
        command.append("--cpu")
    result = run_with_timeout(
        command,
        timeout_seconds=_START_SECONDS,
        folder=comfyui,
        dies_with_us=True,
        # Compiled modules would be files of the clone that no lock knows.
        extra_environment={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"},
    )
    if result.status != 0:
        lines = result.errors.decode("utf-8", "replace").strip().splitlines()
        raise Failure(
            "version-does-not-start",
            f"ComfyUI exited with status {result.status}: {' '.join(lines[-_SHOWN_LINES:])}",
            hint=f"Try it by hand in {comfyui}. --no-start leaves this step out.",
        )
