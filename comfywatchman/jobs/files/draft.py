"""Write a job file from the options of a command."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import unwritable_failure, write_atomic
from comfywatchman.base.filesystem import open_below, rename_without_replacing
from comfywatchman.jobs.files.checking import JobFileIdentity, check_job_file
from comfywatchman.jobs.files.names import build_config_name
from comfywatchman.jobs.files.payload import Graph
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.files.spec import InputFileMissing
from comfywatchman.jobs.files.template_cache import TemplateCache
from comfywatchman.jobs.files.workflows import JobWorkflow
from comfywatchman.jobs.files.yaml_text import CORE_PATTERNS, TAG, YamlDocument, parse_yaml
from comfywatchman.jobs.records import MAX_PRIORITY, MIN_PRIORITY, JobSpec
from comfywatchman.jobs.settings import JobSettings

if TYPE_CHECKING:
    import yaml

_MAX_INDEX: Final = 10_000
_UNSAFE: Final = re.compile(r"[^\w.+-]+")
_LINE_BREAKS: Final = re.compile(r"[\x85\u2028\u2029]")
_TYPE_OF_SAVER: Final = (
    ("GLB", "3D"),
    ("3D", "3D"),
    ("Video", "T2V"),
    ("WEBM", "T2V"),
    ("WEBP", "T2V"),
    ("Audio", "AUDIO"),
)
"""A part of the class that saves the outputs, and the type of such a job."""


@dataclass(frozen=True, slots=True)
class JobDraft:
    """A job as the options of a command describe it.

    Attributes:
        workflow_id: A key of workflows.yaml.
        job_type: Its type, for example `T2I`.
        jobname: The last part of its name.
        inputs: Values by input name.
        file_path: The place of its outputs; empty: the folder of its type.
        priority: None: the configured one.
        retry_limit: None: the configured one.
        seeds: A number of seeds, or the seeds.
        prompts: Several prompts.
        deadline_seconds: Longest run.
        webhook: Address that gets a POST at the end.
    """

    workflow_id: str
    job_type: str
    jobname: str = "job"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    file_path: str = ""
    priority: int | None = None
    retry_limit: int | None = None
    seeds: int | list[int] | None = None
    prompts: tuple[str, ...] = ()
    deadline_seconds: float | None = None
    webhook: str | None = None


def parse_input_option(text: str) -> tuple[str, Any]:
    """Split an option such as `width=512` into name and value; the value has the type that it has in a job file.

    Raises:
        JobFileError: There is no `=`, or the value is not valid YAML.
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise JobFileError([JobFileProblem(f"{text!r:.100} is no input. Write NAME=VALUE, as in width=512.")])
    return name.strip(), parse_input_value(value)


def parse_input_value(text: str) -> Any:
    """Return a number, true, false or a list for a text that spells one in YAML, and any other text as it is."""
    try:
        value = parse_yaml(f"value: {text}".encode()).value["value"]
    except (JobFileError, UnicodeEncodeError):
        # A prompt may contain any signs: "a fox: red".
        return text
    # Quotes that the shell left, and a mapping that a prompt spells by chance.
    return text if value is None or isinstance(value, dict | str) else value


def guess_job_type(graph: Graph) -> str:
    """Return the type of jobs that run a template, by the class that saves its outputs. Pure."""
    for node in graph.values():
        class_type = node["class_type"]
        if class_type.startswith("Save"):
            for part, job_type in _TYPE_OF_SAVER:
                if part in class_type:
                    return job_type
    return "T2I"


def make_jobname(text: str) -> str:
    """Return a text as the last part of a job's name: `a red fox!` becomes `a-red-fox`. Pure."""
    return _UNSAFE.sub("-", text)[:40].strip("-.") or "job"


