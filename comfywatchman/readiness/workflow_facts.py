"""What one workflow names, independent of what this host has; kept by content, so that it is read once."""

from __future__ import annotations

from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.references.find import find_references, find_unnamed_models
from comfywatchman.comfyui.references.input_files import InputFile, find_required_files
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.server.active_nodes import WiredNode, build_wiring
from comfywatchman.comfyui.workflow.document import DeclaredModel, WorkflowNode
from comfywatchman.comfyui.workflow.reader import read_workflow
from comfywatchman.readiness.status import FileProblem
from comfywatchman.sources.urls import find_urls

READER_VERSION: Final = 7
"""Raised when the reading of workflows changes, so that what an older version read is read again."""


_MOST_LINKS: Final = 200


class ClassUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node class of a workflow.

    Attributes:
        node_paths: Active nodes of this class; empty when all are muted or bypassed.
        cnr_id: Comfy Registry id that the file gives for it.
        aux_id: `owner/repository` that the file gives for it.
        version: Version that the file gives for its pack.
    """

    node_paths: tuple[str, ...] = ()
    cnr_id: str | None = None
    aux_id: str | None = None
    version: str | None = None


class WorkflowFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one workflow names.

    Attributes:
        container: `json` or a media type.
        format: How it is written; None when it could not be read.
        references: Every model reference, active or not.
        classes: Node classes, with where they are used.
        declared: Models the author declared.
        links: Web addresses in its notes, where a model may be had.
        inputs: Files of the input, output and temp folders that active nodes name.
        wiring: Its active nodes, for what a server checks of their inputs.
        problems: What was wrong, words included.
        failure: Why the file holds no workflow; None when it could be read.
    """

    container: str
    format: str | None = None
    references: tuple[Reference, ...] = ()
    classes: dict[str, ClassUse] = {}
    declared: tuple[DeclaredModel, ...] = ()
    links: tuple[str, ...] = ()
    inputs: tuple[InputFile, ...] = ()
    wiring: tuple[WiredNode, ...] = ()
    problems: tuple[FileProblem, ...] = ()
    failure: FileProblem | None = None


def read_workflow_facts(content: bytes, *, container: str, table: LoaderTable) -> WorkflowFacts:
    """Read a workflow's text; trouble becomes `failure`, never an exception."""
    try:
        workflow = read_workflow(content, container=container, table=table)
    except Failure as failure:
        return build_failed_facts(container, failure)
    references = find_references(workflow, table)
    problems = (*workflow.problems, *find_unnamed_models(workflow, table, references))
    return WorkflowFacts(
        container=workflow.container,
        format=workflow.format.value,
        references=references,
        classes=_collect_class_uses(workflow.nodes),
        declared=workflow.declared,
        links=_find_links(workflow.notes),
        inputs=find_required_files(workflow, table.file_inputs),
        wiring=build_wiring(workflow, {(one.node_path, one.input) for one in references}),
        problems=tuple(FileProblem(one.code, one.message, one.node_path) for one in problems),
    )


def build_failed_facts(container: str, failure: Failure) -> WorkflowFacts:
    """Return the facts of a file that holds no readable workflow."""
    return WorkflowFacts(container=container, failure=FileProblem(failure.code, failure.message))


def build_knowledge_key(table: LoaderTable) -> str:
    """Return what the facts depend on besides the content."""
    return f"{READER_VERSION}:{table.fingerprint}"


def _find_links(notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address for note in notes for address in find_urls(note)))[:_MOST_LINKS]


def _collect_class_uses(nodes: tuple[WorkflowNode, ...]) -> dict[str, ClassUse]:
    paths: dict[str, list[str]] = {}
    hints: dict[str, WorkflowNode] = {}
    for node in nodes:
        paths.setdefault(node.class_type, [])
        if node.active:
            paths[node.class_type].append(node.path)
        if node.cnr_id or node.aux_id:
            hints.setdefault(node.class_type, node)
    return {name: _build_class_use(tuple(found), hints.get(name)) for name, found in paths.items()}


def _build_class_use(paths: tuple[str, ...], hint: WorkflowNode | None) -> ClassUse:
    if hint is None:
        return ClassUse(node_paths=paths)
    return ClassUse(node_paths=paths, cnr_id=hint.cnr_id, aux_id=hint.aux_id, version=hint.version)
