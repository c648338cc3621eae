"""The sample host: what a first run without a ComfyUI looks at."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, unwritable_failure, write_atomic
from comfywatchman.comfyui.packs.core_classes import load_core_classes, parse_version
from comfywatchman.readiness.sample.workflows import CHECKPOINT, build_sample_workflows

VERSION: Final = "0.33.0"
"""What the sample's ComfyUI calls itself: the version whose node classes it claims to have."""

MARKER: Final = ".comfywatchman-sample"
_TEMPLATES_PACKAGE: Final = "comfyui_workflow_templates_json"
_MAX_TEMPLATE_BYTES: Final = 32 << 20
_ONE_IN: Final = 3
_ROOT: Final = PurePosixPath("ComfyUI")
_WORKFLOWS: Final = _ROOT / "user" / "default" / "workflows"
_TEMPLATES: Final = _WORKFLOWS / "templates"
_MODELS: Final = _ROOT / "models"
_PACK_FOLDER: Final = _ROOT / "custom_nodes" / "sample-pack"

_README: Final = """\
This is a sample, made by comfywatchman for a first run on a machine where it found no ComfyUI.

ComfyUI/ has the shape of a ComfyUI host, but main.py starts nothing and the model files hold a few zeros.
ComfyUI/user/default/workflows/sample shows one workflow for each thing that a report can say; beside it stand
the official workflow templates, when the package comfyui-workflow-templates-json is installed. For about a third
of those the models they name are there.

Name your own ComfyUI with COMFYUI_ROOT=/path/to/ComfyUI and run the command again. This folder may be deleted.
"""

_PROGRAM: Final = '"""Part of a sample host made by comfywatchman; see README.txt. It starts nothing."""\n'

