"""Find loader inputs for which a workflow holds no model name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable, load_builtin_table
from comfywatchman.comfyui.references.loader_values import NUMBER_PLACEHOLDER
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import Workflow, WorkflowFormat, WorkflowNode, WorkflowProblem


def find_missing_names(
    workflow: Workflow, table: LoaderTable, references: Iterable[Reference]
) -> Iterator[WorkflowProblem]:
    """Yield the inputs of active loaders whose model name is computed at run time, or left out.

    A computed name counts only if no other node of the workflow names a model of the same folder: a selector node
    does, and the name that it computes is that one. Where a name is left out, the server refuses the API format, and
    the editor takes the first model that the server offers, whatever the author meant.

    Args:
        workflow: The workflow.
        table: Loader knowledge.
        references: The references of the workflow.
    """
    named_folders = {reference.folder for reference in references if reference.active}
    for node in workflow.nodes:
        if not node.active:
            continue
        for loader_input in table.inputs(node.class_type):
            name, folder = loader_input.name, loader_input.folder
            if loader_input.confidence != "high" or not name or NUMBER_PLACEHOLDER in name:
                continue
            if name in node.linked and folder not in named_folders:
                message = f"Which model of {folder} {name} gets is known only when the workflow runs."
                yield WorkflowProblem("model-name-computed", message, node.path)
            elif _is_left_out(node, loader_input, workflow.format):
                yield WorkflowProblem("model-name-absent", _explain_absence(workflow, name), node.path)


def _explain_absence(workflow: Workflow, name: str) -> str:
    if workflow.format is WorkflowFormat.API:
        return f"Its required input {name} is left out."
    return f"The file gives no value for {name} that the editor restores: it takes the first model that is offered."


def _is_left_out(node: WorkflowNode, loader_input: LoaderInput, file_format: WorkflowFormat) -> bool:
    name = loader_input.name
    if name in node.linked:
        return False
    # The editor gives a combo without a value the first choice when it loads a file; the server refuses a null.
    is_null = file_format is not WorkflowFormat.API and node.values.get(name) is None
    if name in node.values and not is_null:
        return False
    # Inputs of packs may be optional; those of ComfyUI's own loaders are all required.
    for builtin in load_builtin_table().inputs(node.class_type):
        if builtin.name == loader_input.name and builtin.confidence == "high":
            return True
    return False
