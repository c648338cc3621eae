"""Turn the checked content of a job file into the job that the database holds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.jobs.files.affinity import find_affinity_key
from comfywatchman.jobs.files.expansion import expand_repeats
from comfywatchman.jobs.files.model_inputs import find_readiness_key
from comfywatchman.jobs.files.output_path import normalize_output_path
from comfywatchman.jobs.files.payload import (
    PROMPT_INPUTS,
    SEED_INPUTS,
    Graph,
    fill_template,
    find_first_input,
    find_input_problems,
    find_target,
)
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.files.workflows import JobWorkflow
from comfywatchman.jobs.records import JobInputFile, JobSpec
from comfywatchman.jobs.settings import JobSettings


class InputFileMissing(Exception):
    """A file that a job needs is not there yet."""

    def __init__(self, problem: JobFileProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class CheckedJobFile:
    """A job file with the workflow that it names.

    Attributes:
        cfg: Its content, checked by `validate_config_schema` and completed by `normalize_config`.
        config_name: The job's name.
        path: The file.
        sha256: The hash of its content.
        lines: The line of each field.
        entry: The workflow.
        graph: The template of that workflow.
    """

    cfg: Mapping[str, Any]
    config_name: str
    path: Path
    sha256: str
    lines: Mapping[str, int]
    entry: JobWorkflow
    graph: Graph

    def find_problem(self, message: str, field: str) -> JobFileProblem:
        """Return a problem with the line of its field."""
        return JobFileProblem(message, self.lines.get(field), field)


def build_job_spec(file: CheckedJobFile, settings: JobSettings) -> JobSpec:
    """Return the job of a file.

    Raises:
        JobFileError: The job does not fit its workflow, its output is outside of the finished tree, or it names a
            command although that is not allowed.
        InputFileMissing: A file that it names does not exist.
    """
    cfg = file.cfg
    problems: list[JobFileProblem] = []
    repeats = _expand(file, problems)
    inputs = {**cfg["inputs"], **(repeats[0] if repeats else {})}
    problems.extend(find_input_problems(cfg["workflow_id"], inputs, file.entry, file.graph, file.lines))
    output_path = _normalize_output(file, settings, problems)
    if cfg.get("command") and not settings.allow_file_commands:
        message = "Job files may not name a command here. jobs.allow_file_commands allows it."
        problems.append(file.find_problem(message, "command"))
    if problems:
        raise JobFileError(problems)
    deadline = cfg.get("deadline_seconds")
    return JobSpec(
        config_name=file.config_name,
        job_type=cfg["job_type"],
        media=settings.media_of_type[cfg["job_type"]],
        workflow_id=cfg["workflow_id"],
        priority=cfg["priority"],
        retry_limit=cfg["retry_limit"],
        inputs=cfg["inputs"],
        output_path=output_path,
        input_files=tuple(_find_input_files(file, settings)),
        repeats=repeats,
        deadline_seconds=None if deadline is None else float(deadline),
        webhook=cfg.get("webhook"),
        command=tuple(cfg.get("command") or ()),
        source_path=os.fspath(file.path),
        source_sha256=file.sha256,
        affinity_key=_find_affinity_key(file, inputs),
        readiness_key=_find_readiness_key(file, repeats),
    )


def _find_affinity_key(file: CheckedJobFile, inputs: Mapping[str, Any]) -> str:
    graph = fill_template(file.graph, {**file.entry["defaults"], **inputs}, file.entry)
    return find_affinity_key(graph, load_builtin_table())


def _find_readiness_key(file: CheckedJobFile, repeats: tuple[Mapping[str, Any], ...]) -> str:
    runs = [{**file.cfg["inputs"], **repeat} for repeat in repeats or ({},)]
    return find_readiness_key(file.cfg["workflow_id"], runs, file.entry, file.graph, load_builtin_table())


def _expand(file: CheckedJobFile, problems: list[JobFileProblem]) -> tuple[Mapping[str, Any], ...]:
    cfg, entry = file.cfg, file.entry
    seed_names = (entry["seed_input"],) if "seed_input" in entry else SEED_INPUTS
    prompt_names = (entry["prompt_input"],) if "prompt_input" in entry else PROMPT_INPUTS
    seed_input = find_first_input(seed_names, entry, file.graph)
    prompt_input = find_first_input(prompt_names, entry, file.graph)
    for field, name, setting in (("seeds", seed_input, "seed_input"), ("prompts", prompt_input, "prompt_input")):
        if cfg.get(field) is not None and name is None:
            message = f"Workflow {cfg['workflow_id']} has no input for them; name it in workflows.yaml as {setting}."
            problems.append(file.find_problem(message, field))
    return expand_repeats(
        cfg.get("seeds") if seed_input else None,
        cfg.get("prompts") if prompt_input else None,
        seed_input=seed_input or "",
        prompt_input=prompt_input or "",
        base_seed=cfg["inputs"].get(seed_input) if seed_input else None,
        name=file.config_name,
    )


def _normalize_output(file: CheckedJobFile, settings: JobSettings, problems: list[JobFileProblem]) -> str:
    try:
        return normalize_output_path(file.cfg["outputs"]["file_path"], settings.finished)
    except ValueError as error:
        message = f"This is no place in {printable_path(settings.finished)}: {error}."
        problems.append(file.find_problem(message, "outputs.file_path"))
        return ""


def _find_input_files(file: CheckedJobFile, settings: JobSettings) -> Iterator[JobInputFile]:
    """Yield the files that a job sends to ComfyUI."""
    folders = [os.path.realpath(folder) for folder in (settings.processing, *settings.input_folders)]
    for name, value in {**file.entry["defaults"], **file.cfg["inputs"]}.items():
        target = find_target(name, file.entry, file.graph)
        if isinstance(target, str) or target["kind"] != "file":
            continue
        field = f"inputs.{name}"
        # Links are resolved: the file itself must lie in an allowed folder.
        real = Path(os.path.realpath(file.path.parent / os.path.expanduser(value)))
        if not any(real.is_relative_to(folder) for folder in folders):
            message = (
                f"{printable_path(real)} is not in a folder of input files. Put it beside the job file, or add its"
                " folder to jobs.input_folders."
            )
            raise JobFileError([file.find_problem(message, field)])
        try:
            status = os.stat(real)
        except OSError as error:
            message = f"{printable_path(real)} is not there yet; the job waits for it."
            raise InputFileMissing(file.find_problem(message, field)) from error
        if not stat.S_ISREG(status.st_mode):
            raise JobFileError([file.find_problem(f"{printable_path(real)} is no file.", field)])
        yield JobInputFile(input_name=name, path=str(real), size_bytes=status.st_size)
