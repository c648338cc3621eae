"""Make comfywatchman/comfyui/packs/core_classes.json: each class of ComfyUI with the lowest version it was seen in.

Usage: python -m scripts.core_classes TEMPLATES_FOLDER NODE_MAP COMFYUI_ROOT...
       python -m scripts.core_classes docs WHEEL TEMPLATES_FOLDER

Reads the sources of ComfyUI trees (each states its version) and the official templates, whose nodes carry
`cnr_id: comfy-core` and the version that saved them. Nodes that name no pack, that no pack of ComfyUI-Manager's map
claims and that stand only in templates for a later ComfyUI than the newest tree are taken for classes of that version.
What is known already stays known.

The second form adds the classes that a wheel of `comfyui-embedded-docs` describes (names only: the package is GPL):
ComfyUI's own, whatever pack has a class of the same name. Their version is that of the template that needs them, else
the newest one that is known.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comfywatchman.comfyui.install.install import read_version
from comfywatchman.comfyui.packs.core_classes import EDITOR_ONLY, load_core_classes, parse_version
from comfywatchman.comfyui.packs.definitions import read_core_definitions

TARGET = Path(__file__).parent.parent / "comfywatchman" / "comfyui" / "packs" / "core_classes.json"
DOCUMENTED = re.compile(r"comfyui_embedded_docs/docs/([^/]+)/[^/]+\.md$")
NEWEST_TREE = "0.33.0"
"""The newest ComfyUI whose source was read."""

NOT_REGISTERED = {
    "DeprecatedCheckpointLoader",
    "DeprecatedDiffusersLoader",
    "LoadImageSetNode",
    "SeedVR2ProgressiveSampler",
    "TerminalLog",
}
"""Documented classes that ComfyUI does not register under this name."""

UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f-]{27}$")


def from_tree(root: Path) -> Iterator[tuple[str, str]]:
    """Yield class and version of one ComfyUI tree."""
    version = read_version(root)
    if version is None:
        raise SystemExit(f"{root} states no version")
    for name in read_core_definitions(root).classes:
        yield name, version


def nodes_in(value: Any) -> Iterator[tuple[str, str | None]]:
    """Yield class and saving version (None: not said) of what may be core nodes anywhere in a workflow."""
    if isinstance(value, list):
        for element in value:
            yield from nodes_in(element)
    if not isinstance(value, dict):
        return
    properties, name = value.get("properties"), value.get("type")
    if isinstance(properties, dict) and isinstance(name, str) and "id" in value and name not in EDITOR_ONLY:
        version = properties.get("ver")
        if (
            not UUID.match(name)
            and properties.get("cnr_id", "comfy-core") == "comfy-core"
            and "aux_id" not in properties
        ):
            yield name, str(version).removeprefix("v") if parse_version(version) else None
    for element in value.values():
        yield from nodes_in(element)


def core_templates(folder: Path) -> Iterator[tuple[Any, str]]:
    """Yield each template and the lowest ComfyUI version that the index says it needs; `0.0` when it does not say."""
    index = json.loads((folder / "index.json").read_bytes())
    for entry in (entry for part in index for entry in part["templates"]):
        path = folder / f"{entry['name']}.json"
        if path.exists():
            yield json.loads(path.read_bytes()), entry.get("minComfyUIVersion", "0.0")


def is_older(version: str, other: str) -> bool:
    """Say whether one version is lower than another."""
    return (parse_version(version) or ()) < (parse_version(other) or ())


def main(templates: Path, node_map: Path, roots: list[Path]) -> None:
    """Write the file."""
    lowest = dict(load_core_classes()) if TARGET.exists() else {}
    claimed = {name for names, _ in json.loads(node_map.read_bytes()).values() for name in names}
    seen = [pair for root in roots for pair in from_tree(root)]
    newest = max((version for _, version in seen), key=lambda text: parse_version(text) or ())
    needed: dict[str, str] = {}
    for template, version in core_templates(templates):
        for name, saved_by in nodes_in(template):
            if saved_by:
                seen.append((name, saved_by))
            elif name not in needed or is_older(version, needed[name]):
                needed[name] = version
    for name, version in seen:
        if name not in lowest or is_older(version, lowest[name]):
            lowest[name] = version
    for name, version in needed.items():
        if name not in lowest and name not in claimed and is_older(newest, version):
            lowest[name] = version
    write(lowest)


def add_documented(wheel: Path, templates: Path) -> None:
    """Add the classes that ComfyUI's documentation describes."""
    lowest = dict(load_core_classes())
    newest = max(lowest.values(), key=lambda text: parse_version(text) or ())
    needed: dict[str, str] = {}
    for template, version in core_templates(templates):
        for name, _ in nodes_in(template):
            if parse_version(version) and (name not in needed or is_older(version, needed[name])):
                needed[name] = version
    with zipfile.ZipFile(wheel) as archive:
        names = {match.group(1) for path in archive.namelist() if (match := DOCUMENTED.match(path))}
    for name in names - EDITOR_ONLY - NOT_REGISTERED - lowest.keys():
        # The index names a version that a template needs at least; one that was read does not have the class.
        version = needed.get(name, newest)
        lowest[name] = version if is_older(NEWEST_TREE, version) else newest
    write(lowest)


def write(lowest: dict[str, str]) -> None:
    """Write classes by version, both in order."""
    by_version = defaultdict(list)
    for name, version in lowest.items():
        by_version[version].append(name)
    versions = sorted(by_version, key=lambda text: (parse_version(text) or (), text))
    content = {
        "about": "Classes of ComfyUI by the lowest version they were seen in.",
        "classes": {version: sorted(by_version[version]) for version in versions},
    }
    TARGET.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{len(lowest)} classes in {len(versions)} versions")


if __name__ == "__main__" and sys.argv[1] == "docs":
    add_documented(Path(sys.argv[2]), Path(sys.argv[3]))
elif __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(argument) for argument in sys.argv[3:]])
