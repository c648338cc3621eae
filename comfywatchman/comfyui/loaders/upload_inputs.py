"""Node inputs that take a file of ComfyUI's input folder: pictures, videos, sounds and other uploads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

FileKind = Literal["picture", "video", "sound", "latent", "3D file", "document", "folder"]

UPLOAD_OPTIONS: Final[Mapping[str, FileKind]] = {
    "image_upload": "picture",
    "animated_image_upload": "picture",
    "video_upload": "video",
    "audio_upload": "sound",
    "file_upload": "3D file",
}
"""Options of an input for which the editor offers an upload, with the kind of the uploaded file."""

NO_FILE_CHOICES: Final = ("", "none", "None")
"""Choices in lists of files that mean no file."""


@dataclass(frozen=True, slots=True)
class FileInput:
    """One input of a node class that takes a file of the input folder.

    Attributes:
        class_type: Node class.
        name: Input name.
        kind: Kind of the file; `folder` for a folder of files.
        widget_index: Index in the editor's `widgets_values` list; None when only the name is known.
        not_files: Choices of the input that are not files.
    """

    class_type: str
    name: str
    kind: FileKind
    widget_index: int | None = None
    not_files: tuple[str, ...] = ()


# ComfyUI 0.3.75 and 0.33.0 (nodes.py, comfy_extras, comfy_api_nodes): the classes that ask for
# `exists_annotated_filepath` or open `get_annotated_filepath`; Load3D takes "" and "none" since it is written in V3.
# ComfyUI-VideoHelperSuite marks no upload in its specs: its editor part adds the button by the name of the class.
_BUILTIN_INPUTS: Final = (
    FileInput("LoadImage", "image", "picture", 0),
    FileInput("LoadImageMask", "image", "picture", 0),
    FileInput("LoadImageOutput", "image", "picture", 0),
    FileInput("LoadLatent", "latent", "latent", 0),
    FileInput("LoadAudio", "audio", "sound", 0),
    FileInput("LoadVideo", "file", "video", 0),
    FileInput("Load3D", "model_file", "3D file", 0, ("", "none")),
    FileInput("Load3DAnimation", "model_file", "3D file", 0, ("", "none")),
    FileInput("LoadImageDataSetFromFolder", "folder", "folder", 0),
    FileInput("LoadImageTextDataSetFromFolder", "folder", "folder", 0),
    FileInput("GeminiInputFiles", "file", "document", 0),
    FileInput("OpenAIInputFiles", "file", "document", 0),
    FileInput("VHS_LoadVideo", "video", "video", 0),
    FileInput("VHS_LoadVideoFFmpeg", "video", "video", 0),
    FileInput("VHS_LoadAudioUpload", "audio", "sound", 0),
    FileInput("VHS_LoadImages", "directory", "folder", 0),
)


class FileInputTable:
    """Immutable knowledge of the inputs that take a file.

    Args:
        inputs: The inputs; of two with the same class and name the first counts.
    """

    __slots__ = ("by_class",)

    def __init__(self, inputs: Iterable[FileInput]) -> None:
        by_class: dict[str, dict[str, FileInput]] = {}
        for file_input in inputs:
            by_class.setdefault(file_input.class_type, {}).setdefault(file_input.name, file_input)
        self.by_class: Mapping[str, Mapping[str, FileInput]] = by_class

    def list_inputs(self, class_type: str) -> Collection[FileInput]:
        """Return the inputs of a class that take a file."""
        return self.by_class.get(class_type, {}).values()

    def has_input(self, class_type: str, name: str) -> bool:
        """Return whether an input takes a file."""
        return name in self.by_class.get(class_type, ())

    def merge(self, new: Iterable[FileInput]) -> FileInputTable:
        """Return a table that also holds the inputs that this one lacks."""
        inputs: list[FileInput] = []
        for class_inputs in self.by_class.values():
            inputs.extend(class_inputs.values())
        inputs.extend(new)
        return FileInputTable(inputs)


BUILTIN_FILE_INPUTS: Final = FileInputTable(_BUILTIN_INPUTS)
"""Inputs that are known without reading any pack or server."""
