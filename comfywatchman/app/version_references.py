"""`version record` and `version check`: workflows run by a running ComfyUI."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.comfyui.server.outputs import download_output, list_cached_nodes, list_output_files
from comfywatchman.comfyui.server.prompt_client import PromptClient
from comfywatchman.comfyui.server.prompts import Prompt
from comfywatchman.versions.references import MadeOutput, RunWorkflow

_REQUEST_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_ATTEMPTS: Final = 3
_MAX_WORKFLOW_BYTES: Final = 64 << 20


def build_workflow_runner(url: str, *, limit_seconds: float, progress: Callable[[str], None]) -> RunWorkflow:
    """Return a function that runs a workflow in API format on a server and saves what it made.

    The function raises `Failure`: `version-bad-references` for a workflow in another format, or one that fails.

    Args:
        url: The address of the server.
        limit_seconds: The time that one workflow may take.
        progress: Called with a text when a workflow begins.
    """

    def run(workflow: Path, folder: Path) -> Sequence[MadeOutput]:
        prompt = read_api_workflow(workflow)
        progress(f"Running {folder.name}")
        with PromptClient(url, timeout_seconds=_REQUEST_SECONDS) as client:
            entry = _run_uncached(client, prompt, folder.name, limit_seconds)
            return _save_outputs(client, entry, folder)

    return run


def _run_uncached(client: PromptClient, prompt: Prompt, name: str, limit_seconds: float) -> Mapping[str, object]:
    """Run a prompt so that no node is answered by the server's cache, for that would prove nothing.

    Returns:
        Its history entry.

    Raises:
        Failure: `version-bad-references`, or `http-…`.
    """
    for _ in range(_ATTEMPTS):
        # Servers of others may not have the route. ComfyUI empties its cache between two prompts: when its prompt
        # thread is late, only after the one that is submitted now, which is then repeated.
        with contextlib.suppress(Failure):
            client.session.post_json(f"{client.url}/free", {"unload_models": True, "free_memory": True})
        submission = client.submit(prompt, prompt_id=str(uuid.uuid4()))
        if submission.refusal is not None:
            raise _failed(name, f"was refused: {submission.refusal}")
        result = client.wait(submission.prompt_id, limit_seconds=limit_seconds, is_running=_pause)
        if result.outcome != "success":
            if result.outcome == "timeout":
                client.interrupt(submission.prompt_id)
            raise _failed(name, f"ended with {result.outcome}: {result.reason}")
        entry = client.read_entry(submission.prompt_id) or {}
        if not list_cached_nodes(entry):
            return entry
    raise Failure(
        "version-bad-references",
        f"The server answered nodes of {name} from its cache, which proves nothing about this run.",
        hint="Restart ComfyUI, and try again.",
    )


def _pause() -> bool:
    """Pace the polling; whether the server runs is seen by its answers, for it is not ours."""
    time.sleep(_POLL_SECONDS)
    return True


def read_api_workflow(path: Path) -> Prompt:
    """Read a workflow in API format (`Export (API)` in ComfyUI's menu).

    Raises:
        Failure: `version-bad-references`, or a `file-…` code.
    """
    try:
        content: Any = orjson.loads(read_regular(path, max_bytes=_MAX_WORKFLOW_BYTES))
    except orjson.JSONDecodeError as error:
        raise _failed(printable_path(path), f"is not JSON: {error}") from error
    is_prompt = (
        isinstance(content, dict)
        and content
        and all(isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in content.values())
    )
    if not is_prompt:
        raise _failed(printable_path(path), "is not in API format")
    return {str(node_id): node for node_id, node in content.items()}


def _save_outputs(client: PromptClient, entry: Any, folder: Path) -> list[MadeOutput]:
    made = []
    for number, file in enumerate(list_output_files(entry), 1):
        if file.type != "output":
            continue
        # Names of the server may hold anything; the suffix is kept for people who open the file.
        suffix = Path(file.filename).suffix
        name = f"{number:03d}{suffix if suffix.isascii() and suffix[1:].isalnum() else ''}"
        download_output(client.session, client.url, file, folder / name)
        made.append(MadeOutput(file.node_id, folder / name))
    return made


def _failed(name: str, problem: str) -> Failure:
    return Failure(
        "version-bad-references",
        f"The workflow {name} {problem}.",
        hint="Export it with ComfyUI's menu (Workflow, Export (API)), and run it by hand to see that it works.",
    )
