"""Build the sample host: a small imitation of a ComfyUI for a first run on a machine without one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeGuard

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, unwritable_failure, write_atomic
from comfywatchman.comfyui.packs.core_classes import load_core_classes, parse_version
from comfywatchman.readiness.sample.workflows import CHECKPOINT, build_sample_workflows

VERSION: Final = "0.33.0"
"""Version of the sample's ComfyUI; it has the node classes of this version."""

MARKER: Final = ".comfywatchman-sample"
_TEMPLATES_PACKAGE: Final = "comfyui_workflow_templates_json"
_MAX_TEMPLATE_BYTES: Final = 32 << 20
_TEMPLATES_PER_MODEL: Final = 3
"""One of this many templates gets its models, so that the first report shows ready and missing ones."""

_ROOT: Final = PurePosixPath("ComfyUI")
_WORKFLOWS: Final = _ROOT / "user" / "default" / "workflows"
_TEMPLATES: Final = _WORKFLOWS / "templates"
_MODELS: Final = _ROOT / "models"
_PACK_FOLDER: Final = _ROOT / "custom_nodes" / "sample-pack"

_README: Final = """\
comfywatchman created this sample for a first run on a machine where it found no ComfyUI.

ComfyUI/ is laid out like a ComfyUI installation, but main.py starts nothing and the model files contain only zeros.
ComfyUI/user/default/workflows/sample contains one workflow for each kind of result in a report. The official workflow
templates are next to it when the package comfyui-workflow-templates-json is installed. About a third of them come
with their models.

To check your own ComfyUI, set COMFYUI_ROOT=/path/to/ComfyUI and run the command again. You may delete this folder.
"""

_PROGRAM: Final = '"""Part of a sample host created by comfywatchman; see README.txt. It does nothing."""\n'

_PACK: Final = '''\
"""A custom node pack of the sample host."""


class SampleNode:
    """Return the image it takes."""

    CATEGORY = "sample"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "label": ("STRING", {"default": "sample"})}}

    def run(self, images, label):
        return (images,)


NODE_CLASS_MAPPINGS = {"SampleNode": SampleNode}
'''

_PACK_PROJECT: Final = """\
[project]
name = "sample-pack"
version = "1.0.0"
description = "A custom node pack of the sample host."
dependencies = ["numpy"]

[tool.comfy]
PublisherId = "sample"
DisplayName = "Sample pack"
"""


@dataclass(frozen=True, slots=True)
class SampleHost:
    """The sample host on disk.

    Attributes:
        root: Its ComfyUI folder.
        workflows: Number of workflow files created.
        templates: Number of official templates among them.
        models: Number of model files created.
    """

    root: Path
    workflows: int
    templates: int
    models: int


def find_installed_templates() -> Path | None:
    """Return the folder of the official workflow templates, or None when their package is not installed."""
    # find_spec does not import the package.
    spec = importlib.util.find_spec(_TEMPLATES_PACKAGE)
    if spec is None:
        return None
    for location in spec.submodule_search_locations or ():
        folder = Path(location) / "templates"
        if folder.is_dir():
            return folder
    return None


def build_sample_host(folder: Path, *, templates: Path | None) -> SampleHost:
    """Create the sample host, or return the existing one.

    Existing files are never overwritten, so a file that a person changed stays changed. When the templates differ
    from the last time, the missing files are added.

    Args:
        folder: Folder for `README.txt` and `ComfyUI/`; created when it does not exist.
        templates: Folder of official workflow files; None for none.

    Raises:
        Failure: `sample-not-ours` when the folder contains something else; `state-unwritable`.
    """
    template_files = _list_templates(templates)
    fingerprint = _fingerprint_templates(template_files)
    marker = folder / MARKER
    _claim_folder(folder, marker)
    known = _read_marker(marker)
    if known.get("made_of") == fingerprint:
        return _build_host(folder, known)
    files = _build_files(template_files)
    for path, content in files.items():
        _write_once(folder / path, content)
    facts = {
        "made_of": fingerprint,
        "models": sum(_MODELS in path.parents for path in files),
        "templates": sum(path.parent == _TEMPLATES for path in files),
        "workflows": sum(_WORKFLOWS in path.parents for path in files),
    }
    write_atomic(marker, orjson.dumps(facts))
    return _build_host(folder, facts)


def build_program_files() -> dict[str, bytes]:
    """Return the files that make a folder count as a ComfyUI of `VERSION`, with the node classes of that version."""
    classes = "".join(f'    "{name}": None,\n' for name in _list_core_classes())
    contents = {
        "main.py": _PROGRAM,
        "folder_paths.py": _PROGRAM,
        "nodes.py": f"{_PROGRAM}NODE_CLASS_MAPPINGS = {{\n{classes}}}\n",
        "comfyui_version.py": f'{_PROGRAM}__version__ = "{VERSION}"\n',
    }
    return {name: text.encode() for name, text in contents.items()}


