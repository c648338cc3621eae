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
from typing import Final

from comfywatchman.base.clock import to_text
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import fsync_folder, read_state, show_path, to_json, write_atomic
from comfywatchman.base.filesystem import can_clone, flush_filesystem
from comfywatchman.base.process import run_bounded
from comfywatchman.base.text import reason_of
from comfywatchman.governance.environments import integrity
from comfywatchman.governance.environments.context import Ground
from comfywatchman.governance.environments.integrity import IntegrityReport
from comfywatchman.governance.store.layout import Layout
from comfywatchman.governance.store.records import GenerationMark, SnapshotMeta
from comfywatchman.governance.store.settings import LinkMode
from comfywatchman.governance.uv.client import UvEnded

MARK: Final = ".gov-complete"
_VERSION_SECONDS: Final = 30.0
_VERSION_CODE: Final = "import platform; print(platform.python_version())"

log = logging.getLogger(__name__)


def build(ground: Ground, work: Path) -> GenerationMark | UvEnded:
    """Return the complete environment of a work folder's truth, built when it is not there yet.

    Production is not touched. A new environment is verified file by file and has passed the smoke test.

    Args:
        ground: The ground; its lock must be held.
        work: A folder with pyproject.toml and uv.lock.

    Returns:
        The environment's mark; what uv said when it could not build it.

    Raises:
        Failure: `gov-environment-failed` when what was built is not as its lock says or the disk is full,
            `gov-smoke-failed`, `gov-python-missing`. Nothing is left of the build.
    """
    mode = link_mode(ground)
    version = python_version(ground.python)
    layout = ground.layout
    key = key_of(work, python=ground.python, version=version, mode=mode)
    for name in _names(key):
        if (mark := read_mark(layout, name)) is None:
            return _built_anew(ground, work, name, version=version, mode=mode)
        if is_untouched(layout, mark):
            return mark
        if name != current(layout) and name not in in_use(layout):
            log.warning("environment was modified, built again", extra={"generation": name})
            _delete(layout.generations / name)
            return _built_anew(ground, work, name, version=version, mode=mode)
    raise AssertionError("names have no end")


def is_untouched(layout: Layout, mark: GenerationMark) -> bool:
    """Say whether a complete environment still holds the files that it was made of, going by their times and hashes."""
    environment = layout.generations / mark.key
    return integrity.modified(environment, mark.packages, since=environment / MARK).status == "verified"


def key_of(work: Path, *, python: Path, version: str, mode: LinkMode) -> str:
    """Return the name of the environment that belongs to a folder's truth, an interpreter and a way of linking."""
    digest = hashlib.sha256()
    for part in ((work / "pyproject.toml").read_bytes(), (work / "uv.lock").read_bytes()):
        digest.update(hashlib.sha256(part).digest())
    digest.update(f"{python}\0{version}\0{mode}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def python_version(python: Path) -> str:
    """Return an interpreter's version, `3.11.7`.

    Raises:
        Failure: `gov-python-missing`.
    """
    try:
        ended = run_bounded([str(python), "-I", "-c", _VERSION_CODE], timeout_seconds=_VERSION_SECONDS)
    except Failure as failure:
        raise _no_python(python, f"does not answer: {failure.message}") from failure
    if ended.status:
        raise _no_python(python, f"ended with status {ended.status}.")
    return ended.output.decode("ascii", "replace").strip()


def link_mode(ground: Ground) -> LinkMode:
    """Return how files come from uv's cache; `auto` means cloned where the filesystem can, else linked."""
    configured = ground.settings.runtime.link_mode
    if configured != "auto":
        return configured
    return "clone" if can_clone(ground.layout.root) else "hardlink"


def read_mark(layout: Layout, key: str | None) -> GenerationMark | None:
    """Return the mark of a complete environment; None for one that is not there or not complete."""
    if not key or "/" in key:
        return None
    mark = read_state(layout.generations / key / MARK, GenerationMark, only_look=True)
    return mark if isinstance(mark, GenerationMark) and mark.key == key else None


def current(layout: Layout) -> str | None:
    """Return the name of the environment in production; None when there is none."""
    try:
        target = Path(os.readlink(layout.production))
    except OSError:
        return None
    return target.name if target.parent.name == layout.generations.name else None


def path_of(layout: Layout, key: str) -> Path:
    """Return an environment's folder: start programs from here, never through the link, which moves under them."""
    return layout.generations / key


def put_in_production(layout: Layout, key: str) -> None:
    """Make the link to production lead to an environment, in one step that survives a power cut.

    Raises:
        OSError: The link could not be made.
    """
    if current(layout) == key:
        return
    target = os.path.join(layout.generations.name, key)
    fresh = _fresh_link(layout)
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target, target_is_directory=True)
    if layout.production.is_dir() and not layout.production.is_symlink():
        # Somebody's own environment in the place of the link: it is not ours to delete.
        layout.production.rename(_free_name(layout.production))
    fresh.replace(layout.production)
    fsync_folder(layout.root)


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.aside-{number}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def _fresh_link(layout: Layout) -> Path:
    return layout.root / f"{layout.production.name}.new"


