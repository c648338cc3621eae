"""Generations: complete environments, each built at its final path beside production and never changed afterwards.

A folder without `.gov-complete` is an unfinished build, whatever it contains.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import fsync_folder, printable_path, to_json, write_atomic
from comfywatchman.base.filesystem import can_reflink, sync_filesystem
from comfywatchman.base.process import run_with_timeout
from comfywatchman.base.state.state_file import read_state
from comfywatchman.base.text import os_error_text
from comfywatchman.governance.environments import integrity
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.integrity import IntegrityReport
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import GenerationMark, SnapshotMeta
from comfywatchman.governance.store.settings import ConfiguredLinkMode, LinkMode
from comfywatchman.governance.uv.client import Uv, UvResult

MARK: Final = ".gov-complete"
_VERSION_SECONDS: Final = 30.0
_VERSION_CODE: Final = "import platform; print(platform.python_version())"
_DEFAULT_SMOKE_TEST: Final = 'python -c "import sys; print(sys.version)"'

log = logging.getLogger(__name__)


def build(context: GovContext, project: Path) -> GenerationMark | UvResult:
    """Return the complete environment for the truth files in a folder; build it if it does not exist yet.

    Production is not touched. A new environment has been verified file by file and has passed the smoke test.

    Args:
        context: The context; its lock must be held.
        project: A folder with pyproject.toml and uv.lock.

    Returns:
        The mark of the environment, or uv's result when uv could not build it.

    Raises:
        Failure: `gov-environment-failed` when the new environment does not match its lock or the disk is full,
            `gov-smoke-failed`, `gov-python-missing`. Nothing remains of the build.
    """
    mode = choose_link_mode(context.layout.root, context.settings.runtime.link_mode)
    version = read_python_version(context.python)
    layout = context.layout
    for key in _iter_keys(compute_key(project, python=context.python, version=version, mode=mode)):
        mark = read_mark(layout, key)
        if mark is None:
            return _rebuild(context, project, key, version=version, mode=mode)
        if is_unmodified(layout, mark):
            return mark
        # A modified environment that is in use can be neither reused nor deleted: the next key is used.
        if key != current_key(layout) and key not in find_in_use(layout):
            log.warning("environment was modified, built again", extra={"generation": key})
            _delete(layout.generations / key)
            return _rebuild(context, project, key, version=version, mode=mode)
    raise AssertionError("the keys are endless")


def require_build(context: GovContext, project: Path) -> GenerationMark:
    """Return the environment as `build` does.

    Raises:
        Failure: As `build`, and `gov-environment-failed` when uv could not build it.
    """
    mark = build(context, project)
    if isinstance(mark, UvResult):
        raise _build_failed(f"uv could not build the environment: {mark.errors.strip().rstrip('.')}")
    return mark


def is_unmodified(layout: GovLayout, mark: GenerationMark) -> bool:
    """Return whether a complete environment still has the files it was built from, by modification times and hashes."""
    environment = layout.generations / mark.key
    return integrity.verify(environment, mark.packages, since=environment / MARK).status == "verified"


def compute_key(project: Path, *, python: Path, version: str, mode: LinkMode) -> str:
    """Return the key of the environment for a folder's truth files, an interpreter and a link mode."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "uv.lock"):
        digest.update(hashlib.sha256((project / name).read_bytes()).digest())
    digest.update(f"{python}\0{version}\0{mode}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def read_python_version(python: Path) -> str:
    """Return an interpreter's version, `3.11.7`.

    Raises:
        Failure: `gov-python-missing`.
    """
    try:
        result = run_with_timeout([str(python), "-I", "-c", _VERSION_CODE], timeout_seconds=_VERSION_SECONDS)
    except Failure as failure:
        raise _python_missing(python, f"does not run: {failure.message}") from failure
    if result.status:
        raise _python_missing(python, f"exited with status {result.status}.")
    return result.output.decode("ascii", "replace").strip()


def choose_link_mode(root: Path, configured: ConfiguredLinkMode) -> LinkMode:
    """Return how uv takes files from its cache; `auto` clones if the filesystem of the root supports it, else links."""
    if configured != "auto":
        return configured
    return "clone" if can_reflink(root) else "hardlink"


def read_mark(layout: GovLayout, key: str | None) -> GenerationMark | None:
    """Return the mark of a complete environment; None when there is no such environment or it is incomplete."""
    if not key or "/" in key:
        return None
    mark = read_state(layout.generations / key / MARK, GenerationMark, only_look=True)
    # A copied folder carries the mark of another environment: paths inside it point there.
    if isinstance(mark, GenerationMark) and mark.key == key:
        return mark
    return None


def current_key(layout: GovLayout) -> str | None:
    """Return the key of the production environment; None when there is none."""
    try:
        target = Path(os.readlink(layout.production))
    except OSError:
        return None
    return target.name if target.parent.name == layout.generations.name else None


def environment_dir(layout: GovLayout, key: str) -> Path:
    """Return the folder of an environment. Start programs from here: the production link may change under them."""
    return layout.generations / key


def switch_production(layout: GovLayout, key: str) -> None:
    """Point the production link at an environment, in one durable step.

    Raises:
        OSError: The link could not be created.
    """
    if current_key(layout) == key:
        return
    target = os.path.join(layout.generations.name, key)
    new_link = _new_link_path(layout)
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(target, target_is_directory=True)
    if layout.production.is_dir() and not layout.production.is_symlink():
        # An environment that the user made at this path is not ours to delete.
        layout.production.rename(_find_free_path(layout.production))
    new_link.replace(layout.production)
    fsync_folder(layout.root)


def _find_free_path(path: Path) -> Path:
    for number in itertools.count(1):
        candidate = path.with_name(f"{path.name}.aside-{number}")
        if not os.path.lexists(candidate):
            return candidate
    raise AssertionError("the numbers are endless")


def _new_link_path(layout: GovLayout) -> Path:
    return layout.root / f"{layout.production.name}.new"


def find_in_use(layout: GovLayout) -> set[str]:
    """Return the keys of the environments that running processes use.

    A process that was started through the production link may use any of them: then all count as in use.
    """
    roots = {os.fsencode(layout.root.absolute()), os.fsencode(layout.root.resolve())}
    links = [os.path.join(root, os.fsencode(layout.production.name), b"") for root in roots]
    prefixes = [os.path.join(root, os.fsencode(layout.generations.name), b"") for root in roots]
    keys = {folder.name for folder in _list_folders(layout)}
    used: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        paths = _read_process_paths(process)
        if any(link in paths for link in links):
            return keys
        for key in keys - used:
            name = os.fsencode(key) + b"/"
            if any(prefix + name in paths for prefix in prefixes):
                used.add(key)
    return used


def prune(
    layout: GovLayout, snapshots: Iterable[SnapshotMeta], *, keep: int, spare: Collection[str] = ()
) -> tuple[str, ...]:
    """Delete environments except those of the newest snapshots, and the remains of unfinished builds.

    Args:
        layout: The governed root; its lock must be held.
        snapshots: The kept snapshots, oldest first.
        keep: How many environments of the newest snapshots to keep.
        spare: Keys of further environments to keep.

    Returns:
        The keys of the deleted ones; never that of production, nor one that a process uses.
    """
    kept = {*spare, *_newest_keys(snapshots, keep)}
    production = current_key(layout)
    if production is not None:
        kept.add(production)
    doomed = [folder for folder in _list_folders(layout) if folder.name not in kept]
    if doomed:
        # Reading /proc takes a while, so only when there is something to delete.
        used = find_in_use(layout)
        doomed = [folder for folder in doomed if folder.name not in used]
    for folder in doomed:
        _delete(folder)
    return tuple(sorted(folder.name for folder in doomed))


def delete_temporary_files(layout: GovLayout) -> None:
    """Delete unfinished builds and links. Their makers have ended, as the caller holds the root's lock."""
    _new_link_path(layout).unlink(missing_ok=True)
    for folder in _list_folders(layout):
        if not (folder / MARK).is_file():
            shutil.rmtree(folder, ignore_errors=True)


def _newest_keys(snapshots: Iterable[SnapshotMeta], count: int) -> set[str]:
    newest: set[str] = set()
    for snapshot in reversed(tuple(snapshots)):
        if snapshot.generation and len(newest) < count:
            newest.add(snapshot.generation)
    return newest


def _delete(folder: Path) -> None:
    # Without its mark it is an unfinished build, so a kill in the middle leaves nothing that looks complete.
    (folder / MARK).unlink(missing_ok=True)
    fsync_folder(folder)
    failpoint("gov.prune_after_unmark")
    shutil.rmtree(folder, ignore_errors=True)


def _list_folders(layout: GovLayout) -> list[Path]:
    if not layout.generations.is_dir():
        return []
    return list(layout.generations.iterdir())


def _read_process_paths(process: Path) -> bytes:
    """Return all paths that a process is known to use: its program, folder, arguments and mapped files."""
    parts: list[bytes] = []
    for name in ("exe", "cwd"):
        try:
            parts.append(os.fsencode(os.readlink(process / name)) + b"/\0")
        except OSError:
            # The process ended meanwhile, or belongs to another user.
            continue
    for name in ("cmdline", "maps"):
        try:
            parts.append((process / name).read_bytes())
        except OSError:
            continue
    return b"\0".join(parts)


def _iter_keys(key: str) -> Iterator[str]:
    yield key
    for number in itertools.count(2):
        yield f"{key}-{number}"


def _rebuild(
    context: GovContext, project: Path, key: str, *, version: str, mode: LinkMode
) -> GenerationMark | UvResult:
    environment = context.layout.generations / key
    try:
        shutil.rmtree(environment, ignore_errors=True)
        environment.parent.mkdir(parents=True, exist_ok=True)
        unverifiable = _install_and_verify(context.uv, context.python, project, environment, mode)
        if isinstance(unverifiable, UvResult):
            shutil.rmtree(environment, ignore_errors=True)
            return unverifiable
        _run_smoke_test(context, environment)
        mark = GenerationMark(
            key=key,
            created_at=format_utc(context.clock.now()),
            python=version,
            uv_version=context.uv.version,
            lock_sha256=hashlib.sha256((project / "uv.lock").read_bytes()).hexdigest(),
            packages=context.uv.packages(environment),
            link_mode=mode,
            unverifiable=unverifiable,
            shared=integrity.find_shared_files(environment),
        )
        _write_mark(environment, mark)
    except OSError as error:
        shutil.rmtree(environment, ignore_errors=True)
        raise _build_failed(f"it could not be written: {os_error_text(error)}") from error
    except BaseException:
        shutil.rmtree(environment, ignore_errors=True)
        raise
    return mark


def _install_and_verify(
    uv: Uv, python: Path, project: Path, environment: Path, mode: LinkMode
) -> tuple[str, ...] | UvResult:
    """Install and verify an environment; return the files that can never be verified, or uv's failure."""
    installed = uv.sync(project, environment, python=python, link_mode=mode)
    failpoint("gov.build_after_sync")
    if not installed.is_success:
        return installed
    report = integrity.verify(environment, None)
    unverifiable: tuple[str, ...] = ()
    if report.modified_packages:
        # A node wrote into a linked environment, and so into uv's cache: download the packages again, once.
        log.warning("packages in uv's cache were modified", extra={"packages": report.modified_packages})
        shutil.rmtree(environment)
        cleaned = uv.clean_cache(report.modified_packages)
        if not cleaned.is_success:
            return cleaned
        installed = uv.sync(project, environment, python=python, link_mode=mode)
        if not installed.is_success:
            return installed
        second_report = integrity.verify(environment, None)
        unverifiable = _find_unverifiable(report, second_report)
        report = second_report
    if report.status != "verified" and not unverifiable:
        raise _build_failed(f"its files are not as installed: {report.describe()}")
    checked = uv.sync(project, environment, python=python, link_mode=mode, only_check=True)
    if not checked.is_success:
        raise _build_failed(f"it does not match its lock: {checked.errors.strip()}")
    return unverifiable


def _find_unverifiable(before: IntegrityReport, after: IntegrityReport) -> tuple[str, ...]:
    # Files that differ in the same way after a fresh download were published so, not modified here.
    is_same = before.modified_files == after.modified_files and not after.missing_record
    if not is_same:
        return ()
    if after.modified_packages:
        log.warning("packages do not match their own file lists", extra={"packages": after.modified_packages})
    return after.modified_files


def _run_smoke_test(context: GovContext, environment: Path) -> None:
    settings = context.settings.tx
    command = settings.smoke_test_cmd or _DEFAULT_SMOKE_TEST
    # The bin folder is an argument, not part of the script: a path may contain characters of the shell.
    result = run_with_timeout(
        ["/bin/sh", "-c", f'PATH="$1:$PATH"; {command}', "smoke", str(environment / "bin")],
        timeout_seconds=settings.timeout_seconds,
        extra_environment={"VIRTUAL_ENV": str(environment), "PYTHONDONTWRITEBYTECODE": "1"},
        folder=context.comfyui if context.comfyui.is_dir() else None,
        pass_on=context.pass_on,
    )
    if result.status:
        lines = (result.errors or result.output).decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else "it printed nothing"
        raise Failure(
            "gov-smoke-failed",
            f"The smoke test `{command}` exited with status {result.status}: {reason}.",
            hint="Production is unchanged. Run the command by hand, or correct [tx] smoke_test_cmd.",
        )


def _write_mark(environment: Path, mark: GenerationMark) -> None:
    # The mark must not reach the disk before the files it vouches for.
    sync_filesystem(environment)
    failpoint("gov.build_before_mark")
    write_atomic(environment / MARK, to_json(mark))
    fsync_folder(environment.parent)


def _python_missing(python: Path, reason: str) -> Failure:
    return Failure(
        "gov-python-missing",
        f"The interpreter {printable_path(python)} {reason}",
        hint="Correct [runtime] python in config.toml of the governed root.",
    )


def _build_failed(reason: str) -> Failure:
    return Failure(
        "gov-environment-failed",
        f"The new environment was discarded: {reason}.",
        hint="Production is unchanged. Check the disk (df -h) and the network, then run the command again.",
    )