def build_safetensors(*, missing_bytes: int = 0) -> bytes:
    """Return a small valid safetensors file, or one whose tensor lacks bytes at the end.

    Format: 8 bytes little-endian header length, JSON header padded with spaces, tensor bytes
    (https://github.com/huggingface/safetensors#format).
    """
    tensor = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    header = orjson.dumps({"__metadata__": {"made_by": "comfywatchman sample"}, "weight": tensor})
    padding = -len(header) % 8
    padded = header + b" " * padding
    return len(padded).to_bytes(8, "little") + padded + bytes(64 - missing_bytes)


def find_declared_models(graph: object) -> Iterator[PurePosixPath]:
    """Yield `folder/name` of each model declared in a workflow, including subgraphs, without unsafe paths."""
    pending = [graph]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield from _read_declarations(value.get("models"))
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _read_declarations(models: object) -> Iterator[PurePosixPath]:
    if not isinstance(models, list):
        return
    for model in models:
        if not isinstance(model, dict):
            continue
        directory = model.get("directory")
        name = model.get("name")
        if not (_is_path_text(directory) and _is_path_text(name)):
            continue
        # A template must not write outside the sample's model folders.
        path = PurePosixPath(directory) / name
        if not path.is_absolute() and ".." not in path.parts and path.suffix == ".safetensors":
            yield path


def _is_path_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and "\0" not in value


def _build_files(templates: Iterable[Path]) -> dict[PurePosixPath, bytes]:
    files = {PurePosixPath("README.txt"): _README.encode(), **_build_model_files()}
    for name, content in build_program_files().items():
        files[_ROOT / name] = content
    files[_PACK_FOLDER / "__init__.py"] = _PACK.encode()
    files[_PACK_FOLDER / "pyproject.toml"] = _PACK_PROJECT.encode()
    for name, content in build_sample_workflows().items():
        files[_WORKFLOWS / "sample" / name] = content
    for template in templates:
        content = read_regular(template, max_bytes=_MAX_TEMPLATE_BYTES)
        graph = _parse_graph(content)
        if graph is None:
            continue
        files[_TEMPLATES / template.name] = content
        if _has_models(template.name):
            for model in find_declared_models(graph):
                files[_MODELS / model] = build_safetensors()
    return files


def _list_core_classes() -> list[str]:
    newest = parse_version(VERSION) or ()
    names = []
    for name, since in load_core_classes().items():
        first_version = parse_version(since) or ()
        if first_version <= newest:
            names.append(name)
    return sorted(names)


def _build_model_files() -> dict[PurePosixPath, bytes]:
    valid = build_safetensors()
    contents = {
        f"checkpoints/{CHECKPOINT}": valid,
        "checkpoints/sample_misplaced.safetensors": valid,
        "checkpoints/sample_truncated.safetensors": build_safetensors(missing_bytes=32),
        "loras/Sample_Painting.safetensors": valid,
        "loras/style/sample_ink.safetensors": valid,
        "upscale_models/sample_upscaler.safetensors": valid,
    }
    return {_MODELS / name: content for name, content in contents.items()}


def _parse_graph(content: bytes) -> Mapping[str, Any] | None:
    """Return a template's graph; None for the other JSON files of the templates package."""
    try:
        graph = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if isinstance(graph, dict) and "nodes" in graph:
        return graph
    return None


def _has_models(name: str) -> bool:
    # A hash of the name makes the same choice on every machine and in every build.
    return hashlib.sha256(name.encode()).digest()[0] % _TEMPLATES_PER_MODEL == 0


def _list_templates(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    return sorted(folder.glob("*.json"))


def _fingerprint_templates(templates: Iterable[Path]) -> str:
    # Raise the number when the files of the sample change, so that existing samples get the new files.
    digest = hashlib.sha256(f"{VERSION} 1".encode())
    for path in templates:
        digest.update(f"\0{path.name}\0{path.stat().st_size}".encode())
    return digest.hexdigest()


def _claim_folder(folder: Path, marker: Path) -> None:
    # The empty marker comes before any other file, so that an interrupted build is recognised and completed.
    if marker.is_file():
        return
    if folder.exists() and any(folder.iterdir()):
        raise Failure(
            "sample-not-ours",
            f"{printable_path(folder)} exists and was not created by comfywatchman, so nothing was written there.",
            hint="Move that folder away, or name another home with --home.",
        )
    write_atomic(marker, b"{}")


def _read_marker(marker: Path) -> Mapping[str, Any]:
    try:
        facts = orjson.loads(read_regular(marker, max_bytes=1 << 16))
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(facts, dict):
        return {}
    return facts


def _build_host(folder: Path, facts: Mapping[str, Any]) -> SampleHost:
    counts = {name: int(facts.get(name, 0)) for name in ("workflows", "templates", "models")}
    return SampleHost(root=folder / "ComfyUI", **counts)


def _write_once(path: Path, content: bytes) -> None:
    """Write a file unless it exists; no fsync is needed, since the marker that completes the sample comes last."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.write_bytes(content)
    except OSError as error:
        raise unwritable_failure(path, error) from error
