"""The result of a request: how outputs are returned, and what a failed run means."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from comfywatchman.app.prompt_requests import FinishedPrompt
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.text import format_size
from comfywatchman.handler.request import OutputMode
from comfywatchman.jobs.execution.outputs import SavedFile
from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, StopCause

INLINE_BYTES: Final = 7_000_000
"""The largest sum of outputs, encoded, that `auto` returns in the result: RunPod accepts results of 10 MiB."""

MAX_INLINE_BYTES: Final = 64 << 20
"""The same for `base64`: the result is built in memory."""

OTHER_TYPE: Final = "application/octet-stream"
_FURTHER_TYPES: Final = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".opus": "audio/ogg",
    ".webp": "image/webp",
}
"""Types that Python's own table lacks in some versions; the tables of the system differ between machines."""

_RUN_FAILURES: Final = {
    RunEnd.REFUSED: ("handler-prompt-refused", "ComfyUI refused the workflow"),
    RunEnd.FAILED: ("handler-prompt-failed", "A node of the workflow failed"),
    RunEnd.INTERRUPTED: ("handler-cancelled", "The workflow was interrupted"),
    RunEnd.SERVER_ERROR: ("handler-server-lost", "ComfyUI failed to accept the workflow"),
    RunEnd.RESTARTED: ("handler-server-lost", "ComfyUI was restarted while it ran the workflow"),
    RunEnd.AWAY: ("handler-server-lost", "ComfyUI does not answer any more"),
    RunEnd.STALLED: ("handler-server-lost", "ComfyUI does not run the workflow"),
}


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """An output in an object store.

    Attributes:
        link: The address that a client opens.
        uri: The object, such as `gs://BUCKET/NAME`.
        note: Why the link is not what was asked for; None when it is.
    """

    link: str
    uri: str
    note: str | None = None


class OutputStore(Protocol):
    """Stores outputs elsewhere."""

    def store(self, path: Path, *, run_name: str, filename: str, media_type: str, sha256: str) -> StoredOutput:
        """Store a file; the same file of the same run is stored once."""


def check_run(finished: FinishedPrompt) -> None:
    """Check that a prompt succeeded and made something.

    Raises:
        Failure: `handler-prompt-refused`, `handler-prompt-failed`, `handler-cancelled`, `handler-timeout`,
            `handler-server-lost` or `handler-outputs-missing`.
    """
    run = finished.run
    if run.end is not RunEnd.SUCCESS:
        raise _build_run_failure(run)
    if not finished.files and not finished.texts:
        raise Failure(
            "handler-outputs-missing",
            "The workflow ran to its end and made no output.",
            hint="Add a node that saves something, such as Save Image.",
            facts={"prompt_id": run.prompt_id},
        )


def choose_place(
    mode: OutputMode,
    files: Sequence[SavedFile],
    *,
    has_folder: bool,
    has_store: bool,
    max_inline_bytes: int = MAX_INLINE_BYTES,
) -> OutputMode:
    """Return where outputs go: `BASE64` (the result), `FILE` or `GCS`.

    Args:
        mode: What the request asks for.
        files: The files.
        has_folder: Whether the handler has a folder for files.
        has_store: Whether the handler has an object store.
        max_inline_bytes: The limit for a request that asks for `BASE64`.

    Raises:
        Failure: `handler-outputs-too-large`, or `handler-request-invalid` for a place that the handler does not have.
    """
    encoded_bytes = sum((file.size_bytes + 2) // 3 * 4 for file in files)
    has_video = any(guess_type(file.source).startswith("video/") for file in files)
    further = OutputMode.GCS if has_store else OutputMode.FILE
    if mode is OutputMode.AUTO and (has_store or has_folder):
        return OutputMode.BASE64 if encoded_bytes <= INLINE_BYTES and not has_video else further
    if mode is OutputMode.FILE and not has_folder:
        raise _build_place_failure("files", "--output-dir FOLDER")
    if mode is OutputMode.GCS and not has_store:
        raise _build_place_failure("objects in Google Cloud Storage", "--gcs-bucket BUCKET")
    if mode in {OutputMode.FILE, OutputMode.GCS}:
        return mode
    limit = INLINE_BYTES if mode is OutputMode.AUTO else max_inline_bytes
    if encoded_bytes > limit:
        raise Failure(
            "handler-outputs-too-large",
            f"The outputs take {format_size(encoded_bytes)} as base64; the limit is {format_size(limit)}.",
            hint="Start the handler with --output-dir FOLDER or --gcs-bucket BUCKET, so that they are returned there.",
        )
    return OutputMode.BASE64


def _build_place_failure(place: str, option: str) -> Failure:
    message = f"The request asks for {place}, and the handler has no place for them."
    return Failure("handler-request-invalid", message, hint=f"Start it with {option}.")


def describe_outputs(
    finished: FinishedPrompt, folder: Path, place: OutputMode, *, store: OutputStore | None = None, run_name: str = ""
) -> list[dict[str, Any]]:
    """Return the outputs of a prompt for its result; store them first where that is their place.

    Args:
        finished: The prompt.
        folder: The folder of its files.
        place: Where they go.
        store: The object store, for `GCS`.
        run_name: The name of the run in it.

    Raises:
        Failure: A `file-…` or `gcs-…` code.
    """
    outputs: list[dict[str, Any]] = []
    for file in finished.files:
        path, media_type = folder / file.name, guess_type(file.source)
        filename = Path(file.source).name
        facts: dict[str, Any] = {
            "filename": filename,
            "node_id": file.node_id,
            "kind": file.output,
            "mime": media_type,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
        }
        if place is OutputMode.GCS and store is not None:
            stored = store.store(path, run_name=run_name, filename=filename, media_type=media_type, sha256=file.sha256)
            facts |= {"type": "gcs_url", "data": stored.link, "uri": stored.uri, "note": stored.note}
        elif place is OutputMode.FILE:
            facts |= {"type": "file", "data": str(path)}
        else:
            content = read_regular(path, max_bytes=MAX_INLINE_BYTES)
            facts |= {"type": "base64", "data": base64.b64encode(content).decode()}
        outputs.append(facts)
    outputs += [
        {"node_id": text.node_id, "kind": "text", "mime": "text/plain", "type": "text", "data": text.text}
        for text in finished.texts
    ]
    return outputs


def describe_failure(failure: Failure) -> dict[str, Any]:
    """Return a failure as the result of a request."""
    error = {**failure.facts, "code": failure.code, "message": failure.message, "hint": failure.hint}
    return {"status": "failed", "error": error}


def guess_type(name: str) -> str:
    """Return the media type of a file by its name."""
    suffix = Path(name).suffix.lower()
    # A table of its own: that of the module reads files of the system.
    return _FURTHER_TYPES.get(suffix) or mimetypes.MimeTypes().guess_type(f"file{suffix}")[0] or OTHER_TYPE


def _build_run_failure(run: PromptRun) -> Failure:
    if run.end is RunEnd.STOPPED:
        is_late = run.stop is StopCause.DEADLINE
        code = "handler-timeout" if is_late else "handler-cancelled"
        text = "The workflow took longer than its time limit" if is_late else "The request was cancelled"
    else:
        code, text = _RUN_FAILURES[run.end]
    message = f"{text}: {run.reason.rstrip('.')}." if run.reason else f"{text}."
    facts: Mapping[str, object] = {"prompt_id": run.prompt_id, "node_errors": dict(run.node_errors)}
    return Failure(code, message, facts=facts)
