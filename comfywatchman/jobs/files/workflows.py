"""Read workflows.yaml: the workflows that job files may name, and where each of their inputs goes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NotRequired, TypedDict, get_args

from comfywatchman.base.files import printable_path
from comfywatchman.jobs.files.near_names import suggest_name
from comfywatchman.jobs.files.problems import JobFileError, JobFileProblem
from comfywatchman.jobs.files.reading import find_base_folder, read_yaml_file
from comfywatchman.jobs.files.yaml_text import YamlDocument

InputKind = Literal["value", "file"]
"""`file`: the job names a file, which is uploaded first; `value`: anything else."""

_ENTRY_FIELDS: Final = (
    "template_path",
    "required_inputs",
    "description",
    "inputs",
    "defaults",
    "seed_input",
    "prompt_input",
)
_TARGET_FIELDS: Final = ("node", "field", "kind")


class JobInputTarget(TypedDict):
    """Where an input of a job goes: a node of the template, and the name of that node's input."""

    node: str
    field: str
    kind: InputKind


class JobWorkflow(TypedDict):
    """One workflow of workflows.yaml."""

    template_path: str
    required_inputs: list[str]
    description: str
    inputs: dict[str, JobInputTarget]
    defaults: dict[str, Any]
    seed_input: NotRequired[str]
    prompt_input: NotRequired[str]


def load_workflows(path: str | os.PathLike[str]) -> dict[str, JobWorkflow]:
    """Read workflows.yaml.

    Args:
        path: The file. Relative template paths start from the folder that holds config/, or from the file's folder.

    Returns:
        The workflows by id, with absolute template paths; none for an empty file.

    Raises:
        JobFileError: The file or an entry is invalid. It is a `ValueError`.
    """
    file = Path(path)
    if not os.path.lexists(file):
        raise JobFileError(
            [JobFileProblem("It does not exist.")], source=printable_path(file), hint="Run: comfywatchman jobs init"
        )
    document = read_yaml_file(file)
    base = find_base_folder(file)
    problems: list[JobFileProblem] = []
    workflows: dict[str, JobWorkflow] = {}
    for workflow_id, entry in document.value.items():
        found = list(_find_entry_problems(workflow_id, entry, document))
        problems.extend(found)
        if not found:
            workflows[workflow_id] = _build_entry(entry, base)
    if problems:
        raise JobFileError(problems, source=os.fspath(path))
    return workflows


def _find_entry_problems(workflow_id: str, entry: Any, document: YamlDocument) -> Iterator[JobFileProblem]:
    if not isinstance(entry, dict):
        yield _problem(document, workflow_id, "A workflow is a list of fields; it needs `template_path`.")
        return
    yield from _find_field_problems(workflow_id, entry, document)
    targets = entry.get("inputs", {})
    if not isinstance(targets, dict):
        yield _problem(document, f"{workflow_id}.inputs", 'Give each input its place, as in prompt: {node: "6"}.')
        return
    for name, target in targets.items():
        yield from _find_target_problems(f"{workflow_id}.inputs.{name}", target, document)


def _find_field_problems(
    workflow_id: str, entry: Mapping[str, Any], document: YamlDocument
) -> Iterator[JobFileProblem]:
    for name in entry:
        if name not in _ENTRY_FIELDS:
            hint = suggest_name(name, _ENTRY_FIELDS)
            yield _problem(document, f"{workflow_id}.{name}", f"A workflow has no such field.{hint}")
    template = entry.get("template_path")
    if not isinstance(template, str) or not template.strip() or "\x00" in template:
        yield _problem(document, f"{workflow_id}.template_path", "Name the file of the workflow here.")
    if not _is_list_of_names(entry.get("required_inputs")):
        message = "List the inputs that a job must give, for example [prompt, seed]; [] when it needs none."
        yield _problem(document, f"{workflow_id}.required_inputs", message)
    for name in ("description", "seed_input", "prompt_input"):
        if not isinstance(entry.get(name, ""), str):
            yield _problem(document, f"{workflow_id}.{name}", "This must be text.")
    if not isinstance(entry.get("defaults", {}), dict):
        yield _problem(document, f"{workflow_id}.defaults", "This must be a list of inputs with their values.")


def _find_target_problems(path: str, target: Any, document: YamlDocument) -> Iterator[JobFileProblem]:
    if not isinstance(target, dict) or _as_node_id(target.get("node")) is None:
        yield _problem(document, path, 'Name the node of the template, as in {node: "6", field: text}.')
        return
    for name in target:
        if name not in _TARGET_FIELDS:
            hint = suggest_name(name, _TARGET_FIELDS)
            yield _problem(document, f"{path}.{name}", f"The place of an input has no such field.{hint}")
    if not isinstance(target.get("field", ""), str):
        yield _problem(document, f"{path}.field", "This must be the name of an input of the node.")
    if target.get("kind", "value") not in get_args(InputKind):
        yield _problem(document, f"{path}.kind", "This must be `value` or `file`.")


def _build_entry(entry: Mapping[str, Any], base: Path) -> JobWorkflow:
    built = JobWorkflow(
        template_path=str(base / os.path.expanduser(entry["template_path"])),
        required_inputs=list(entry["required_inputs"]),
        description=entry.get("description", ""),
        inputs={name: _build_target(name, target) for name, target in entry.get("inputs", {}).items()},
        defaults=dict(entry.get("defaults", {})),
    )
    if entry.get("seed_input"):
        built["seed_input"] = entry["seed_input"]
    if entry.get("prompt_input"):
        built["prompt_input"] = entry["prompt_input"]
    return built


def _build_target(name: str, target: Mapping[str, Any]) -> JobInputTarget:
    return JobInputTarget(
        node=_as_node_id(target["node"]) or "",
        field=target.get("field") or name,
        kind=target.get("kind", "value"),
    )


def _as_node_id(value: object) -> str | None:
    # `node: 6` is as good as `node: "6"`; the server knows ids as text.
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        return None
    return str(value)


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _problem(document: YamlDocument, path: str, message: str) -> JobFileProblem:
    line = document.lines.get(path)
    # A field that is missing has no line; its workflow has one.
    return JobFileProblem(message, line or document.lines.get(path.split(".", maxsplit=1)[0]), path)
