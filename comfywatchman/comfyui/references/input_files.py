"""Which files of ComfyUI's input, output and temp folders a workflow names: pictures, sounds, videos and such."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from comfywatchman.comfyui.loaders.upload_inputs import FileInput, FileInputTable, FileKind
from comfywatchman.comfyui.workflow.document import Workflow, WorkflowNode

FileFolder = Literal["input", "output", "temp"]

_ANNOTATIONS: Final[tuple[FileFolder, ...]] = ("output", "input", "temp")


class InputFile(msgspec.Struct, frozen=True):
    """One file that an active node of a workflow names.

    Attributes:
        name: Exactly as the workflow writes it, annotation included.
        folder: Where the server looks for it.
        kind: What it is.
        node_type: Class of the node that names it.
        node_path: Path of that node (`12:5`), as the server names it.
        input: Input that names it.
    """

    name: str
    folder: FileFolder
    kind: FileKind
    node_type: str
    node_path: str
    input: str

    @property
    def relative(self) -> str:
        """The name below its folder, without annotation."""
        return split_annotation(self.name)[1]


def find_required_files(workflow: Workflow, known: FileInputTable) -> tuple[InputFile, ...]:
    """List the files that active nodes name, in file order; what a link brings is not known before a run."""
    return tuple(
        InputFile(value, split_annotation(value)[0], one.kind, node.class_type, node.path, one.name)
        for node in workflow.nodes
        if node.active
        for one in known.of(node.class_type)
        if isinstance(value := _read_value(node, one), str) and value not in one.not_files
    )


def split_annotation(name: str) -> tuple[FileFolder, str]:
    """Return the folder that a name is looked for in, and the name there.

    As ComfyUI 0.33.0 does (`folder_paths.annotated_filepath`): `a.png [output]` is `a.png` of the output folder; a
    name without annotation is one of the input folder, whatever the node is called. The character before the bracket
    is cut off unseen.
    """
    if name.endswith("]"):
        for folder in _ANNOTATIONS:
            if name.endswith(f"[{folder}]"):
                return folder, name[: -len(folder) - 3]
    return "input", name


def _read_value(node: WorkflowNode, one: FileInput) -> object:
    if one.name in node.values or one.name in node.linked:
        return node.values.get(one.name)
    place = one.widget_index
    if place is None or place >= len(node.positional):
        return None
    is_named = place < len(node.widget_names) and node.widget_names[place] is not None
    return None if is_named else node.positional[place]
