"""`gov init`: create a governed root, or restore the missing parts of one."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, unwritable_failure, write_atomic
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import GenerationMark, NodeRegistry, Operation
from comfywatchman.governance.store.settings import read_default_config
from comfywatchman.governance.uv.client import UvResult

_MAX_REQUIREMENTS_BYTES: Final = 1 << 20
_DAMAGED_LOCK: Final = "Failed to parse `uv.lock`"
"""uv's message (0.13) for a damaged lock. It is never replaced silently: a new lock could change every version."""


def init(context: GovContext) -> Operation | None:
    """Create the layout, lock ComfyUI's requirements, build their environment and put it in production.

    On a governed root it restores what is missing: the base group after an update of ComfyUI, the lock after a manual
    edit of pyproject.toml, an environment that was deleted or modified. Everything else stays.

    Returns:
        The operation; None when nothing was missing.

    Raises:
        Failure: `comfyui-not-found`, `gov-lock-failed`, `gov-environment-failed`, `gov-smoke-failed`,
            `gov-truth-damaged`. No environment goes into production then.
    """
    layout = context.layout
    _require_comfyui(context.comfyui)
    started_at = format_utc(context.clock.now())
    _create_layout(layout)
    with staging.open_staging(layout) as staging_dir:
        before = staging_dir.hashes()
        _require_truth_files(before)
        _write_truth(staging_dir, python=context.python, comfyui=context.comfyui)
        mark = _build_environment(context, staging_dir)
        current = generation.current_key(layout)
        if staging_dir.hashes() == before and current == mark.key:
            return None
        pre_snapshot = None
        if before:
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


def read_base_requirements(comfyui: Path) -> tuple[str, ...]:
    """Return the requirement lines of ComfyUI's own requirements.txt; none when there is no such file.

    Raises:
        Failure: `file-unreadable`, or `gov-lock-failed` for an invalid line.
    """
    path = comfyui / "requirements.txt"
    if not path.is_file():
        return ()
    requirements = []
    for line in read_regular(path, max_bytes=_MAX_REQUIREMENTS_BYTES).decode("utf-8", "replace").splitlines():
        text = line.partition(" #")[0].strip()
        # Lines with a dash are options of pip, such as --extra-index-url.
        if text and not text.startswith(("#", "-")):
            requirements.append(_validate_requirement(text))
    return tuple(requirements)


def _create_layout(layout: GovLayout) -> None:
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


def _require_comfyui(folder: Path) -> None:
    # A missing folder, such as one on a disk that is not mounted, would otherwise count as requiring no packages.
    if not (folder / "main.py").is_file():
        raise Failure(
            "comfyui-not-found",
            f"There is no ComfyUI in {printable_path(folder)}: it has no main.py.",
            hint="Name the folder that holds ComfyUI's main.py: --comfyui, COMFYUI_ROOT or [comfyui] root.",
        )


def _require_truth_files(existing: Mapping[str, str]) -> None:
    """Refuse to replace a lost truth file: a new one would not list the nodes that the others still name."""
    required = []
    if existing:
        required.append("pyproject.toml")
    if "uv.lock" in existing:
        required.append("plugins.json")
    for name in required:
        if name not in existing:
            raise Failure(
                "gov-truth-damaged",
                f"{name} of the governed root is missing.",
                hint="Go back to the newest snapshot: gov snapshot list, gov rollback SNAPSHOT.",
            )


def _validate_requirement(line: str) -> str:
    try:
        Requirement(line)
    except InvalidRequirement as error:
        raise Failure(
            "gov-lock-failed",
            f"ComfyUI's requirements.txt has an invalid line: {line!r}.",
            hint="Correct the file, then run: gov init",
        ) from error
    return line


def _write_truth(staging_dir: StagingDir, *, python: Path, comfyui: Path) -> None:
    """Create the missing truth files and update the base group."""
    version = ".".join(generation.read_python_version(python).split(".")[:2])
    base = read_base_requirements(comfyui)
    if not (staging_dir.folder / "pyproject.toml").exists():
        marker = f"sys_platform == 'linux' and platform_machine == '{platform.machine()}'"
        staging_dir.write_project(truth.render_project(python_version=version, marker=marker, base=base))
    staging_dir.edit_project(lambda text: truth.set_python(text, version))
    if not (staging_dir.folder / "plugins.json").exists():
        staging_dir.write_registry(NodeRegistry())
    groups = truth.parse_groups(staging_dir.read_project())
    # No lines mean that requirements.txt is missing, not that ComfyUI needs no packages.
    if base and sorted(base) != sorted(groups.get(truth.BASE_GROUP, ())):
        staging_dir.edit_project(lambda text: truth.set_group(text, truth.BASE_GROUP, base))
    if truth.OVERRIDES_GROUP in groups:
        staging_dir.edit_project(truth.convert_overrides_group)


def _build_environment(context: GovContext, staging_dir: StagingDir) -> GenerationMark:
    locked = staging_dir.lock(context.uv, context.python)
    if not locked.is_success:
        hint = "Check the network and pyproject.toml of the governed root, then run: gov init"
        if _DAMAGED_LOCK in locked.errors:
            hint = "uv.lock is damaged. Go back to the newest snapshot: gov snapshot list, gov rollback SNAPSHOT."
        raise Failure("gov-lock-failed", f"uv could not resolve the packages: {locked.errors.strip()}", hint=hint)
    mark = generation.build(context, staging_dir.folder)
    if isinstance(mark, UvResult):
        raise Failure(
            "gov-environment-failed",
            f"uv could not build the environment: {mark.errors.strip()}",
            hint="Check the network and the disk (df -h), then run: gov init",
        )
    return mark