def in_use(layout: Layout) -> set[str]:
    """Return the environments that running processes work with.

    A process that was started through the link to production may use any of them: then all count as in use.
    """
    roots = {os.fsencode(layout.root.absolute()), os.fsencode(layout.root.resolve())}
    links = [os.path.join(root, os.fsencode(layout.production.name), b"") for root in roots]
    prefixes = [os.path.join(root, os.fsencode(layout.generations.name), b"") for root in roots]
    here = {entry.name for entry in _folders(layout)}
    used: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        seen = _traces(process)
        if any(link in seen for link in links):
            return here
        used |= {name for name in here for prefix in prefixes if prefix + os.fsencode(name) + b"/" in seen}
    return used


def prune(ground: Ground, snapshots: Iterable[SnapshotMeta], *, spare: Collection[str] = ()) -> tuple[str, ...]:
    """Delete environments beyond those of the newest snapshots, and what unfinished builds left.

    Args:
        ground: The ground; its lock must be held.
        snapshots: The kept snapshots, oldest first.
        spare: Environments to leave whatever else is true.

    Returns:
        The names of those deleted; never production's, nor one that a process uses.
    """
    layout = ground.layout
    keep = {*spare, *_newest(snapshots, ground.settings.runtime.keep_generations)}
    keep |= {key} if (key := current(layout)) else set()
    doomed = [folder for folder in _folders(layout) if folder.name not in keep]
    if doomed:
        used = in_use(layout)
        doomed = [folder for folder in doomed if folder.name not in used]
    for folder in doomed:
        _delete(folder)
    return tuple(sorted(folder.name for folder in doomed))


def sweep(layout: Layout) -> None:
    """Delete unfinished builds and links; whoever made them has ended, as the lock of the root is ours."""
    _fresh_link(layout).unlink(missing_ok=True)
    for folder in _folders(layout):
        if not (folder / MARK).is_file():
            shutil.rmtree(folder, ignore_errors=True)


def _newest(snapshots: Iterable[SnapshotMeta], count: int) -> set[str]:
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


def _folders(layout: Layout) -> list[Path]:
    return list(layout.generations.iterdir()) if layout.generations.is_dir() else []


def _traces(process: Path) -> bytes:
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


def _names(key: str) -> Iterator[str]:
    # One that was modified and is in use can be neither used again nor deleted: its successor gets another name.
    yield key
    for number in itertools.count(2):
        yield f"{key}-{number}"


