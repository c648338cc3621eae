"""What a ComfyUI under trial is asked: its nodes, which model folders they list, and one minimal prompt."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.api import MAX_OBJECT_INFO_BYTES
from comfywatchman.comfyui.server.object_info import find_widget_indexes, read_object_info
from comfywatchman.governance.store.records import Finding
from comfywatchman.governance.trial.log_text import clean_line
from comfywatchman.governance.trial.model_folders import find_model_inputs
from comfywatchman.governance.trial.prompt import choose_prompt, find_refusal, parse_outcome
from comfywatchman.governance.trial.scratch import (
    ModelMarkers,
    find_known_folders,
    find_pack_directories,
    parse_folder_paths,
)

CUSTOM_NODES_PREFIX: Final = "custom_nodes."
_REQUEST_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class ServerNodes:
    """What the server says of its nodes.

    Attributes:
        packs: Their modules by class.
        model_folders: The model inputs of packs: folder keys by class and input.
        widget_places: The places of those inputs among the widgets.
        model_directories: Where models of folders are that only packs have, relative to the model folder.
    """

    packs: dict[str, str]
    model_folders: dict[str, dict[str, str]] = field(default_factory=dict)
    widget_places: dict[str, dict[str, int]] = field(default_factory=dict)
    model_directories: dict[str, tuple[str, ...]] = field(default_factory=dict)


def query_nodes(url: str, marks: ModelMarkers | None) -> ServerNodes:
    """Ask a server for its nodes.

    Args:
        url: Its address.
        marks: The marked models of its base directory; None when model folders are not looked for.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    with HttpSession(timeout_seconds=_REQUEST_SECONDS, max_bytes=MAX_OBJECT_INFO_BYTES) as session:
        folders = {} if marks is None else _query_model_folders(session, url, marks)
        payload = session.get_json(f"{url}/object_info")
    nodes = read_object_info(payload, {}, version=None)
    if not nodes.packs:
        raise Failure("http-body", f"{url}/object_info did not list any node.")
    if marks is None:
        return ServerNodes(nodes.packs)
    combos = {
        name: inputs
        for name, inputs in nodes.combos.items()
        if nodes.packs.get(name, "").startswith(CUSTOM_NODES_PREFIX)
    }
    tied = find_model_inputs(combos, marks.names(folders))
    keys = {key for inputs in tied.values() for listed in inputs.values() for key in listed.split(",")}
    return ServerNodes(
        nodes.packs, tied, find_widget_indexes(payload, tied), find_pack_directories(marks.base, keys, folders)
    )


def run_minimal_prompt(
    url: str, packs: dict[str, str], *, limit_seconds: float, is_running: Callable[[], bool]
) -> Finding:
    """Run a minimal prompt and wait for its end; one that does not end is interrupted.

    Args:
        url: The server's address.
        packs: Its classes.
        limit_seconds: How long the prompt may take.
        is_running: Says whether the process of the server still runs; a bounded wait is part of asking.
    """
    mark = str(uuid.uuid4())
    prompt = choose_prompt(packs, mark)
    if prompt is None:
        return Finding(name="probe", status="unknown", detail="The server has no class for a minimal prompt.")
    try:
        with HttpSession(timeout_seconds=_REQUEST_SECONDS) as session:
            return _submit_and_wait(session, url, {"prompt": prompt, "prompt_id": mark}, limit_seconds, is_running)
    except Failure as failure:
        return Finding(name="probe", status="fail", detail=f"A minimal prompt failed: {clean_line(failure.message)}")


def _submit_and_wait(
    session: HttpSession, url: str, body: dict[str, object], limit_seconds: float, is_running: Callable[[], bool]
) -> Finding:
    answer = session.post_json(f"{url}/prompt", body)
    told = _parse_object(answer.body)
    refused = find_refusal(answer.status, told)
    if refused is not None:
        return Finding(name="probe", status="fail", detail=f"A minimal prompt was refused: {clean_line(refused)}.")
    # A server may give the prompt another id than the one that was asked for.
    prompt_id = str(told.get("prompt_id", body["prompt_id"]))
    deadline = time.monotonic() + limit_seconds
    while is_running() and time.monotonic() < deadline:
        history = session.get_json(f"{url}/history/{prompt_id}")
        ended = parse_outcome(history.get(prompt_id)) if isinstance(history, dict) else None
        if ended is not None:
            return ended
    session.post_json(f"{url}/interrupt", {"prompt_id": prompt_id})
    detail = f"A minimal prompt did not end within {limit_seconds:g} seconds: the server answers but computes nothing."
    return Finding(name="probe", status="fail", detail=detail)


def _parse_object(body: bytes) -> dict[str, object]:
    """Return an answer that is a JSON object, whatever its status; empty for any other (ComfyUI's 500 is text)."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _query_model_folders(session: HttpSession, url: str, marks: ModelMarkers) -> dict[str, tuple[Path, ...]]:
    """Return the model folders of a server, each marked; those known beforehand when it does not tell."""
    answer = session.get(f"{url}/internal/folder_paths")
    try:
        told = parse_folder_paths(answer.parse_json())
    except Failure:
        told = {}
    folders = told or find_known_folders(marks.base)
    marks.add(folders)
    return folders
