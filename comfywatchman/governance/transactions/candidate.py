"""The environment in which a node is tried: production's packages, then whatever the node's installation does to them.

It has pip, because installers of nodes call it, and own copies of the files that they patch.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import time
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from packaging.markers import default_environment

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import write_atomic
from comfywatchman.base.process import ChildProcess, build_child_environment, run_bounded
from comfywatchman.comfyui.server import stray_processes
from comfywatchman.comfyui.server.command import build_environment as trial_environment
from comfywatchman.governance.environments import generation, integrity, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.copy_on_write import install_hook
from comfywatchman.governance.nodes.deny_list import DenyList, refuse_denied
from comfywatchman.governance.nodes.requirements import NodeRequirements
from comfywatchman.governance.trial.trial import UV_CONFIG_FILE, build_installer_variables, find_interpreter
from comfywatchman.governance.uv.client import UvResult

log = logging.getLogger(__name__)

_INSTALL_SECONDS: Final = 1800.0
_QUICK_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2
_MAX_LOG_BYTES: Final = 64 << 20
_INSTALL_SCRIPT: Final = "install.py"
_FIND_BUNDLED_PIP: Final = (
    "import ensurepip, pathlib; print(*pathlib.Path(ensurepip.__file__).parent.glob('_bundled/pip-*.whl'), sep=chr(10))"
)
"""CPython brings a wheel of pip (library reference, ensurepip); a distributor may leave it out."""


def create(ground: GovContext, environment: Path) -> None:
    """Make a candidate from the present truth; production and uv's cache keep their files whatever is done in it.

    Raises:
        Failure: `gov-candidate-failed`.
    """
    mode = generation.choose_link_mode(ground.layout.root, ground.settings.runtime.link_mode)
    try:
        environment.parent.mkdir(parents=True, exist_ok=True)
        with staging.open_staging(ground.layout) as work:
            made = ground.uv.make_environment(environment, python=ground.python, seed=False)
            _require_success(made, "it could not be made")
            ended = ground.uv.sync(work.folder, environment, python=ground.python, link_mode=mode)
            _require_success(ended, "it could not be filled with the packages of production")
        # After the packages: uv takes away what the lock does not know.
        pip = _find_bundled_pip(ground.python) or ["pip"]
        ended = ground.uv.install(environment, pip, project=ground.layout.root, link_mode="copy")
        if not ended.is_success:
            log.warning("candidate without pip", extra={"reason": _error_excerpt(ended)})
        install_hook(environment)
        _write_uv_wrapper(ground.uv.path, environment / "bin" / "uv")
        no_index = "no-index = true\n" if ground.settings.network.no_index else ""
        (environment / UV_CONFIG_FILE).write_text(f'{no_index}link-mode = "copy"\n', "utf-8")
    except OSError as error:
        raise _candidate_failure(f"it could not be written ({error.strerror})") from error


def install_requirements(
    ground: GovContext, environment: Path, wanted: NodeRequirements, *, denied: DenyList, log: Path
) -> None:
    """Install what a node declares into its candidate.

    Args:
        ground: The ground.
        environment: The candidate.
        wanted: What the node declares.
        denied: Keeps uv from versions that do harm.
        log: Where uv's words go when it fails.

    Raises:
        Failure: `gov-candidate-failed`, with uv's last words, or `gov-denied`.
    """
    lines = [*wanted.lines, *wanted.unnamed]
    if not lines:
        return
    limits = environment / "gov-constraints.txt"
    limits.write_text("".join(f"{line}\n" for line in denied.constraints()), "utf-8")
    ended = ground.uv.install(
        environment,
        lines,
        project=ground.layout.root,
        link_mode=generation.choose_link_mode(ground.layout.root, ground.settings.runtime.link_mode),
        constraints=limits,
        timeout_seconds=_INSTALL_SECONDS,
    )
    if not ended.is_success:
        write_atomic(log, f"{ended.output}\n{ended.errors}".encode(), mode=0o600)
        for entry in denied.find_ruled_out(ended.errors):
            refuse_denied(
                entry, f"{entry.name} {' or '.join(entry.versions)}, without which the node cannot be installed,"
            )
        raise _candidate_failure(f"uv could not install what the node declares (see {log}): {_error_excerpt(ended)}")
    install_hook(environment)


def run_install_script(ground: GovContext, environment: Path, folder: Path, logs: tuple[Path, Path]) -> int | None:
    """Run a node's install.py with the candidate's interpreter; return how it ended, None when there is none.

    It ends with status 124 at the time limit, or when it prints more than 64 MiB. What it installs goes into the
    candidate; nothing that it started stays.

    Raises:
        Failure: `child-failed` or `state-unwritable`.
    """
    script = folder / _INSTALL_SCRIPT
    if not script.is_file():
        return None
    python = find_interpreter(environment)
    path = build_child_environment().get("PATH", "")
    variables = trial_environment(
        python, path, {**ground.uv.network, **build_installer_variables(ground.settings.network)}
    )
    mark = stray_processes.create_mark()
    own = {"UV_CONFIG_FILE": str(environment / UV_CONFIG_FILE), stray_processes.TRIAL_VARIABLE: mark}
    try:
        with ChildProcess(
            [str(python), _INSTALL_SCRIPT],
            extra_environment={**variables, **own},
            folder=folder,
            logs=logs,
            dies_with_us=True,
        ) as child:
            status = _wait_for_script(child)
            if status is None:
                child.end(grace_seconds=2.0)
            return 124 if status is None else status
    finally:
        stray_processes.end_marked_processes(mark)


def read_requires(environment: Path) -> dict[str, tuple[str, ...]]:
    """Return what each installed package requires, by normalised name."""
    found: dict[str, tuple[str, ...]] = {}
    for package, folder in integrity.find_installed(environment).items():
        try:
            text = (folder / "METADATA").read_text("utf-8", "replace")
        except OSError:
            continue
        found[package.name] = tuple(HeaderParser().parsestr(text).get_all("Requires-Dist", []))
    return found


def build_marker_environment(version: str) -> dict[str, str]:
    """Return the values of environment markers for an interpreter of this machine, by its version."""
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
    }


def delete(environment: Path) -> None:
    """Delete a candidate; what links in it lead to stays."""
    if environment.is_symlink():
        environment.unlink()
    shutil.rmtree(environment, ignore_errors=True)


def evict_modified(ground: GovContext, environment: Path, report: integrity.IntegrityReport) -> tuple[str, ...]:
    """Drop from uv's cache what a candidate's run changed in files that it shares with the cache.

    Returns:
        The files of production that share the change, relative to its environment.
    """
    shared = [name for name in report.modified_packages if _has_shared_changes(environment, name)]
    if shared:
        ground.uv.clean_cache(shared)
    key = generation.current_key(ground.layout)
    if key is None:
        return ()
    production = generation.environment_dir(ground.layout, key)
    return tuple(file for name in shared for file in _find_changed_files(production, name))


def _has_shared_changes(environment: Path, name: str) -> bool:
    return any(_is_shared(environment / file) for file in _find_changed_files(environment, name))


def _is_shared(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_nlink > 1
    except OSError:
        # A folder that keeps its owner out: what lies in it may be shared.
        return True


def _find_changed_files(environment: Path, name: str) -> tuple[str, ...]:
    installed = integrity.find_installed(environment).items()
    found = (integrity.find_changed_files(environment, one, folder) for one, folder in installed if one.name == name)
    return tuple(file for files in found for file in files)


def _write_uv_wrapper(ours: Path, place: Path) -> None:
    """Let installers call uv, by a script: through a link, an installation of uv would write over the one we use."""
    if not place.exists():
        place.write_text(f'#!/bin/sh\nexec {shlex.quote(str(ours))} "$@"\n', "utf-8")
        place.chmod(0o755)


def _wait_for_script(child: ChildProcess) -> int | None:
    until = time.monotonic() + _INSTALL_SECONDS
    while (status := child.wait(max(0.0, min(_POLL_SECONDS, until - time.monotonic())))) is None:
        if time.monotonic() >= until or child.written_bytes() > _MAX_LOG_BYTES:
            return None
    return status


def _find_bundled_pip(python: Path) -> list[str]:
    try:
        ended = run_bounded([str(python), "-I", "-c", _FIND_BUNDLED_PIP], timeout_seconds=_QUICK_SECONDS)
    except Failure:
        return []
    return [os.fsdecode(line) for line in ended.output.splitlines() if line] if ended.status == 0 else []


def _require_success(ended: UvResult, what: str) -> None:
    if not ended.is_success:
        raise _candidate_failure(f"{what}: {_error_excerpt(ended)}")


def _error_excerpt(ended: UvResult) -> str:
    return " ".join((ended.errors.strip() or ended.output.strip() or "uv said nothing").split())[:1500]


def _candidate_failure(reason: str) -> Failure:
    return Failure(
        "gov-candidate-failed",
        f"The candidate environment failed: {reason}.",
        hint="Production is as it was. Check the network and the disk, or the node's requirements, and try again.",
    )