def _built_anew(ground: Ground, work: Path, key: str, *, version: str, mode: LinkMode) -> GenerationMark | UvEnded:
    environment = ground.layout.generations / key
    try:
        shutil.rmtree(environment, ignore_errors=True)
        environment.parent.mkdir(parents=True, exist_ok=True)
        built = _built(ground, work, environment, mode)
        if isinstance(built, UvEnded):
            shutil.rmtree(environment, ignore_errors=True)
            return built
        mark = GenerationMark(
            key=key,
            created_at=to_text(ground.clock.now()),
            python=version,
            uv_version=ground.uv.version,
            lock_sha256=hashlib.sha256((work / "uv.lock").read_bytes()).hexdigest(),
            packages=ground.uv.packages(environment),
            link_mode=mode,
            unverifiable=built,
        )
        _complete(environment, mark)
    except OSError as error:
        shutil.rmtree(environment, ignore_errors=True)
        raise _failed(f"it could not be written: {reason_of(error)}") from error
    except BaseException:
        shutil.rmtree(environment, ignore_errors=True)
        raise
    return mark


def _built(ground: Ground, work: Path, environment: Path, mode: LinkMode) -> tuple[str, ...] | UvEnded:
    """Install and verify an environment; return the files that can never be verified."""
    ended = ground.uv.sync(work, environment, python=ground.python, link_mode=mode)
    failpoint("gov.build_after_sync")
    if not ended.is_well:
        return ended
    report = integrity.modified(environment, None)
    unverifiable: tuple[str, ...] = ()
    if report.modified_packages:
        # uv's cache holds changed files, from a node that wrote into a linked environment: get them anew, once.
        log.warning("packages in uv's cache were modified", extra={"packages": report.modified_packages})
        shutil.rmtree(environment)
        forgotten = ground.uv.forget(report.modified_packages)
        if not forgotten.is_well:
            return forgotten
        ended = ground.uv.sync(work, environment, python=ground.python, link_mode=mode)
        if not ended.is_well:
            return ended
        unverifiable = _published_so(report, report := integrity.modified(environment, None))
    if report.status != "verified" and not unverifiable:
        raise _failed(f"it is not as it was installed: {report.in_words()}")
    checked = ground.uv.sync(work, environment, python=ground.python, link_mode=mode, only_check=True)
    if not checked.is_well:
        raise _failed(f"it is not as its lock says: {checked.errors.strip()}")
    _smoke(ground, environment)
    return unverifiable


def _published_so(before: IntegrityReport, after: IntegrityReport) -> tuple[str, ...]:
    # What differs in the same way after it was fetched anew was not changed here.
    same = before.modified_files == after.modified_files and not after.missing_record
    if same and after.modified_packages:
        log.warning("packages are not as their own lists say", extra={"packages": after.modified_packages})
    return after.modified_files if same else ()


def _smoke(ground: Ground, environment: Path) -> None:
    command = ground.settings.tx.smoke_test_cmd or 'python -c "import sys; print(sys.version)"'
    binaries = environment / "bin"
    ended = run_bounded(
        ["/bin/sh", "-c", f'PATH="$1:$PATH"; {command}', "smoke", str(binaries)],
        timeout_seconds=ground.settings.tx.timeout_seconds,
        extra_environment={"VIRTUAL_ENV": str(environment), "PYTHONDONTWRITEBYTECODE": "1"},
        folder=ground.comfyui if ground.comfyui.is_dir() else None,
        pass_on=ground.pass_on,
    )
    if ended.status:
        said = (ended.errors or ended.output).decode("utf-8", "replace").strip().splitlines()
        raise Failure(
            "gov-smoke-failed",
            f"The smoke test `{command}` ended with status {ended.status}: {said[-1] if said else 'it said nothing'}.",
            hint="Production is as it was. Run the command by hand, or correct [tx] smoke_test_cmd.",
        )


def _complete(environment: Path, mark: GenerationMark) -> None:
    flush_filesystem(environment)
    failpoint("gov.build_before_mark")
    write_atomic(environment / MARK, to_json(mark))
    fsync_folder(environment.parent)


def _no_python(python: Path, what: str) -> Failure:
    return Failure(
        "gov-python-missing",
        f"The interpreter {show_path(python)} {what}",
        hint="Correct [runtime] python in config.toml of the governed root.",
    )


def _failed(reason: str) -> Failure:
    return Failure(
        "gov-environment-failed",
        f"The new environment is not used, {reason}.",
        hint="Production is as it was. Check the disk (df -h) and the network before the next try.",
    )
