"""Find the files of ComfyUI's input, output and temp folders that a workflow needs: pictures, sounds, videos."""

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
        name: The name exactly as the workflow writes it, annotation included.
        folder: The folder in which the server looks for it.
        kind: Kind of the file.
        node_type: Class of the node that names it.
        node_path: Path of that node (`12:5`), as the server writes it.
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
    """Return the files that active nodes name, in workflow order; a name that comes by a link is unknown."""
    files: list[InputFile] = []
    for node in workflow.nodes:
        if not node.active:
            continue
        for file_input in known.list_inputs(node.class_type):
            name = _read_value(node, file_input)
            if isinstance(name, str) and name not in file_input.not_files:
                folder, _relative = split_annotation(name)
                files.append(
                    InputFile(name, folder, file_input.kind, node.class_type, node.path, input=file_input.name)
                )
    return tuple(files)


def split_annotation(name: str) -> tuple[FileFolder, str]:
    """Return the folder that the server looks in, and the name there.

    As in ComfyUI 0.33.0 (`folder_paths.annotated_filepath`), `a.png [output]` is `a.png` of the output folder; a name
    without annotation is one of the input folder, even for a node called `LoadImageOutput`.
    """
    for folder in _ANNOTATIONS:
        if name.endswith(f"[{folder}]"):
            # ComfyUI cuts off the character before the bracket without checking that it is a blank.
            return folder, name[: -len(folder) - 3]
    return "input", name


def _read_value(node: WorkflowNode, file_input: FileInput) -> object:
    if file_input.name in node.values or file_input.name in node.linked:
        return node.values.get(file_input.name)
    index = file_input.widget_index
    if index is None or index >= len(node.positional):
        return None
    # The file itself gives this widget another name: it is not the input that was looked for.
    if index < len(node.widget_names) and node.widget_names[index] is not None:
        return None
    return node.positional[index]
