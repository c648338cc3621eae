"""Check the fields of a job file, and fill in its defaults."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from comfywatchman.jobs.files.near_names import list_known, suggest_name
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.records import MAX_PRIORITY, MEDIA_OF_TYPE, MIN_PRIORITY

MAX_RETRIES: Final = 1000
MAX_RUNS: Final = 1000
"""Most runs of one job file; more belong into several files, so that one failure does not repeat them all."""

_MAX_DEADLINE_SECONDS: Final = 366 * 86400
_MAX_SEED: Final = (1 << 64) - 1
_FIELDS: Final = (
    "job_type",
    "workflow_id",
    "priority",
    "retry_limit",
    "inputs",
    "outputs",
    "seeds",
    "prompts",
    "deadline_seconds",
    "webhook",
    "command",
    "metadata",
)
_OUTPUT_FIELDS: Final = ("file_path",)


def validate_config_schema(
    cfg: Mapping[str, Any],
    workflows: Mapping[str, Mapping[str, Any]],
    *,
    job_types: Collection[str] = tuple(MEDIA_OF_TYPE),
    lines: Mapping[str, int] | None = None,
) -> None:
    """Check the fields of a job file.

    Args:
        cfg: The content of the file.
        workflows: As `load_workflows` returns them.
        job_types: The known job types.
        lines: The line of each field by its path, for messages.

    Raises:
        JobFileError: With every problem. It is a `ValueError`.
    """
    problems = find_schema_problems(cfg, workflows, job_types=job_types, lines=lines or {})
    if problems:
        raise JobFileError(problems)


def find_schema_problems(
    cfg: Mapping[str, Any],
    workflows: Mapping[str, Mapping[str, Any]],
    *,
    job_types: Collection[str],
    lines: Mapping[str, int],
) -> tuple[JobFileProblem, ...]:
    """Return every problem of a job file's fields. Pure.

    A priority out of range is no problem: `normalize_config` limits it.
    """
    problems: list[JobFileProblem] = []

    def report(field: str, message: str) -> None:
        problems.append(JobFileProblem(message, lines.get(field) or lines.get(field.rpartition(".")[0]), field))

    for name in cfg:
        if name not in _FIELDS:
            report(name, f"A job has no such field.{suggest_name(name, _FIELDS)}")
    for field, message in _find_faults(cfg, workflows, job_types):
        report(field, message)
    return tuple(problems)


def normalize_config(cfg: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's fields with defaults in place and types normalised; the given mapping is not changed.

    Args:
        cfg: A content that `validate_config_schema` accepts.
        defaults: `default_priority` and `retry_limit`, as `load_global_config` returns them.
    """
    normalized = copy.deepcopy(dict(cfg))
    priority = as_whole_number(cfg.get("priority"))
    if priority is None:
        priority = int(defaults.get("default_priority", 50))
    normalized["priority"] = min(max(priority, MIN_PRIORITY), MAX_PRIORITY)
    retry_limit = as_whole_number(cfg.get("retry_limit"))
    normalized["retry_limit"] = int(defaults.get("retry_limit", 2)) if retry_limit is None else retry_limit
    normalized["inputs"] = normalized.get("inputs") or {}
    seeds = as_whole_number(cfg.get("seeds"))
    if seeds is not None:
        normalized["seeds"] = seeds
    return normalized


