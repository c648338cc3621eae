"""The `[jobs]` section as the limits and places that the job agent's parts take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import JobsSection
from comfywatchman.jobs.records import MEDIA_OF_TYPE

_BEATS_PER_LEASE: Final = 3
"""A lease survives two lost heartbeats."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """All limits and places of one job agent.

    Attributes:
        processing: The folder of job files to run, with one subfolder per kind of media.
        finished: The folder of job files with their outputs, with the same subfolders.
        database_url: The URL of the database of jobs, as SQLAlchemy reads it.
        workflows: The file that names the workflows of jobs.
        global_config: The YAML file whose values override those of the configuration.
        media_of_type: The folder of each job type.
        input_folders: Folders, beside processing, whose files a job may send to ComfyUI.
        allow_file_commands: Whether a job file may name a program to start at its end.
        comfyui_url: The address of the ComfyUI that runs the jobs.
        previews: The folder of the previews of running jobs; None to keep none.
    """

    processing: Path
    finished: Path
    database_url: str
    workflows: Path
    global_config: Path
    media_of_type: Mapping[str, str] = field(default_factory=lambda: dict(MEDIA_OF_TYPE))
    input_folders: tuple[Path, ...] = ()
    allow_file_commands: bool = False
    default_priority: int = 50
    retry_limit: int = 2
    poll_interval_seconds: float = 1.0
    comfyui_url: str = "http://127.0.0.1:8188"
    job_timeout_seconds: float = 3600.0
    lease_seconds: float = 60.0
    heartbeat_seconds: float = 15.0
    affinity_max_passes: int = 24
    affinity_max_wait_seconds: float = 900.0
    pending_warning: int = 1000
    min_free_disk_gb: float = 2.0
    min_free_vram_gb: float = 0.0
    keep_history_days: float = 90.0
    keep_outputs_days: float = 0.0
    webhook: str = ""
    command: tuple[str, ...] = ()
    previews: Path | None = None


def build_settings(section: JobsSection, *, home: Path, comfyui_url: str) -> JobSettings:
    """Return the limits and places that the configuration asks for.

    Args:
        section: The `[jobs]` section.
        home: The folder that holds state/.
        comfyui_url: The common address of ComfyUI, used where the section names none.

    Raises:
        Failure: `config-wrong-type`.
    """
    if section.heartbeat_seconds * _BEATS_PER_LEASE > section.lease_seconds:
        raise Failure(
            "config-wrong-type",
            f"jobs.heartbeat_seconds is {section.heartbeat_seconds:g}, more than a third of jobs.lease_seconds"
            f" ({section.lease_seconds:g}): one late heartbeat would lose a running job.",
            hint=f"Set it to {section.lease_seconds / _BEATS_PER_LEASE:g} or less.",
        )
    root = Path(section.root) if section.root else home / "jobs"
    return JobSettings(
        processing=Path(section.processing) if section.processing else root / "processing",
        finished=Path(section.finished) if section.finished else root / "finished",
        input_folders=tuple(Path(folder) for folder in section.input_folders),
        allow_file_commands=section.allow_file_commands,
        database_url=section.database or f"sqlite:///{home / 'state' / 'jobs.db'}",
        workflows=Path(section.workflows) if section.workflows else home / "config" / "workflows.yaml",
        global_config=Path(section.global_config) if section.global_config else home / "config" / "global_config.yaml",
        media_of_type={**MEDIA_OF_TYPE, **_parse_extra_types(section.extra_types)},
        default_priority=section.default_priority,
        retry_limit=section.retry_limit,
        poll_interval_seconds=section.poll_interval_ms / 1000,
        comfyui_url=section.comfyui_url or comfyui_url,
        job_timeout_seconds=section.job_timeout_seconds,
        lease_seconds=section.lease_seconds,
        heartbeat_seconds=section.heartbeat_seconds,
        affinity_max_passes=section.affinity_max_passes,
        affinity_max_wait_seconds=section.affinity_max_wait_seconds,
        pending_warning=section.pending_warning,
        min_free_disk_gb=section.min_free_disk_gb,
        min_free_vram_gb=section.min_free_vram_gb,
        keep_history_days=section.keep_history_days,
        keep_outputs_days=section.keep_outputs_days,
        webhook=section.webhook,
        command=section.command,
        previews=home / "state" / "previews",
    )


def _parse_extra_types(entries: tuple[str, ...]) -> dict[str, str]:
    media_of_type = {}
    for entry in entries:
        job_type, separator, media = entry.partition("=")
        is_valid = separator and job_type.isalnum() and job_type.isupper() and media.replace("_", "").isalnum()
        if not is_valid or not entry.isascii():
            raise Failure(
                "config-wrong-type",
                f"{entry!r} in jobs.extra_types is not a job type with its folder.",
                hint='Write capital letters and digits, "=", and a folder name of lower-case letters: "UPSCALE=image".',
            )
        media_of_type[job_type] = media
    return media_of_type
