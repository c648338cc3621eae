"""Values in the place of a model that no file of the model folder can be called: addresses, prompts, nothing. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from comfywatchman.comfyui.install.folders import FOLDER_EXTENSION, get_extensions
from comfywatchman.comfyui.models.suffixes import MODEL_SUFFIXES, get_suffix
from comfywatchman.comfyui.references.reference import Reference

_MAX_NAME_BYTES: Final = 1024
_ADDRESS_SIGN: Final = "://"
_NULL: Final = "null"


def is_file_name(value: str) -> bool:
    """Return whether a file of some folder can be called like a value."""
    # A bare number is a seed or a size that a shifted widget value put into the model's place.
    return (
        len(value.encode("utf-8", "replace")) <= _MAX_NAME_BYTES
        and value.isprintable()
        and not value.isdigit()
        and value.strip() != ""
        and _ADDRESS_SIGN not in value
    )


def explain_impossible_name(reference: Reference) -> str | None:
    """Return why no file of a reference's folder can have its name, as a sentence; None when one can.

    ComfyUI lists only files with certain suffixes, so a prompt or a misspelt suffix is no name of a file there.
    """
    if _ADDRESS_SIGN in reference.value:
        return "The value is an address: download the file, and choose it in this node."
    if reference.folder is None:
        return None
    extensions = _list_extensions((reference.folder, *reference.also_folders))
    suffixes = {get_suffix(name) for name in reference.tries or (reference.value,)}
    # The name of another kind of model file may be right for a pack that adds its suffix to the folder.
    if not extensions or suffixes & (extensions | MODEL_SUFFIXES):
        return None
    if reference.value == _NULL:
        return "The node has no value there: open the workflow and choose a model in it."
    return f"No file of {reference.folder} can have this name: open the workflow and choose a model in this node."


def explain_unlisted_suffix(reference: Reference) -> str | None:
    """Return that the node of a reference lists no files with its suffix, as the end of a sentence; None if it does."""
    if reference.folder is None:
        return None
    suffix = get_suffix(reference.value)
    extensions = _list_extensions((reference.folder, *reference.also_folders))
    if not suffix or not extensions or suffix in extensions:
        return None
    return f"{reference.node_type} lists no {suffix} files: use a node that does."


def _list_extensions(folders: Collection[str]) -> frozenset[str]:
    """Return the suffixes that some folders list together; none when one of them lists every file."""
    by_folder = [get_extensions(folder) for folder in folders]
    if not all(by_folder) or any({FOLDER_EXTENSION, ""} & extensions for extensions in by_folder):
        return frozenset()
    return frozenset().union(*by_folder)
