"""Query a ComfyUI under trial for its node classes and the model folders that they list."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.base.text import shorten_text
from comfywatchman.comfyui.server.api import MAX_OBJECT_INFO_BYTES
from comfywatchman.comfyui.server.model_folders import fetch_model_folders
from comfywatchman.comfyui.server.object_info import (
    LiveNodes,
    find_malformed_entry,
    find_widget_indexes,
    read_object_info,
)
from comfywatchman.governance.trial.model_inputs import find_model_inputs
from comfywatchman.governance.trial.outcome import CUSTOM_NODES_PREFIX
from comfywatchman.governance.trial.scratch import ModelMarkers, find_known_folders, find_pack_directories

_REQUEST_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class ServerNodes:
    """The node classes of a server.

    Attributes:
        packs: The module that each class comes from.
        model_folders: The model inputs of custom nodes: folder keys by class and input.
        widget_places: The positions of those inputs among the widgets of their class.
        model_directories: The directories of model folders that only custom nodes have, relative to `models/`.
    """

    packs: dict[str, str]
    model_folders: dict[str, dict[str, str]] = field(default_factory=dict)
    widget_places: dict[str, dict[str, int]] = field(default_factory=dict)
    model_directories: dict[str, tuple[str, ...]] = field(default_factory=dict)


def query_nodes(url: str, markers: ModelMarkers | None) -> ServerNodes:
    """Query a server for its node classes.

    Args:
        url: Its address.
        markers: The marker files of its base directory; None to leave model folders out.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    folders: dict[str, tuple[Path, ...]] = {}
    with HttpSession(timeout_seconds=_REQUEST_SECONDS, max_bytes=MAX_OBJECT_INFO_BYTES) as session:
        if markers is not None:
            folders = fetch_model_folders(session, url) or find_known_folders(markers.base)
            # Before `/object_info`: packs may have registered folders that have no markers yet.
            markers.add(folders)
        payload = session.get_json(f"{url}/object_info")
    malformed = find_malformed_entry(payload)
    if malformed is not None:
        name = shorten_text(malformed)
        raise Failure("http-body", f"{url}/object_info does not describe the node class {name} as ComfyUI does.")
    nodes = read_object_info(payload, {}, version=None)
    if not nodes.packs:
        raise Failure("http-body", f"{url}/object_info lists no node classes.")
    if markers is None:
        return ServerNodes(nodes.packs)
    return _add_model_inputs(nodes, payload, markers, folders)


def _add_model_inputs(
    nodes: LiveNodes, payload: Any, markers: ModelMarkers, folders: dict[str, tuple[Path, ...]]
) -> ServerNodes:
    custom_combos = {
        class_type: inputs
        for class_type, inputs in nodes.combos.items()
        if nodes.packs.get(class_type, "").startswith(CUSTOM_NODES_PREFIX)
    }
    model_inputs = find_model_inputs(custom_combos, markers.names(folders))
    keys: set[str] = set()
    for inputs in model_inputs.values():
        for joined in inputs.values():
            keys.update(joined.split(","))
    return ServerNodes(
        packs=nodes.packs,
        model_folders=model_inputs,
        widget_places=find_widget_indexes(payload, model_inputs),
        model_directories=find_pack_directories(markers.base, keys, folders),
    )
