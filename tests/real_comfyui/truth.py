"""What a server would say of a workflow, from its /object_info alone: no table, no judge and no listing of ours."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from tests.real_comfyui.sandbox import write_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from comfywatchman.comfyui.workflow.document import Workflow, WorkflowNode
    from scripts.real_comfyui import Server

SENTINEL: Final = "zz_sentinel_of_a_folder.safetensors"
"""Lies in every model folder of the sandbox: an input that offers it lists that folder."""

INPUT_SENTINELS: Final = frozenset(
    {*(f"zz_sentinel.{suffix}" for suffix in ("png", "mp4", "wav", "latent", "txt")), "3d/zz_sentinel.glb", "zz_folder"}
)
"""Lie in the input folder of the sandbox: a list that offers one of them lists that folder."""

INNER_FOLDER: Final = "inner"

_MEDIA: Final = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".webm", ".mov", ".mp3", ".wav", ".flac", ".m4a")


@dataclass(frozen=True)
class ServerTruth:
    """What one reading of /object_info says.

    Attributes:
        classes: Every class that the server knows, with its answer for it.
    """

    classes: Mapping[str, Any]

    def refusals(self, workflow: Workflow) -> list[str]:
        """Return why the server would not run a workflow, model inputs and classes only; empty when it would."""
        return [reason for node in workflow.nodes if node.active for reason in self._of_node(node)]

    def input_refusals(self, workflow: Workflow) -> list[str]:
        """Return the files of the input folder that the server does not offer, though a workflow names them."""
        return [
            f"{node.path} {node.class_type}.{name}: {value!r} is not offered"
            for node, name, value, options in self._refused(workflow)
            if INPUT_SENTINELS & set(options)
        ]

    def other_refusals(self, workflow: Workflow) -> list[str]:
        """Return values that the server does not offer in lists of neither models nor input files."""
        return [
            f"{node.class_type}.{name}: {value!r}"
            for node, name, value, options in self._refused(workflow)
            if SENTINEL not in options and not INPUT_SENTINELS & set(options)
        ]

    def _refused(self, workflow: Workflow) -> Iterator[tuple[WorkflowNode, str, object, list[Any]]]:
        for node in workflow.nodes:
            if not node.active or node.class_type not in self.classes:
                continue
            for name, _, options in self._combos(node.class_type):
                value = node.values.get(name, _first(node) if INPUT_SENTINELS & set(options) else None)
                if value is not None and name not in node.linked and value not in options:
                    yield node, name, value, options

    def _of_node(self, node: WorkflowNode) -> Iterator[str]:
        if node.class_type not in self.classes:
            yield f"{node.path} {node.class_type}: unknown class"
            return
        for name, is_required, options in self._combos(node.class_type):
            if SENTINEL not in options or name in node.linked:
                continue
            if name not in node.values:
                if is_required:
                    yield f"{node.path} {node.class_type}.{name}: required and absent"
            elif node.values[name] not in options:
                yield f"{node.path} {node.class_type}.{name}: {node.values[name]!r} is not offered"

    def _combos(self, class_type: str) -> Iterator[tuple[str, bool, list[Any]]]:
        inputs = self.classes[class_type]["input"]
        for group in ("required", "optional"):
            for name, spec in inputs.get(group, {}).items():
                if isinstance(spec[0], list):
                    yield name, group == "required", spec[0]
                elif spec[0] == "COMBO":
                    yield name, group == "required", spec[1].get("options", [])


def _first(node: WorkflowNode) -> object:
    """Return the first widget's value where the file gives no names; in each node that lists input files it is it."""
    return node.positional[0] if node.positional and not any(node.widget_names) else None


def ask(server: Server) -> ServerTruth:
    """Ask a server for its classes and what their inputs offer now."""
    return ServerTruth(server.get("/object_info")[1])


def corpus(folders: Iterable[Path]) -> dict[str, bytes]:
    """Return the distinct workflow files of some folders by a name of our own."""
    found: dict[str, bytes] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            content = path.read_bytes()
            if not path.name.startswith("index") and b'"nodes"' in content:
                found.setdefault(f"{path.stem}_{hashlib.sha256(content).hexdigest()[:8]}.json", content)
    return found


def named_models(contents: Iterable[bytes]) -> list[tuple[str, str]]:
    """Return folder and name of each model that some workflows declare, sorted."""
    found: set[tuple[str, str]] = set()
    waiting: list[Any] = [json.loads(content) for content in contents]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            listed = value.get("models")
            models = [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
            found |= {(model["directory"], model["name"]) for model in models if "directory" in model}
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return sorted(found)


def place_models(base: Path, models: Iterable[tuple[str, str]], *, share: float, chance: random.Random) -> set[str]:
    """Put a share of the models where they belong, and of the others some where they do not.

    Returns:
        Names that lie in a subfolder, for workflows to name with a backslash.
    """
    inner: set[str] = set()
    for folder, name in models:
        place = PurePosixPath("models") / folder
        if chance.random() < share:
            write_model(base / place / name)
            continue
        fate = chance.randrange(5)
        if fate == 0:
            write_model(base / place / name.swapcase())
        elif fate == 1:
            write_model(base / "models" / ("loras" if folder != "loras" else "vae") / name)
        elif fate == 2:
            write_model(base / place / INNER_FOLDER / name)
            inner.add(name)
        elif fate == 3:
            write_model(base / "output" / folder / name)
    return inner


def place_pictures(base: Path, contents: Iterable[bytes], *, share: float, chance: random.Random) -> None:
    """Put a share of the pictures, sounds and videos that some workflows name into the input folder."""
    for name in INPUT_SENTINELS - {"zz_folder"}:
        write_model(base / "input" / name)
    (base / "input" / "zz_folder").mkdir()
    found: set[str] = set()
    waiting: list[Any] = [json.loads(content) for content in contents]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and value.lower().endswith(_MEDIA) and "/" not in value and len(value) <= 200:
            found.add(value)
        elif isinstance(value, (dict, list)):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    for name in sorted(found):
        if chance.random() < share:
            write_model(base / "input" / name)


def with_separators(content: bytes, inner: Iterable[str], *, separator: str) -> bytes:
    """Return a workflow that names models of the subfolder with that separator, as its author's system had it."""
    for name in inner:
        spelled = json.dumps(f"{INNER_FOLDER}{separator}{name}").encode()
        content = content.replace(json.dumps(name).encode(), spelled)
    return content
