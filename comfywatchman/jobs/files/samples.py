"""Sample workflows, job files and configuration, written into an empty home folder."""

from __future__ import annotations

import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from comfywatchman.base.files import write_atomic
from comfywatchman.jobs.files.folders import ensure_media_folders
from comfywatchman.jobs.settings import JobSettings

FIRST_JOB: Final = "T2I_20260131090000_1_first-picture.yaml"
"""The sample job that needs no model."""

EXAMPLES: Final = "examples"
"""The folder of sample job files, beside processing/ and finished/."""


def write_samples(home: Path, settings: JobSettings) -> list[Path]:
    """Create the folders of job files and write the samples; files that exist are left as they are.

    The sample job files lie in examples/, beside processing/: copying one into processing/ queues it.

    Args:
        home: The home folder, which gets config/ and workflows/.
        settings: The places of the job agent.

    Returns:
        The files that were written.

    Raises:
        Failure: `state-unwritable`.
    """
    ensure_media_folders([settings.processing, settings.finished], settings.media_of_type.values())
    samples = resources.files("comfywatchman.jobs").joinpath("samples")
    targets = [
        *((file, home / "config" / file.name) for file in _list_files(samples.joinpath("config"))),
        *((file, home / "workflows" / file.name) for file in _list_files(samples.joinpath("workflows"))),
        *((file, settings.processing.parent / EXAMPLES / file.name) for file in _list_files(samples.joinpath("jobs"))),
    ]
    written = []
    for source, target in targets:
        if not os.path.lexists(target):
            write_atomic(target, source.read_bytes())
            written.append(target)
    return written


def _list_files(folder: Traversable) -> list[Traversable]:
    return sorted((entry for entry in folder.iterdir() if entry.is_file()), key=lambda entry: entry.name)