def as_whole_number(value: object) -> int | None:
    """Return a whole number that may be written as text or with a decimal point; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.strip().lstrip("+-").isdigit() and len(value) < 20:  # noqa: PLR2004
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return None


def _find_faults(
    cfg: Mapping[str, Any], workflows: Mapping[str, Mapping[str, Any]], job_types: Collection[str]
) -> Iterator[tuple[str, str]]:
    job_type = cfg.get("job_type")
    if not isinstance(job_type, str) or job_type not in job_types:
        yield "job_type", f"Name one of {', '.join(job_types)}."
    workflow_id = cfg.get("workflow_id")
    if not isinstance(workflow_id, str) or not workflow_id:
        yield "workflow_id", "Name a workflow of workflows.yaml."
    elif workflow_id not in workflows:
        yield "workflow_id", f"workflows.yaml has no workflow {workflow_id!r:.100}.{list_known(workflow_id, workflows)}"
    yield from _find_number_faults(cfg)
    yield from _find_input_faults(cfg, workflows)
    yield from _find_output_faults(cfg)
    yield from _find_repeat_faults(cfg)
    yield from _find_end_faults(cfg)
    if not isinstance(cfg.get("metadata", {}), dict | None):
        yield "metadata", "This must be a list of fields; it is for your own notes."


def _find_number_faults(cfg: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if cfg.get("priority") is not None and as_whole_number(cfg["priority"]) is None:
        yield "priority", "This must be a whole number from 1 (first) to 999 (last)."
    if cfg.get("retry_limit") is not None:
        retries = as_whole_number(cfg["retry_limit"])
        if retries is None or not 0 <= retries <= MAX_RETRIES:
            yield "retry_limit", f"This must be a whole number of retries from 0 to {MAX_RETRIES}."
    deadline = cfg.get("deadline_seconds")
    if deadline is not None:
        is_number = isinstance(deadline, int | float) and not isinstance(deadline, bool)
        if not is_number or not math.isfinite(deadline) or not 0 < deadline <= _MAX_DEADLINE_SECONDS:
            yield "deadline_seconds", "This must be a number of seconds above 0."


def _find_input_faults(cfg: Mapping[str, Any], workflows: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    inputs = cfg.get("inputs")
    if inputs is None and "inputs" in cfg:
        inputs = {}
    if not isinstance(inputs, dict):
        yield "inputs", "List the inputs of the workflow here, as in inputs: {prompt: a red fox}."
        return
    workflow_id = cfg.get("workflow_id")
    entry = workflows.get(workflow_id, {}) if isinstance(workflow_id, str) else {}
    defaults = entry.get("defaults", {})
    repeated = _list_repeated_inputs(cfg, entry)
    for name in entry.get("required_inputs", ()):
        # A prompt of `prompts` and a seed of `seeds` are given there.
        if name not in inputs and name not in defaults and name not in repeated:
            yield f"inputs.{name}", "The workflow needs this input."


def _list_repeated_inputs(cfg: Mapping[str, Any], entry: Mapping[str, Any]) -> set[str]:
    names: set[str] = set()
    if cfg.get("prompts"):
        names.update({entry["prompt_input"]} if "prompt_input" in entry else {"prompt", "text"})
    if cfg.get("seeds"):
        names.update({entry["seed_input"]} if "seed_input" in entry else {"seed", "noise_seed"})
    return names


def _find_output_faults(cfg: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    outputs = cfg.get("outputs")
    if not isinstance(outputs, dict):
        yield "outputs", "Say where the outputs go, as in outputs: {file_path: image/fox.png}."
        return
    for name in outputs:
        if name not in _OUTPUT_FIELDS:
            yield f"outputs.{name}", f"Outputs have no such field.{suggest_name(name, _OUTPUT_FIELDS)}"
    file_path = outputs.get("file_path")
    if not isinstance(file_path, str) or not file_path.strip():
        yield "outputs.file_path", "Name a place in the finished folder, such as image/fox.png."


def _find_repeat_faults(cfg: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    seeds, prompts = cfg.get("seeds"), cfg.get("prompts")
    count = 1
    if seeds is not None:
        number = as_whole_number(seeds)
        if isinstance(seeds, list) and seeds and all(_is_seed(seed) for seed in seeds):
            number = len(seeds)
        if number is None or not 1 <= number <= MAX_RUNS:
            yield "seeds", f"This must be a number of runs from 1 to {MAX_RUNS}, or a list of seeds."
        else:
            count *= number
    if prompts is not None:
        if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) and p.strip() for p in prompts):
            yield "prompts", "This must be a list of texts."
        else:
            count *= len(prompts)
    if count > MAX_RUNS:
        yield "prompts" if prompts else "seeds", f"This asks for {count} runs; a job may have up to {MAX_RUNS}."


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SEED


def _find_end_faults(cfg: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    webhook = cfg.get("webhook")
    if webhook is not None and not is_web_address(webhook):
        yield "webhook", "This must be an address that begins with http:// or https://."
    command = cfg.get("command")
    if command is None:
        return
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        yield "command", "This must be a list: a program and its arguments."
    elif not command[0].strip():
        yield "command", "The first entry must name a program."


def is_web_address(value: object) -> bool:
    """Return whether a value is an address of HTTP with a host and without a password."""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.password is None
