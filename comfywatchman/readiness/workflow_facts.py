"""Facts of one workflow that do not depend on the host: its models, node classes and input files.

They are stored by content hash, so that each content is read once.
"""

from __future__ import annotations

from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.packs.core_classes import EDITOR_ONLY
from comfywatchman.comfyui.references.find import find_references
from comfywatchman.comfyui.references.input_files import InputFile, find_required_files
from comfywatchman.comfyui.references.missing_names import find_missing_names
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.validation.prompt import PromptNode, build_prompt
from comfywatchman.comfyui.workflow.budget import ReadingBudget
from comfywatchman.comfyui.workflow.document import DeclaredModel, WorkflowNode
from comfywatchman.comfyui.workflow.reader import read_workflow
from comfywatchman.readiness.status import FileProblem
from comfywatchman.sources.urls import find_urls

READER_VERSION: Final = 20
"""Raise this when the reading of workflows changes, so that stored facts of older versions are read again."""

# A note can contain any number of links; the search would look at only a few of them.
_MAX_LINKS: Final = 200


class ClassUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node class of a workflow.

    Attributes:
        node_paths: Active nodes of this class; empty when all are muted or bypassed.
        cnr_id: Comfy Registry id of its pack, as the file states it.
        aux_id: GitHub `owner/repository` of its pack, as the file states it.
        version: Version of its pack, as the file states it.
        in_prompt: Whether all its active nodes stand in a prompt of the API format with their `_meta`.
    """

    node_paths: tuple[str, ...] = ()
    cnr_id: str | None = None
    aux_id: str | None = None
    version: str | None = None
    in_prompt: bool = False


class WorkflowFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """References and requirements of one workflow.

    Attributes:
        container: `json` or a media type.
        format: Format of the workflow; None when it could not be read.
        references: Every model reference, active or not.
        classes: Node classes with the nodes that use them.
        declared: Models declared by the author.
        links: URLs in its notes, where a model may be available.
        inputs: Files of the input, output and temp folders that active nodes name.
        prompt: Its active nodes as the server receives them.
        problems: Problems met while reading it.
        failure: Why the file contains no workflow; None when it could be read.
    """

    container: str
    format: str | None = None
    references: tuple[Reference, ...] = ()
    classes: dict[str, ClassUse] = {}
    declared: tuple[DeclaredModel, ...] = ()
    links: tuple[str, ...] = ()
    inputs: tuple[InputFile, ...] = ()
    prompt: tuple[PromptNode, ...] = ()
    problems: tuple[FileProblem, ...] = ()
    failure: FileProblem | None = None


def read_workflow_facts(
    content: bytes, *, container: str, table: LoaderTable, budget: ReadingBudget | None = None
) -> WorkflowFacts:
    """Read a workflow's text; an unreadable one gives facts with a `failure`, never an exception."""
    try:
        workflow = read_workflow(content, container=container, table=table, budget=budget)
    except Failure as failure:
        return build_failed_facts(container, failure)
    references = find_references(workflow, table)
    model_inputs = {(reference.node_path, reference.input) for reference in references}
    problems = (*workflow.problems, *find_missing_names(workflow, table, references))
    return WorkflowFacts(
        container=workflow.container,
        format=workflow.format.value,
        references=references,
        classes=_collect_class_uses(workflow.nodes),
        declared=workflow.declared,
        links=_find_links(workflow.notes),
        inputs=find_required_files(workflow, table.file_inputs),
        prompt=build_prompt(workflow, model_inputs, not_sent=EDITOR_ONLY),
        problems=tuple(FileProblem(problem.code, problem.message, problem.node_path) for problem in problems),
    )


def build_failed_facts(container: str, failure: Failure) -> WorkflowFacts:
    """Return the facts of a file that contains no readable workflow."""
    return WorkflowFacts(container=container, failure=FileProblem(failure.code, failure.message))


def build_knowledge_key(table: LoaderTable, *, max_bytes: int) -> str:
    """Return a key that changes when the same file would give different facts.

    Args:
        table: Knowledge of loaders.
        max_bytes: Size above which a JSON file is not parsed.
    """
    return f"{READER_VERSION}:{max_bytes}:{table.fingerprint}"


def _find_links(notes: tuple[str, ...]) -> tuple[str, ...]:
    links: dict[str, None] = {}
    for note in notes:
        links.update(dict.fromkeys(find_urls(note)))
    return tuple(links)[:_MAX_LINKS]


def _collect_class_uses(nodes: tuple[WorkflowNode, ...]) -> dict[str, ClassUse]:
    active_paths: dict[str, list[str]] = {}
    hints: dict[str, WorkflowNode] = {}
    without_meta: set[str] = set()
    for node in nodes:
        paths = active_paths.setdefault(node.class_type, [])
        if node.active:
            paths.append(node.path)
        if not node.has_meta:
            without_meta.add(node.class_type)
        # Nodes of one class come from one pack, so the first node that names it is enough.
        if node.cnr_id or node.aux_id:
            hints.setdefault(node.class_type, node)
    uses: dict[str, ClassUse] = {}
    for name, paths in active_paths.items():
        uses[name] = _build_class_use(tuple(paths), hints.get(name), in_prompt=name not in without_meta)
    return uses


def _build_class_use(paths: tuple[str, ...], hint: WorkflowNode | None, *, in_prompt: bool) -> ClassUse:
    if hint is None:
        return ClassUse(node_paths=paths, in_prompt=in_prompt)
    return ClassUse(paths, hint.cnr_id, hint.aux_id, hint.version, in_prompt)