_PACK: Final = '''\
"""A custom node pack of the sample host."""


class SampleNode:
    """Take an image and give it back."""

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
        workflows: How many workflow files it was made with.
        templates: How many of them are official templates.
        models: How many model files it was made with.
    """

    root: Path
    workflows: int
    templates: int
    models: int


def find_installed_templates() -> Path | None:
    """Return the folder of the official workflow templates, or None when their package is not installed."""
    found = importlib.util.find_spec(_TEMPLATES_PACKAGE)
    places = found.submodule_search_locations if found else None
    folders = [Path(place) / "templates" for place in places or ()]
    return next((folder for folder in folders if folder.is_dir()), None)


def build_sample_host(folder: Path, *, templates: Path | None) -> SampleHost:
    """Make the sample host, or return the one that was made before.

    Files that are there are never written again, so a file that a person changed stays changed; when the templates
    are others than last time, what lacks is added.

    Args:
        folder: Where `README.txt` and `ComfyUI/` go; made when it does not exist.
        templates: Folder of official workflow files; None for none.

    Raises:
        Failure: `sample-not-ours` when the folder holds something else; `state-unwritable`.
    """
    listed = _list_templates(templates)
    made_of = _fingerprint_templates(listed)
    marker = folder / MARKER
    _claim_folder(folder, marker)
    known = _read_marker(marker)
    if known.get("made_of") == made_of:
        return _build_host(folder, known)
    files = _build_files(listed)
    for path, content in files.items():
        _write_once(folder / path, content)
    facts = {
        "made_of": made_of,
        "models": sum(_MODELS in path.parents for path in files),
        "templates": sum(path.parent == _TEMPLATES for path in files),
        "workflows": sum(_WORKFLOWS in path.parents for path in files),
    }
    write_atomic(marker, orjson.dumps(facts))
    return _build_host(folder, facts)


def build_program_files() -> dict[str, bytes]:
    """Return the files by which a folder is taken for a ComfyUI of `VERSION`, with the node classes of that version."""
    classes = "".join(f'    "{name}": None,\n' for name in _list_core_classes())
    contents = {
        "main.py": _PROGRAM,
        "folder_paths.py": _PROGRAM,
        "nodes.py": f"{_PROGRAM}NODE_CLASS_MAPPINGS = {{\n{classes}}}\n",
        "comfyui_version.py": f'{_PROGRAM}__version__ = "{VERSION}"\n',
    }
    return {name: text.encode() for name, text in contents.items()}


def build_safetensors(*, missing_bytes: int = 0) -> bytes:
    """Return a valid small safetensors file, or one whose tensor lacks bytes at the end.

    Format: 8 bytes little-endian header length, JSON header padded with spaces, tensor bytes
    (https://github.com/huggingface/safetensors#format).
    """
    tensor = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    header = orjson.dumps({"__metadata__": {"made_by": "comfywatchman sample"}, "weight": tensor})
    padded = header.ljust(-(-len(header) // 8) * 8)
    return len(padded).to_bytes(8, "little") + padded + bytes(64 - missing_bytes)


def find_declared_models(graph: object) -> Iterator[PurePosixPath]:
    """Yield `folder/name` of each model that a workflow's author declared, subgraphs included; unsafe paths never."""
    waiting = [graph]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from _read_declarations(value.get("models"))
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _read_declarations(models: object) -> Iterator[PurePosixPath]:
    for model in models if isinstance(models, list) else ():
        names = (model.get("directory"), model.get("name")) if isinstance(model, dict) else ()
        if len(names) == 2 and all(isinstance(name, str) and name and "\0" not in name for name in names):  # noqa: PLR2004 - directory and name
            path = PurePosixPath(str(names[0])) / str(names[1])
            if not path.is_absolute() and ".." not in path.parts and path.suffix == ".safetensors":
                yield path


def _build_files(templates: Iterable[Path]) -> dict[PurePosixPath, bytes]:
    files = {PurePosixPath("README.txt"): _README.encode(), **_build_model_files()}
    files.update((_ROOT / name, content) for name, content in build_program_files().items())
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
            files.update((_MODELS / model, build_safetensors()) for model in find_declared_models(graph))
    return files


def _list_core_classes() -> list[str]:
    newest = parse_version(VERSION) or ()
    return sorted(name for name, since in load_core_classes().items() if (parse_version(since) or ()) <= newest)


def _build_model_files() -> dict[PurePosixPath, bytes]:
    whole = build_safetensors()
    contents = {
        f"checkpoints/{CHECKPOINT}": whole,
        "checkpoints/sample_misplaced.safetensors": whole,
        "checkpoints/sample_truncated.safetensors": build_safetensors(missing_bytes=32),
        "loras/Sample_Painting.safetensors": whole,
        "loras/style/sample_ink.safetensors": whole,
        "upscale_models/sample_upscaler.safetensors": whole,
    }
    return {_MODELS / name: content for name, content in contents.items()}


def _parse_graph(content: bytes) -> Mapping[str, Any] | None:
    """Return a template's graph; None for the other JSON files that the package keeps beside them."""
    try:
        graph = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return graph if isinstance(graph, dict) and "nodes" in graph else None


def _has_models(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % _ONE_IN == 0


def _list_templates(folder: Path | None) -> list[Path]:
    return sorted(folder.glob("*.json")) if folder else []


def _fingerprint_templates(templates: Iterable[Path]) -> str:
    digest = hashlib.sha256(f"{VERSION} 1".encode())
    for path in templates:
        digest.update(f"\0{path.name}\0{path.stat().st_size}".encode())
    return digest.hexdigest()


def _claim_folder(folder: Path, marker: Path) -> None:
    if marker.is_file():
        return
    if folder.exists() and any(folder.iterdir()):
        raise Failure(
            "sample-not-ours",
            f"{printable_path(folder)} exists and is no sample host that comfywatchman made; "
            "nothing was written there.",
            hint="Move that folder away, or name another home with --home.",
        )
    write_atomic(marker, b"{}")


def _read_marker(marker: Path) -> Mapping[str, Any]:
    try:
        facts = orjson.loads(read_regular(marker, max_bytes=1 << 16))
    except orjson.JSONDecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _build_host(folder: Path, facts: Mapping[str, Any]) -> SampleHost:
    counts = {name: int(facts.get(name, 0)) for name in ("workflows", "templates", "models")}
    return SampleHost(root=folder / "ComfyUI", **counts)


def _write_once(path: Path, content: bytes) -> None:
    """Write a file that is not there; no fsync, since the marker that makes the sample whole comes last."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.write_bytes(content)
    except OSError as error:
        raise unwritable_failure(path, error) from error
