"""Generations: complete environments, each built at its final place beside production and never changed after.

A folder without `.gov-complete` is an unfinished build, whatever it holds.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import fsync_folder, printable_path, read_state, to_json, write_atomic
from comfywatchman.base.filesystem import can_reflink, sync_filesystem
from comfywatchman.base.process import run_bounded
from comfywatchman.base.text import os_error_text
from comfywatchman.governance.environments import integrity
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.integrity import IntegrityReport
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import GenerationMark, SnapshotMeta
from comfywatchman.governance.store.settings import LinkMode
from comfywatchman.governance.uv.client import UvResult

MARK: Final = ".gov-complete"
_VERSION_SECONDS: Final = 30.0
_VERSION_CODE: Final = "import platform; print(platform.python_version())"

log = logging.getLogger(__name__)


def build(context: GovContext, work: Path) -> GenerationMark | UvResult:
    """Return the complete environment of a work folder's truth, built when it is not there yet.

    Production is not touched. A new environment is verified file by file and has passed the smoke test.

    Args:
        context: The context; its lock must be held.
        work: A folder with pyproject.toml and uv.lock.

    Returns:
        The environment's mark; what uv said when it could not build it.

    Raises:
        Failure: `gov-environment-failed` when what was built is not as its lock says or the disk is full,
            `gov-smoke-failed`, `gov-python-missing`. Nothing is left of the build.
    """
    mode = choose_link_mode(context.layout.root, context.settings.runtime.link_mode)
    version = read_python_version(context.python)
    layout = context.layout
    key = compute_key(work, python=context.python, version=version, mode=mode)
    for name in _iter_keys(key):
        if (mark := read_mark(layout, name)) is None:
            return _rebuild(context, work, name, version=version, mode=mode)
        if is_unmodified(layout, mark):
            return mark
        if name != current_key(layout) and name not in find_in_use(layout):
            log.warning("environment was modified, built again", extra={"generation": name})
            _delete(layout.generations / name)
            return _rebuild(context, work, name, version=version, mode=mode)
    raise AssertionError("names have no end")


def is_unmodified(layout: GovLayout, mark: GenerationMark) -> bool:
    """Say whether a complete environment still holds the files that it was made of, going by their times and hashes."""
    environment = layout.generations / mark.key
    return integrity.verify(environment, mark.packages, since=environment / MARK).status == "verified"


def compute_key(work: Path, *, python: Path, version: str, mode: LinkMode) -> str:
    """Return the name of the environment that belongs to a folder's truth, an interpreter and a way of linking."""
    digest = hashlib.sha256()
    for part in ((work / "pyproject.toml").read_bytes(), (work / "uv.lock").read_bytes()):
        digest.update(hashlib.sha256(part).digest())
    digest.update(f"{python}\0{version}\0{mode}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def read_python_version(python: Path) -> str:
    """Return an interpreter's version, `3.11.7`.

    Raises:
        Failure: `gov-python-missing`.
    """
    try:
        ended = run_bounded([str(python), "-I", "-c", _VERSION_CODE], timeout_seconds=_VERSION_SECONDS)
    except Failure as failure:
        raise _python_missing(python, f"does not answer: {failure.message}") from failure
    if ended.status:
        raise _python_missing(python, f"ended with status {ended.status}.")
    return ended.output.decode("ascii", "replace").strip()


def choose_link_mode(root: Path, configured: Literal["auto", "clone", "hardlink", "copy"]) -> LinkMode:
    """Return how files come from uv's cache; `auto` clones where the filesystem of the root can, else links."""
    if configured != "auto":
        return configured
    return "clone" if can_reflink(root) else "hardlink"


def read_mark(layout: GovLayout, key: str | None) -> GenerationMark | None:
    """Return the mark of a complete environment; None for one that is not there or not complete."""
    if not key or "/" in key:
        return None
    mark = read_state(layout.generations / key / MARK, GenerationMark, only_look=True)
    return mark if isinstance(mark, GenerationMark) and mark.key == key else None


def current_key(layout: GovLayout) -> str | None:
    """Return the name of the environment in production; None when there is none."""
    try:
        target = Path(os.readlink(layout.production))
    except OSError:
        return None
    return target.name if target.parent.name == layout.generations.name else None


def environment_dir(layout: GovLayout, key: str) -> Path:
    """Return an environment's folder: start programs from here, never through the link, which moves under them."""
    return layout.generations / key


def switch_production(layout: GovLayout, key: str) -> None:
    """Make the link to production lead to an environment, in one step that survives a power cut.

    Raises:
        OSError: The link could not be made.
    """
    if current_key(layout) == key:
        return
    target = os.path.join(layout.generations.name, key)
    fresh = _new_link_path(layout)
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target, target_is_directory=True)
    if layout.production.is_dir() and not layout.production.is_symlink():
        # Somebody's own environment in the place of the link: it is not ours to delete.
        layout.production.rename(_find_free_path(layout.production))
    fresh.replace(layout.production)
    fsync_folder(layout.root)


