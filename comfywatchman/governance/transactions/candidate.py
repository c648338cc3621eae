"""Candidate environments: the packages of production, changed by the installation of a node.

A candidate has pip, because install scripts of nodes call it, and its own copies of the files that they patch.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import write_atomic
from comfywatchman.base.process import run_with_timeout
from comfywatchman.governance.environments import generation, integrity, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.copy_on_write import install_hook
from comfywatchman.governance.nodes.deny_list import DenyList, enforce_deny_list
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.trial.trial import UV_CONFIG_FILE
from comfywatchman.governance.uv.client import Uv, UvResult
from comfywatchman.governance.uv.package_indexes import add_indexed_dependencies, write_requirements
from comfywatchman.governance.uv.requirement_files import NodeRequirements

log = logging.getLogger(__name__)

_INSTALL_SECONDS: Final = 1800.0
_QUICK_SECONDS: Final = 60.0
_MAX_EXCERPT_CHARS: Final = 1500
_FIND_BUNDLED_PIP: Final = (
    "import ensurepip, pathlib; print(*pathlib.Path(ensurepip.__file__).parent.glob('_bundled/pip-*.whl'), sep=chr(10))"
)
"""CPython ships a wheel of pip (library reference, ensurepip); a distributor may leave it out."""


def create(context: GovContext, environment: Path, *, project: Path | None = None) -> None:
    """Create a candidate; its changes never reach production or uv's cache.

    Args:
        context: The governed root.
        environment: The candidate's folder.
        project: A staging folder with the packages; None for those of production.

    Raises:
        Failure: `gov-candidate-failed`.
    """
    uv, python = context.uv, context.python
    try:
        with staging.open_staging(context.layout) as work:
            _install_lock(context, environment, project or work.folder)
        _install_pip(uv, environment, python=python, project=context.layout.root)
        install_hook(environment)
        _write_uv_wrapper(uv.path, environment / "bin" / "uv")
    except OSError as error:
        raise _candidate_failure(f"it could not be written ({error.strerror})") from error


def create_from_lock(context: GovContext, environment: Path, project: Path) -> None:
    """Create a candidate with exactly the packages of a lock. As in production, there is no pip.

    Args:
        context: The governed root.
        environment: The candidate.
        project: A folder with pyproject.toml and uv.lock.

    Raises:
        Failure: `gov-candidate-failed`.
    """
    try:
        _install_lock(context, environment, project)
        install_hook(environment)
    except OSError as error:
        raise _candidate_failure(f"it could not be written ({error.strerror})") from error


def install_requirements(
    context: GovContext, environment: Path, requirements: NodeRequirements, *, deny_list: DenyList, uv_log: Path
) -> None:
    """Install the declared requirements of a node into its candidate.

    Args:
        context: The governed root.
        environment: The candidate.
        requirements: The requirements of the node.
        deny_list: Keeps uv from harmful versions.
        uv_log: The file for the output of uv when it fails.

    Raises:
        Failure: `gov-candidate-failed` with the end of uv's output, or `gov-denied`.
    """
    lines = [*requirements.lines, *requirements.unnamed]
    if not lines:
        return
    file = None
    indexes = context.settings.network.indexes
    if indexes and requirements.lines:
        indexed = add_indexed_dependencies(
            context.uv, environment, requirements.lines, python=context.python, indexes=indexes
        )
        file, lines = write_requirements(environment, indexed, indexes), list(requirements.unnamed)
    # Constraints keep uv from harmful versions of dependencies, too, which the deny list check cannot see yet.
    constraints = environment / "gov-constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in deny_list.constraints()), "utf-8")
    result = context.uv.install(
        environment,
        lines,
        project=context.layout.root,
        link_mode=generation.choose_link_mode(context.layout.root, context.settings.runtime.link_mode),
        constraints=constraints,
        requirements=file,
        timeout_seconds=_INSTALL_SECONDS,
    )
    if not result.is_success:
        write_atomic(uv_log, f"{result.output}\n{result.errors}".encode(), mode=0o600)
        for entry in deny_list.find_conflicting_entries(result.errors):
            versions = " or ".join(entry.versions)
            enforce_deny_list(entry, f"{entry.name} {versions}, without which the node cannot be installed,")
        raise _candidate_failure(f"uv could not install its requirements (see {uv_log}): {_error_excerpt(result)}")
    # uv has written new files, some of them shared with its cache.
    install_hook(environment)


def read_requires(environment: Path) -> dict[str, tuple[str, ...]]:
    """Return the requirement lines of each installed package, by normalised name."""
    requires: dict[str, tuple[str, ...]] = {}
    for package, folder in integrity.find_installed(environment).items():
        try:
            text = (folder / "METADATA").read_text("utf-8", "replace")
        except OSError:
            continue
        requires[package.name] = tuple(HeaderParser().parsestr(text).get_all("Requires-Dist", []))
    return requires


def delete(environment: Path) -> None:
    """Delete a candidate; the target of a link is kept."""
    if environment.is_symlink():
        environment.unlink()
    shutil.rmtree(environment, ignore_errors=True)


def evict_modified(uv: Uv, layout: GovLayout, environment: Path, report: integrity.IntegrityReport) -> tuple[str, ...]:
    """Evict the packages from uv's cache whose files, shared with the candidate, were modified by a trial.

    Returns:
        The files of production that share the modification, relative to its environment.
    """
    # Files with one link belong to the candidate alone: changing them affects no other environment.
    shared = [name for name in report.modified_packages if _has_shared_changes(environment, name)]
    if shared:
        uv.clean_cache(shared)
    key = generation.current_key(layout)
    if key is None:
        return ()
    production = generation.environment_dir(layout, key)
    files: list[str] = []
    for name in shared:
        files += _find_changes(production, name)
    return tuple(files)


def _install_lock(context: GovContext, environment: Path, project: Path) -> None:
    uv, python = context.uv, context.python
    mode = generation.choose_link_mode(context.layout.root, context.settings.runtime.link_mode)
    environment.parent.mkdir(parents=True, exist_ok=True)
    _require_success(uv.make_environment(environment, python=python, seed=False), "it could not be created")
    result = uv.sync(project, environment, python=python, link_mode=mode)
    _require_success(result, "its packages could not be installed")
    _write_uv_config(environment, no_index=context.settings.network.no_index)


def _install_pip(uv: Uv, environment: Path, *, python: Path, project: Path) -> None:
    """Install pip, from the wheel that Python ships where there is one.

    It comes after the packages: `uv sync` removes what the lock does not hold.
    """
    pip = _find_pip_wheel(python) or ["pip"]
    result = uv.install(environment, pip, project=project, link_mode="copy")
    if not result.is_success:
        log.warning("candidate without pip", extra={"reason": _error_excerpt(result)})


def _find_pip_wheel(python: Path) -> list[str]:
    try:
        result = run_with_timeout([str(python), "-I", "-c", _FIND_BUNDLED_PIP], timeout_seconds=_QUICK_SECONDS)
    except Failure:
        return []
    if result.status != 0:
        return []
    return [os.fsdecode(line) for line in result.output.splitlines() if line]


def _write_uv_wrapper(uv: Path, path: Path) -> None:
    """Let install scripts call uv by a script. Through a link, an installation of uv would overwrite our own uv."""
    if not path.exists():
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(str(uv))} "$@"\n', "utf-8")
        path.chmod(0o755)


def _write_uv_config(environment: Path, *, no_index: bool) -> None:
    # uv has no environment variable for `no-index`.
    no_index_line = "no-index = true\n" if no_index else ""
    (environment / UV_CONFIG_FILE).write_text(f'{no_index_line}link-mode = "copy"\n', "utf-8")


def _has_shared_changes(environment: Path, name: str) -> bool:
    return any(_is_shared(environment / file) for file in _find_changes(environment, name))


def _is_shared(path: Path) -> bool:
    """Return whether a file has further hard links, as those from uv's cache have."""
    try:
        return path.is_file() and path.stat().st_nlink > 1
    except OSError:
        # A folder that even its owner cannot enter: its files may be shared.
        return True


def _find_changes(environment: Path, name: str) -> tuple[str, ...]:
    files: list[str] = []
    for package, folder in integrity.find_installed(environment).items():
        if package.name == name:
            files += integrity.find_changed_files(environment, package, folder)
    return tuple(files)


def _require_success(result: UvResult, reason: str) -> None:
    if not result.is_success:
        raise _candidate_failure(f"{reason}: {_error_excerpt(result)}")


def _error_excerpt(result: UvResult) -> str:
    """Return the output of a failed call on one line of at most 1500 characters."""
    text = result.errors.strip() or result.output.strip() or "uv printed nothing"
    return " ".join(text.split())[:_MAX_EXCERPT_CHARS]


def _candidate_failure(reason: str) -> Failure:
    return Failure(
        "gov-candidate-failed",
        f"The candidate environment failed: {reason}.",
        hint="Production is unchanged. Check the network, the disk and the node's requirements, and try again.",
    )
