"""`gov init`: create a governed root, or restore the missing parts of one."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import tomlkit

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, unwritable_failure, write_atomic
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.governed import record_governed
from comfywatchman.governance.store.layout import TRUTH_FILES, GovLayout
from comfywatchman.governance.store.records import GenerationMark, NodeRegistry, Operation
from comfywatchman.governance.store.settings import GovSettings, read_default_config
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.requirement_files import read_comfyui_requirements

_MAX_REQUIREMENTS_BYTES: Final = 1 << 20
_LAUNCHER: Final = """\
#!/bin/sh
# Runs gov on this governed root. `gov init` writes it.
root=$(CDPATH= cd -P -- "$(dirname -- "$0")/.." && pwd) || exit 1
exec {python} -P -m comfywatchman env --root "$root" "$@"
"""
_DAMAGED_LOCK: Final = "Failed to parse `uv.lock`"
"""uv's message (0.13) for a damaged lock. It is never replaced silently: a new lock could change every version."""


def init(
    context: GovContext,
    *,
    edit: Callable[[StagingDir], None] = lambda _work: None,
    explain: Callable[[StagingDir, UvResult], None] = lambda _work, _failure: None,
) -> Operation | None:
    """Create the layout, lock ComfyUI's requirements, build their environment and put it in production.

    On a governed root it restores what is missing: the base group after an update of ComfyUI, the lock after a manual
    edit of pyproject.toml, an environment that was deleted or modified. Everything else stays.

    Args:
        context: The governed root; its lock must be held.
        edit: Changes the copies of the truth files before they are locked.
        explain: Raises a failure that explains why the packages cannot be locked; it may return without one.

    Returns:
        The operation; None when nothing was missing.

    Raises:
        Failure: `comfyui-not-found`, `gov-lock-failed`, `gov-environment-failed`, `gov-smoke-failed`,
            `gov-truth-damaged`. No environment goes into production then.
    """
    layout = context.layout
    require_comfyui(context.comfyui)
    started_at = format_utc(context.clock.now())
    create_layout(layout)
    with staging.open_staging(layout) as staging_dir:
        before = staging_dir.hashes()
        base = read_base_requirements(context.comfyui, with_manager=has_manager_option(context.settings))
        write_truth(staging_dir, python=context.python, base=base, indexes=context.settings.network.indexes)
        edit(staging_dir)
        mark = _build_environment(context, staging_dir, explain)
        # The environment is built and verified for this ComfyUI; from now on the root is that of no other.
        record_governed(layout, context.comfyui)
        current = generation.current_key(layout)
        if staging_dir.hashes() == before and current == mark.key:
            return None
        pre_snapshot = None
        # A root made by hand has no lock yet: no rollback to a snapshot of it would be possible.
        if before.keys() == set(TRUTH_FILES):
            pre_snapshot = snapshot.create(layout, context.clock, reason="init_pre", ref="init", generation=current).id
        journal = commit.prepare(
            layout,
            context.clock,
            staging_dir,
            kind="init",
            ref="init",
            key=mark.key,
            pre_snapshot=pre_snapshot,
            started_at=started_at,
        )
        return commit.publish(context, journal)


def store_comfyui_dir(config: Path, comfyui: Path) -> None:
    """Write the ComfyUI of a governed root into its `config.toml`, unless one is configured there.

    Raises:
        Failure: `file-unreadable` or `state-unwritable`.
    """
    document = tomlkit.parse(read_regular(config, max_bytes=_MAX_REQUIREMENTS_BYTES).decode())
    paths = document.setdefault("paths", tomlkit.table())
    if not paths.get("comfyui_dir"):
        paths["comfyui_dir"] = str(comfyui)
        write_atomic(config, tomlkit.dumps(document).encode())


def store_indexes(config: Path, indexes: Mapping[str, Sequence[str]]) -> None:
    """Write the indexes of packages into the `config.toml` of a governed root.

    Raises:
        Failure: `file-unreadable` or `state-unwritable`.
    """
    document = tomlkit.parse(read_regular(config, max_bytes=_MAX_REQUIREMENTS_BYTES).decode())
    network = document.setdefault("network", tomlkit.table())
    table = network.setdefault("indexes", tomlkit.table())
    for url, packages in indexes.items():
        table[url] = list(packages)
    write_atomic(config, tomlkit.dumps(document).encode())


