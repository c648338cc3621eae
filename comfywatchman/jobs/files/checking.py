"""Check the content of a job file against its name, its workflow and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comfywatchman.jobs.files.payload import get_workflow
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.files.schema import normalize_config, validate_config_schema
from comfywatchman.jobs.files.spec import CheckedJobFile, build_job_spec
from comfywatchman.jobs.files.template_cache import TemplateCache
from comfywatchman.jobs.files.workflows import JobWorkflow
from comfywatchman.jobs.files.yaml_text import YamlDocument
from comfywatchman.jobs.records import JobSpec
from comfywatchman.jobs.settings import JobSettings


@dataclass(frozen=True, slots=True)
class JobFileIdentity:
    """Which job a file is.

    Attributes:
        config_name: Its name.
        job_type: The type in its name.
        path: The file.
        sha256: The hash of its content.
    """

    config_name: str
    job_type: str
    path: Path
    sha256: str


def check_job_file(
    document: YamlDocument,
    identity: JobFileIdentity,
    settings: JobSettings,
    workflows: Mapping[str, JobWorkflow],
    templates: TemplateCache,
) -> JobSpec:
    """Return the job of a file.

    Args:
        document: Its content.
        identity: Its name, place and hash.
        settings: The limits and places of the job agent.
        workflows: As `load_workflows` returns them.
        templates: The templates of workflows.

    Raises:
        JobFileError: With every problem that was found.
        InputFileMissing: A file that it names does not exist.
        Failure: `jobs-template-invalid`.
    """
    value, lines = document.value, document.lines
    validate_config_schema(value, workflows, job_types=tuple(settings.media_of_type), lines=lines)
    if value["job_type"] != identity.job_type:
        message = f"The name of the file says {identity.job_type}."
        raise JobFileError([JobFileProblem(message, lines.get("job_type"), "job_type")])
    entry = get_workflow(value["workflow_id"], workflows)
    defaults = {"default_priority": settings.default_priority, "retry_limit": settings.retry_limit}
    file = CheckedJobFile(
        cfg=normalize_config(value, defaults),
        config_name=identity.config_name,
        path=identity.path,
        sha256=identity.sha256,
        lines=lines,
        entry=entry,
        graph=templates.load(entry).graph,
    )
    return build_job_spec(file, settings)
