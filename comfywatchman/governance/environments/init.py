"""Making a folder a governed root, or making one whole again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, to_json, unwritable_failure, write_atomic
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import GenerationMark, NodeRegistry, Operation
from comfywatchman.governance.store.settings import render_default_config
from comfywatchman.governance.uv.client import UvResult

_MAX_REQUIREMENTS_BYTES: Final = 1 << 20
_DAMAGED_LOCK: Final = "Failed to parse `uv.lock`"
"""uv's words (0.13). A new lock could move every version, so it is not made behind a person's back."""


def init(context: GovContext) -> Operation | None:
    """Make the layout, resolve what ComfyUI needs, build its environment and put it in production.

    On a governed root it makes what is missing: the base group after ComfyUI was updated, the lock after an edit of
    pyproject.toml by hand, an environment that is gone or whose files were changed. What is there stays.

    Returns:
        What was done; None when everything was there.

    Raises:
        Failure: `comfyui-not-found`, `gov-lock-failed`, `gov-environment-failed`, `gov-smoke-failed`,
            `gov-truth-damaged`. No environment goes into production then.
    """
    layout = context.layout
    _require_comfyui(context.comfyui)
    started_at = format_utc(context.clock.now())
    folders = (layout.candidates, layout.snapshots, layout.transactions, layout.operations, layout.conflicts)
    for folder in (*folders, layout.logs, layout.work, layout.generations):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable_failure(folder, error, verb="made") from error
    if not layout.config.exists():
        write_atomic(layout.config, render_default_config().encode())
    with staging.open_staging(context.layout) as work:
        before = work.hashes()
        _require_truth_files(before)
        _write_truth(context, work)
        mark = _build_environment(context, work)
        if work.hashes() == before and generation.current_key(layout) == mark.key:
            return None
        current = generation.current_key(layout)
        pre = (
            snapshot.create(layout, context.clock, reason="init_pre", ref="init", generation=current)
            if before
            else None
        )
        journal = commit.prepare(
            context.layout,
            context.clock,
            work,
            kind="init",
            ref="init",
            key=mark.key,
            pre_snapshot=pre.id if pre else None,
            started_at=started_at,
        )
        return commit.publish(context, journal)


def store_comfyui_dir(context: GovContext) -> None:
    """Write into the governed root's `config.toml` which ComfyUI it governs, unless that stands there.

    Raises:
        Failure: `file-unreadable` or `file-unwritable`.
    """
    path = context.layout.config
    document = tomlkit.parse(read_regular(path, max_bytes=_MAX_REQUIREMENTS_BYTES).decode())
    paths = document.setdefault("paths", tomlkit.table())
    if not paths.get("comfyui_dir"):
        paths["comfyui_dir"] = str(context.comfyui)
        write_atomic(path, tomlkit.dumps(document).encode())


def read_base_requirements(comfyui: Path) -> tuple[str, ...]:
    """Return the requirement lines of ComfyUI's own requirements.txt; none when there is no such file.

    Raises:
        Failure: `file-unreadable` or `gov-lock-failed` for a line that is no requirement.
    """
    path = comfyui / "requirements.txt"
    if not path.is_file():
        return ()
    text = read_regular(path, max_bytes=_MAX_REQUIREMENTS_BYTES).decode("utf-8", "replace")
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
    return tuple(_validate_requirement(line) for line in lines if line and not line.startswith(("#", "-")))


def _require_comfyui(folder: Path) -> None:
    # A folder that is not there, or whose disk is not mounted, would else ask for no packages at all.
    if not (folder / "main.py").is_file():
        raise Failure(
            "comfyui-not-found",
            f"There is no ComfyUI in {printable_path(folder)}: it has no main.py.",
            hint="Name the folder that holds ComfyUI's main.py: --comfyui, COMFYUI_ROOT or [comfyui] root.",
        )


def _require_truth_files(there: Mapping[str, str]) -> None:
    # A fresh file in the place of a lost one would know nothing of the nodes that the others still name.
    needed = {"pyproject.toml": bool(there), "plugins.json": "uv.lock" in there}
    lost = next((name for name, is_needed in needed.items() if is_needed and name not in there), None)
    if lost:
        raise Failure(
            "gov-truth-damaged",
            f"{lost} of the governed root is gone.",
            hint="Go back to the newest snapshot: gov snapshot list, gov rollback SNAPSHOT.",
        )


def _validate_requirement(line: str) -> str:
    try:
        Requirement(line)
    except InvalidRequirement as error:
        raise Failure(
            "gov-lock-failed",
            f"A line of ComfyUI's requirements.txt is no requirement: {line!r}.",
            hint="Correct the file, then run: gov init",
        ) from error
    return line


def _write_truth(context: GovContext, work: StagingDir) -> None:
    version = ".".join(generation.read_python_version(context.python).split(".")[:2])
    if not (work.folder / "pyproject.toml").exists():
        work.write_project(
            truth.render_project(
                python_version=version,
                marker=f"sys_platform == 'linux' and platform_machine == '{platform.machine()}'",
                base=read_base_requirements(context.comfyui),
            )
        )
    work.edit_project(lambda text: truth.set_python(text, version))
    if not (work.folder / "plugins.json").exists():
        write_atomic(work.folder / "plugins.json", to_json(NodeRegistry()))
    needed = read_base_requirements(context.comfyui)
    if needed and sorted(needed) != sorted(truth.parse_groups(work.read_project()).get(truth.BASE_GROUP, ())):
        work.edit_project(lambda text: truth.set_group(text, truth.BASE_GROUP, needed))
    if truth.OVERRIDES_GROUP in truth.parse_groups(work.read_project()):
        work.edit_project(truth.convert_overrides_group)


def _build_environment(context: GovContext, work: StagingDir) -> GenerationMark:
    ended = work.lock(context.uv, context.python)
    if not ended.is_success:
        raise Failure(
            "gov-lock-failed",
            f"uv could not resolve the packages: {ended.errors.strip()}",
            hint="uv.lock is damaged. Go back to the newest snapshot: gov snapshot list, gov rollback SNAPSHOT."
            if _DAMAGED_LOCK in ended.errors
            else "Check the network and pyproject.toml of the governed root, then run: gov init",
        )
    built = generation.build(context, work.folder)
    if isinstance(built, UvResult):
        raise Failure(
            "gov-environment-failed",
            f"uv could not build the environment: {built.errors.strip()}",
            hint="Check the network and the disk (df -h), then run: gov init",
        )
    return built