def build_job_file(draft: JobDraft, *, media: str) -> str:
    """Return the text of a job file. Pure.

    Args:
        draft: The job.
        media: The folder of its type.

    Raises:
        Failure: `jobs-priority-range` for a priority out of range.
    """
    if draft.priority is not None and not MIN_PRIORITY <= draft.priority <= MAX_PRIORITY:
        raise Failure(
            "jobs-priority-range",
            f"The priority {draft.priority} is not a whole number from {MIN_PRIORITY} to {MAX_PRIORITY}.",
            hint=f"Give {MIN_PRIORITY} for the first place, {MAX_PRIORITY} for the last.",
        )
    given = {
        "job_type": draft.job_type,
        "workflow_id": draft.workflow_id,
        "priority": draft.priority,
        "retry_limit": draft.retry_limit,
        "inputs": dict(draft.inputs),
        "seeds": draft.seeds,
        "prompts": list(draft.prompts) or None,
        "outputs": {"file_path": draft.file_path or f"{media}/"},
        "deadline_seconds": draft.deadline_seconds,
        "webhook": draft.webhook,
    }
    return dump_yaml({name: value for name, value in given.items() if value is not None})


def write_job_file(
    draft: JobDraft, settings: JobSettings, workflows: Mapping[str, JobWorkflow], *, moment: datetime
) -> JobSpec:
    """Write a new job file into the folder of its type, under the first free name of this second.

    Args:
        draft: The job.
        settings: The limits and places of the job agent.
        workflows: As `load_workflows` returns them.
        moment: The time for its name.

    Returns:
        The job; `source_path` is its file.

    Raises:
        Failure: `jobs-file-invalid` when the agent would reject the file, `jobs-template-invalid`,
            `jobs-priority-range`, `state-unwritable`. Nothing is written then.
    """
    media = settings.media_of_type.get(draft.job_type)
    if media is None:
        known = ", ".join(settings.media_of_type)
        raise JobFileError([JobFileProblem(f"{draft.job_type!r:.40} is not a job type ({known}).")])
    content = build_job_file(draft, media=media).encode()
    folder = settings.processing / media
    name = build_config_name(draft.job_type, moment, 1, draft.jobname)
    identity = JobFileIdentity(name, draft.job_type, folder / name, hashlib.sha256(content).hexdigest())
    _check(content, identity, settings, workflows)
    # A hidden file is no job file yet; the rename shows it whole.
    hidden = folder / f".{os.getpid()}.draft"
    write_atomic(hidden, content)
    try:
        for index in range(1, _MAX_INDEX):
            name = build_config_name(draft.job_type, moment, index, draft.jobname)
            # The name of a job that has ended would be that job again.
            if (settings.finished / media / name).exists() or not _rename(hidden, folder / name):
                continue
            return _check(content, replace(identity, config_name=name, path=folder / name), settings, workflows)
        raise JobFileError([JobFileProblem(f"There are {_MAX_INDEX} jobs of this name and second.")])
    finally:
        hidden.unlink(missing_ok=True)


def _check(
    content: bytes, identity: JobFileIdentity, settings: JobSettings, workflows: Mapping[str, JobWorkflow]
) -> JobSpec:
    # Lines of a file that the user has not written would only confuse.
    document = YamlDocument(parse_yaml(content).value, {})
    try:
        return check_job_file(document, identity, settings, workflows, TemplateCache())
    except InputFileMissing as missing:
        raise JobFileError([missing.problem]) from missing


def _rename(source: Path, target: Path) -> bool:
    """Rename a file within its folder; return False when the new name is taken."""
    try:
        with open_below(target.parent, (), create=False) as folder:
            rename_without_replacing(source.name, target.name, folder=folder)
            os.fsync(folder)
    except FileExistsError:
        return False
    except OSError as error:
        raise unwritable_failure(target, error) from error
    return True


def dump_yaml(value: Mapping[str, Any]) -> str:
    """Return plain values as YAML that readers of version 1.1 and 1.2 understand alike."""
    import yaml

    text: str = yaml.dump(dict(value), Dumper=_build_dumper(), sort_keys=False, allow_unicode=True, width=100)
    return text


@cache
def _build_dumper() -> type[yaml.SafeDumper]:
    import yaml

    class PlainDumper(yaml.SafeDumper):
        """Quotes texts that either version would read as something else, and never writes aliases."""

        def ignore_aliases(self, _data: Any) -> bool:
            return True

    def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        # Written as they are, these would be read as a space.
        style = '"' if _LINE_BREAKS.search(text) else None
        return dumper.represent_scalar(TAG + "str", text, style=style)

    PlainDumper.add_representer(str, represent_text)
    for name, pattern, first in CORE_PATTERNS:
        PlainDumper.add_implicit_resolver(TAG + name, re.compile(f"(?:{pattern})$"), first)
    return PlainDumper