def _find_free_path(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.aside-{number}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def _new_link_path(layout: GovLayout) -> Path:
    return layout.root / f"{layout.production.name}.new"


def find_in_use(layout: GovLayout) -> set[str]:
    """Return the environments that running processes work with.

    A process that was started through the link to production may use any of them: then all count as in use.
    """
    roots = {os.fsencode(layout.root.absolute()), os.fsencode(layout.root.resolve())}
    links = [os.path.join(root, os.fsencode(layout.production.name), b"") for root in roots]
    prefixes = [os.path.join(root, os.fsencode(layout.generations.name), b"") for root in roots]
    here = {entry.name for entry in _list_folders(layout)}
    used: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        seen = _read_process_paths(process)
        if any(link in seen for link in links):
            return here
        used |= {name for name in here for prefix in prefixes if prefix + os.fsencode(name) + b"/" in seen}
    return used


def prune(context: GovContext, snapshots: Iterable[SnapshotMeta], *, spare: Collection[str] = ()) -> tuple[str, ...]:
    """Delete environments beyond those of the newest snapshots, and what unfinished builds left.

    Args:
        context: The context; its lock must be held.
        snapshots: The kept snapshots, oldest first.
        spare: Environments to leave whatever else is true.

    Returns:
        The names of those deleted; never production's, nor one that a process uses.
    """
    layout = context.layout
    keep = {*spare, *_newest_keys(snapshots, context.settings.runtime.keep_generations)}
    keep |= {key} if (key := current_key(layout)) else set()
    doomed = [folder for folder in _list_folders(layout) if folder.name not in keep]
    if doomed:
        used = find_in_use(layout)
        doomed = [folder for folder in doomed if folder.name not in used]
    for folder in doomed:
        _delete(folder)
    return tuple(sorted(folder.name for folder in doomed))


def delete_unfinished(layout: GovLayout) -> None:
    """Delete unfinished builds and links; whoever made them has ended, as the lock of the root is ours."""
    _new_link_path(layout).unlink(missing_ok=True)
    for folder in _list_folders(layout):
        if not (folder / MARK).is_file():
            shutil.rmtree(folder, ignore_errors=True)


def _newest_keys(snapshots: Iterable[SnapshotMeta], count: int) -> set[str]:
    keys: dict[str, None] = {}
    for meta in reversed(tuple(snapshots)):
        if meta.generation:
            keys.setdefault(meta.generation)
    return set(list(keys)[:count])


def _delete(folder: Path) -> None:
    # Without its mark it is an unfinished build, so a kill in the middle leaves nothing that looks complete.
    (folder / MARK).unlink(missing_ok=True)
    fsync_folder(folder)
    failpoint("gov.prune_after_unmark")
    shutil.rmtree(folder, ignore_errors=True)


def _list_folders(layout: GovLayout) -> list[Path]:
    return list(layout.generations.iterdir()) if layout.generations.is_dir() else []


def _read_process_paths(process: Path) -> bytes:
    parts: list[bytes] = []
    for name in ("exe", "cwd"):
        try:
            parts.append(os.fsencode(os.readlink(process / name)) + b"/\0")
        except OSError:
            continue
    for name in ("cmdline", "maps"):
        try:
            parts.append((process / name).read_bytes())
        except OSError:
            continue
    return b"\0".join(parts)


def _iter_keys(key: str) -> Iterator[str]:
    # One that was modified and is in use can be neither used again nor deleted: its successor gets another name.
    yield key
    for number in itertools.count(2):
        yield f"{key}-{number}"


def _rebuild(context: GovContext, work: Path, key: str, *, version: str, mode: LinkMode) -> GenerationMark | UvResult:
    environment = context.layout.generations / key
    try:
        shutil.rmtree(environment, ignore_errors=True)
        environment.parent.mkdir(parents=True, exist_ok=True)
        built = _install_and_verify(context, work, environment, mode)
        if isinstance(built, UvResult):
            shutil.rmtree(environment, ignore_errors=True)
            return built
        mark = GenerationMark(
            key=key,
            created_at=format_utc(context.clock.now()),
            python=version,
            uv_version=context.uv.version,
            lock_sha256=hashlib.sha256((work / "uv.lock").read_bytes()).hexdigest(),
            packages=context.uv.packages(environment),
            link_mode=mode,
            unverifiable=built,
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
    context: GovContext, work: Path, environment: Path, mode: LinkMode
) -> tuple[str, ...] | UvResult:
    """Install and verify an environment; return the files that can never be verified."""
    ended = context.uv.sync(work, environment, python=context.python, link_mode=mode)
    failpoint("gov.build_after_sync")
    if not ended.is_success:
        return ended
    report = integrity.verify(environment, None)
    unverifiable: tuple[str, ...] = ()
    if report.modified_packages:
        # uv's cache holds changed files, from a node that wrote into a linked environment: get them anew, once.
        log.warning("packages in uv's cache were modified", extra={"packages": report.modified_packages})
        shutil.rmtree(environment)
        forgotten = context.uv.forget(report.modified_packages)
        if not forgotten.is_success:
            return forgotten
        ended = context.uv.sync(work, environment, python=context.python, link_mode=mode)
        if not ended.is_success:
            return ended
        unverifiable = _find_unverifiable(report, report := integrity.verify(environment, None))
    if report.status != "verified" and not unverifiable:
        raise _build_failed(f"it is not as it was installed: {report.in_words()}")
    checked = context.uv.sync(work, environment, python=context.python, link_mode=mode, only_check=True)
    if not checked.is_success:
        raise _build_failed(f"it is not as its lock says: {checked.errors.strip()}")
    _run_smoke_test(context, environment)
    return unverifiable


def _find_unverifiable(before: IntegrityReport, after: IntegrityReport) -> tuple[str, ...]:
    # What differs in the same way after it was fetched anew was not changed here.
    same = before.modified_files == after.modified_files and not after.missing_record
    if same and after.modified_packages:
        log.warning("packages are not as their own lists say", extra={"packages": after.modified_packages})
    return after.modified_files if same else ()


def _run_smoke_test(context: GovContext, environment: Path) -> None:
    command = context.settings.tx.smoke_test_cmd or 'python -c "import sys; print(sys.version)"'
    binaries = environment / "bin"
    ended = run_bounded(
        ["/bin/sh", "-c", f'PATH="$1:$PATH"; {command}', "smoke", str(binaries)],
        timeout_seconds=context.settings.tx.timeout_seconds,
        extra_environment={"VIRTUAL_ENV": str(environment), "PYTHONDONTWRITEBYTECODE": "1"},
        folder=context.comfyui if context.comfyui.is_dir() else None,
        pass_on=context.pass_on,
    )
    if ended.status:
        said = (ended.errors or ended.output).decode("utf-8", "replace").strip().splitlines()
        raise Failure(
            "gov-smoke-failed",
            f"The smoke test `{command}` ended with status {ended.status}: {said[-1] if said else 'it said nothing'}.",
            hint="Production is as it was. Run the command by hand, or correct [tx] smoke_test_cmd.",
        )


def _write_mark(environment: Path, mark: GenerationMark) -> None:
    sync_filesystem(environment)
    failpoint("gov.build_before_mark")
    write_atomic(environment / MARK, to_json(mark))
    fsync_folder(environment.parent)


def _python_missing(python: Path, what: str) -> Failure:
    return Failure(
        "gov-python-missing",
        f"The interpreter {printable_path(python)} {what}",
        hint="Correct [runtime] python in config.toml of the governed root.",
    )


def _build_failed(reason: str) -> Failure:
    return Failure(
        "gov-environment-failed",
        f"The new environment is not used, {reason}.",
        hint="Production is as it was. Check the disk (df -h) and the network before the next try.",
    )
