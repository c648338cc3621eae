"""Checks of the configuration, of ComfyUI's folders, of the disk, the GPU and the keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from comfywatchman.app.doctor.check import CheckState, DoctorCheck
from comfywatchman.app.session import Session
from comfywatchman.base.files import printable_path
from comfywatchman.base.text import format_decimal_size, pluralize
from comfywatchman.comfyui.install.reachability import (
    describe_problem,
    describe_remedy,
    explain_missing_folder,
    explain_unreachable,
)

_GB = 10**9


def check_configuration(session: Session) -> Iterator[DoctorCheck]:
    """Check that the configuration can be read."""
    labels = dict.fromkeys(origin.label for origin in session.configuration.origins.values())
    finding = ", ".join(label for label in labels if label != "default.toml")
    yield DoctorCheck("Configuration", CheckState.OK, finding or "defaults only")


def check_comfyui(session: Session) -> Iterator[DoctorCheck]:
    """Check that there is a ComfyUI, and that its configuration lets it start."""
    from comfywatchman.comfyui.install.folders import resolve_folders

    installation = session.installation()
    if installation is None:
        step = "Name its folder, the one with main.py: --comfyui /path/to/ComfyUI before the command"
        yield DoctorCheck("ComfyUI", CheckState.FAIL, "not found in ~/ComfyUI or the current folder", step)
        return
    _folders, blockers = resolve_folders(installation)
    for blocker in blockers:
        line = f", line {blocker.line}" if blocker.line is not None else ""
        finding = f"cannot start with {printable_path(blocker.path)}{line}: {blocker.reason}"
        yield DoctorCheck("ComfyUI", CheckState.FAIL, finding, blocker.fix)
    if not blockers:
        version = installation.version or "unknown version"
        yield DoctorCheck("ComfyUI", CheckState.OK, f"{version} in {printable_path(installation.root)}")


def check_model_folders(session: Session) -> Iterator[DoctorCheck]:
    """Check that every model folder can be listed."""
    from comfywatchman.comfyui.install.folders import resolve_folders

    installation = session.installation()
    if installation is None:
        yield DoctorCheck("Model folders", CheckState.SKIP, "waits for ComfyUI")
        return
    folders, _blockers = resolve_folders(installation)
    directories = {path: folders.find_base(path) for folder in folders.folders.values() for path in folder.directories}
    obstacles = {}
    for path, base in directories.items():
        obstacle = explain_unreachable(str(path))
        if obstacle is None and not path.exists():
            obstacle = explain_missing_folder(str(path), str(base) if base is not None else None)
        if obstacle is not None:
            obstacles[obstacle.path] = obstacle
    for path_text, obstacle in sorted(obstacles.items()):
        finding = f"{path_text} {describe_problem(obstacle)}; its models are unknown, not missing"
        yield DoctorCheck("Model folders", CheckState.FAIL, finding, describe_remedy(obstacle))
    if not obstacles:
        yield DoctorCheck("Model folders", CheckState.OK, f"{pluralize(len(directories), 'folder')}, all readable")


def check_disk(session: Session) -> Iterator[DoctorCheck]:
    """Check that there is room for models."""
    from comfywatchman.comfyui.install.folders import resolve_folders

    installation = session.installation()
    if installation is None:
        yield DoctorCheck("Disk", CheckState.SKIP, "waits for ComfyUI")
        return
    folders, _blockers = resolve_folders(installation)
    directory = folders.models_directory if folders.models_directory.exists() else installation.root
    free = shutil.disk_usage(directory).free
    finding = f"{format_decimal_size(free)} free for models"
    keep = session.settings.downloads.keep_free_gb
    if free < keep * _GB:
        step = f"Free space, or lower [downloads] keep_free_gb, which is {keep:g}"
        yield DoctorCheck("Disk", CheckState.WARN, finding, step)
    else:
        yield DoctorCheck("Disk", CheckState.OK, finding)


def check_gpu(session: Session) -> Iterator[DoctorCheck]:
    """Check that a cycle could start now."""
    from comfywatchman.base.gpu.query import read_gpus
    from comfywatchman.readiness.cycle import build_gate_settings
    from comfywatchman.readiness.gates import HostState, find_needed_gb, find_skip_reason

    gpus = read_gpus()
    reason = find_skip_reason(HostState(gpus), build_gate_settings(session.settings.schedule))
    names = ", ".join(device.name or f"GPU {device.index}" for device in gpus.devices)
    limit = session.settings.schedule.min_vram_gb
    for device in gpus.devices:
        needed = find_needed_gb(device, limit)
        if needed != limit:
            names += f"; min_vram_gb = {limit:g} can never be met, so {needed:.3g} GiB is used"
            break
    if reason is not None:
        step = "Checks wait until it is free again; [schedule] holds the limits"
        yield DoctorCheck("GPU", CheckState.WARN, reason.message.rstrip("."), step)
    elif gpus.status == "unknown":
        yield DoctorCheck("GPU", CheckState.WARN, (gpus.reason or "unknown").rstrip("."))
    else:
        yield DoctorCheck("GPU", CheckState.OK, names or "none; checks run without one")


def check_keys(session: Session) -> Iterator[DoctorCheck]:
    """Name the keys that are set; none is needed for public files."""
    secrets = session.settings.secrets
    keys = (("Civitai", secrets.civitai_api_key), ("Hugging Face", secrets.hf_token))
    finding = "; ".join(f"{site} {'set' if key else 'not set'}" for site, key in keys)
    yield DoctorCheck("Keys", CheckState.OK, f"{finding} (public files need none)")
