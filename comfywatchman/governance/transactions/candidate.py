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
from comfywatchman.base.process import Child, child_environment, run_bounded
from comfywatchman.comfyui.server import stray_processes
from comfywatchman.comfyui.server.command import environment as trial_environment
from comfywatchman.governance.environments import generation, integrity, staging
from comfywatchman.governance.environments.context import Ground
from comfywatchman.governance.environments.copy_on_write import isolate
from comfywatchman.governance.nodes.deny_list import DenyList, refuse
from comfywatchman.governance.nodes.requirements import Requirements
from comfywatchman.governance.trial.trial import UV_SETTINGS, installer_variables, interpreter_in
from comfywatchman.governance.uv.client import UvEnded

log = logging.getLogger(__name__)

_INSTALL_SECONDS: Final = 1800.0
_QUICK_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2
_MOST_PRINTED_BYTES: Final = 64 << 20
_SCRIPT: Final = "install.py"
_BUNDLED: Final = (
    "import ensurepip, pathlib; print(*pathlib.Path(ensurepip.__file__).parent.glob('_bundled/pip-*.whl'), sep=chr(10))"
)
"""CPython brings a wheel of pip (library reference, ensurepip); a distributor may leave it out."""


def make(ground: Ground, environment: Path) -> None:
    """Make a candidate from the present truth; production and uv's cache keep their files whatever is done in it.

    Raises:
        Failure: `gov-candidate-failed`.
    """
    mode = generation.link_mode(ground)
    try:
        environment.parent.mkdir(parents=True, exist_ok=True)
        with staging.opened(ground) as work:
            made = ground.uv.make_environment(environment, python=ground.python, seed=False)
            _require(made, "it could not be made")
            ended = ground.uv.sync(work.folder, environment, python=ground.python, link_mode=mode)
            _require(ended, "it could not be filled with the packages of production")
        # After the packages: uv takes away what the lock does not know.
        pip = _bundled(ground.python) or ["pip"]
        ended = ground.uv.install(environment, pip, project=ground.layout.root, link_mode="copy")
        if not ended.is_well:
            log.warning("candidate without pip", extra={"reason": _short(ended)})
        isolate(environment)
        _give_uv(ground.uv.path, environment / "bin" / "uv")
        no_index = "no-index = true\n" if ground.settings.network.no_index else ""
        (environment / UV_SETTINGS).write_text(f'{no_index}link-mode = "copy"\n', "utf-8")
    except OSError as error:
        raise _failed(f"it could not be written ({error.strerror})") from error


def install(ground: Ground, environment: Path, wanted: Requirements, *, denied: DenyList, log: Path) -> None:
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
        link_mode=generation.link_mode(ground),
        constraints=limits,
        timeout_seconds=_INSTALL_SECONDS,
    )
    if not ended.is_well:
        write_atomic(log, f"{ended.output}\n{ended.errors}".encode(), mode=0o600)
        for entry in denied.ruled_out(ended.errors):
            refuse(entry, f"{entry.name} {' or '.join(entry.versions)}, without which the node cannot be installed,")
        raise _failed(f"uv could not install what the node declares (see {log}): {_short(ended)}")
    isolate(environment)


def run_script(ground: Ground, environment: Path, folder: Path, logs: tuple[Path, Path]) -> int | None:
    """Run a node's install.py with the candidate's interpreter; return how it ended, None when there is none.

    It ends with status 124 at the time limit, or when it prints more than 64 MiB. What it installs goes into the
    candidate; nothing that it started stays.

    Raises:
        Failure: `child-failed` or `state-unwritable`.
    """
    script = folder / _SCRIPT
    if not script.is_file():
        return None
    python = interpreter_in(environment)
    path = child_environment().get("PATH", "")
    variables = trial_environment(python, path, {**ground.uv.network, **installer_variables(ground)})
    mark = stray_processes.new_mark()
    own = {"UV_CONFIG_FILE": str(environment / UV_SETTINGS), stray_processes.VARIABLE: mark}
    try:
        with Child(
            [str(python), _SCRIPT],
            extra_environment={**variables, **own},
            folder=folder,
            logs=logs,
            dies_with_us=True,
        ) as child:
            status = _waited(child)
            if status is None:
                child.end(grace_seconds=2.0)
            return 124 if status is None else status
    finally:
        stray_processes.end_marked(mark)


def requires_of(environment: Path) -> dict[str, tuple[str, ...]]:
    """Return what each installed package requires, by normalised name."""
    found: dict[str, tuple[str, ...]] = {}
    for package, folder in integrity.installed_in(environment).items():
        try:
            text = (folder / "METADATA").read_text("utf-8", "replace")
        except OSError:
            continue
        found[package.name] = tuple(HeaderParser().parsestr(text).get_all("Requires-Dist", []))
    return found


def marker_values(version: str) -> dict[str, str]:
    """Return the values of environment markers for an interpreter of this machine, by its version."""
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
    }


def remove(environment: Path) -> None:
    """Delete a candidate; what links in it lead to stays."""
    if environment.is_symlink():
        environment.unlink()
    shutil.rmtree(environment, ignore_errors=True)


def heal(ground: Ground, environment: Path, report: integrity.IntegrityReport) -> tuple[str, ...]:
    """Drop from uv's cache what a candidate's run changed in files that it shares with the cache.

    Returns:
        The files of production that share the change, relative to its environment.
    """
    shared = [name for name in report.modified_packages if _shares_changes(environment, name)]
    if shared:
        ground.uv.forget(shared)
    key = generation.current(ground.layout)
    if key is None:
        return ()
    production = generation.path_of(ground.layout, key)
    return tuple(file for name in shared for file in _changed(production, name))


def _shares_changes(environment: Path, name: str) -> bool:
    return any(_is_shared(environment / file) for file in _changed(environment, name))


def _is_shared(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_nlink > 1
    except OSError:
        # A folder that keeps its owner out: what lies in it may be shared.
        return True


def _changed(environment: Path, name: str) -> tuple[str, ...]:
    installed = integrity.installed_in(environment).items()
    found = (integrity.changed_files(environment, one, folder) for one, folder in installed if one.name == name)
    return tuple(file for files in found for file in files)


def _give_uv(ours: Path, place: Path) -> None:
    """Let installers call uv, by a script: through a link, an installation of uv would write over the one we use."""
    if not place.exists():
        place.write_text(f'#!/bin/sh\nexec {shlex.quote(str(ours))} "$@"\n', "utf-8")
        place.chmod(0o755)


def _waited(child: Child) -> int | None:
    until = time.monotonic() + _INSTALL_SECONDS
    while (status := child.wait(max(0.0, min(_LOOK_SECONDS, until - time.monotonic())))) is None:
        if time.monotonic() >= until or child.written_bytes() > _MOST_PRINTED_BYTES:
            return None
    return status


def _bundled(python: Path) -> list[str]:
    try:
        ended = run_bounded([str(python), "-I", "-c", _BUNDLED], timeout_seconds=_QUICK_SECONDS)
    except Failure:
        return []
    return [os.fsdecode(line) for line in ended.output.splitlines() if line] if ended.status == 0 else []


def _require(ended: UvEnded, what: str) -> None:
    if not ended.is_well:
        raise _failed(f"{what}: {_short(ended)}")


def _short(ended: UvEnded) -> str:
    return " ".join((ended.errors.strip() or ended.output.strip() or "uv said nothing").split())[:1500]


def _failed(reason: str) -> Failure:
    return Failure(
        "gov-candidate-failed",
        f"The candidate environment failed: {reason}.",
        hint="Production is as it was. Check the network and the disk, or the node's requirements, and try again.",
    )