def read_base_requirements(comfyui: Path, *, with_manager: bool = False) -> tuple[str, ...]:
    """Return the requirement lines of ComfyUI itself; none when it has no requirements.txt.

    Options of pip, such as `--extra-index-url`, are left out: indexes are configured in `[network]`.

    Args:
        comfyui: The folder with main.py.
        with_manager: Whether ComfyUI is started with `--enable-manager`.

    Raises:
        Failure: `gov-lock-failed` for a line that cannot be locked.
    """
    requirements = read_comfyui_requirements(comfyui, with_manager=with_manager)
    if requirements is None:
        return ()
    refused = [line for line in requirements.unparseable if line not in requirements.options]
    # Only a build shows the name of a package without one, and nothing is built before the lock.
    refused += [f"{url} (a URL without a package name; write it as `name @ URL`)" for url in requirements.unnamed]
    if refused:
        raise Failure(
            "gov-lock-failed",
            f"ComfyUI's requirements.txt has a line that cannot be locked: {refused[0]}.",
            hint="Correct the file, then run: gov init",
        )
    return requirements.lines


def has_manager_option(settings: GovSettings) -> bool:
    """Return whether ComfyUI is started with its built-in manager, which needs further packages."""
    return "--enable-manager" in settings.run.extra_args


def create_layout(layout: GovLayout) -> None:
    """Create the missing folders of a governed root, and its config.toml.

    Raises:
        Failure: `state-unwritable`.
    """
    for folder in (
        layout.candidates,
        layout.snapshots,
        layout.transactions,
        layout.operations,
        layout.conflicts,
        layout.logs,
        layout.work,
        layout.generations,
    ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable_failure(folder, error, verb="made") from error
    if not layout.config.exists():
        write_atomic(layout.config, read_default_config().encode())
    _write_launcher(layout.launcher)


def _write_launcher(path: Path) -> None:
    """Write the program `bin/gov` of a root, which runs gov on this root from wherever it is called."""
    script = _LAUNCHER.format(python=shlex.quote(sys.executable)).encode()
    if not path.is_file() or path.read_bytes() != script:
        write_atomic(path, script, mode=0o755)


def require_comfyui(folder: Path) -> None:
    """Require that a folder holds ComfyUI.

    Raises:
        Failure: `comfyui-not-found`.
    """
    # A missing folder, such as one on a disk that is not mounted, would otherwise count as requiring no packages.
    if not (folder / "main.py").is_file():
        raise Failure(
            "comfyui-not-found",
            f"There is no ComfyUI in {printable_path(folder)}: it has no main.py.",
            hint="Name the folder that holds ComfyUI's main.py: --comfyui, COMFYUI_ROOT or [comfyui] root.",
        )


def write_truth(
    staging_dir: StagingDir, *, python: Path, base: Sequence[str], indexes: Mapping[str, Sequence[str]]
) -> None:
    """Create the missing truth files, and update the base group and the indexes of packages.

    Args:
        staging_dir: The copies of the truth files.
        python: The interpreter of the environment.
        base: The requirement lines of ComfyUI itself; none when they are not known.
        indexes: The packages of each index of its own, by its URL.
    """
    version = generation.read_python_version(python)
    if not (staging_dir.folder / "pyproject.toml").exists():
        marker = f"sys_platform == 'linux' and platform_machine == '{platform.machine()}'"
        staging_dir.write_project(truth.render_project(python_version=version, marker=marker, base=base))
    staging_dir.edit_project(lambda text: truth.set_indexes(truth.set_python(text, version), indexes))
    if not (staging_dir.folder / "plugins.json").exists():
        staging_dir.write_registry(NodeRegistry())
    groups = truth.parse_groups(staging_dir.read_project())
    # No lines mean that requirements.txt is missing, not that ComfyUI needs no packages.
    if base and sorted(base) != sorted(groups.get(truth.BASE_GROUP, ())):
        staging_dir.edit_project(lambda text: truth.set_group(text, truth.BASE_GROUP, base))
    if truth.OVERRIDES_GROUP in groups:
        staging_dir.edit_project(truth.convert_overrides_group)


def _build_environment(
    context: GovContext, staging_dir: StagingDir, explain: Callable[[StagingDir, UvResult], None]
) -> GenerationMark:
    locked = staging_dir.lock(context.uv, context.python)
    if not locked.is_success:
        hint = "Check the network and pyproject.toml of the governed root, then run: gov init"
        if _DAMAGED_LOCK in locked.errors:
            hint = "uv.lock is damaged. Go back to the newest snapshot: gov snapshot list, gov rollback SNAPSHOT."
        else:
            explain(staging_dir, locked)
        raise Failure("gov-lock-failed", f"uv could not resolve the packages: {locked.errors.strip()}", hint=hint)
    return generation.require_build(context, staging_dir.folder)
