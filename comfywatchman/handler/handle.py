"""Handle one request on a running ComfyUI: check, upload, run, and return its outputs or raise why there are none."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfywatchman.app.prompt_requests import FinishedPrompt, PromptExecutor, fetch_input
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import fsync_folder, make_folder, unwritable_failure
from comfywatchman.handler.checks import check_workflow, find_unused_inputs, replace_input_names
from comfywatchman.handler.request import (
    MAX_INPUT_BYTES,
    HandlerRequest,
    OutputMode,
    RequestInput,
    too_large_failure,
    wrong_hash_failure,
)
from comfywatchman.handler.result import MAX_INLINE_BYTES, OutputStore, check_run, choose_place, describe_outputs
from comfywatchman.jobs.execution.run_states import RunLimits, RunProgress, StopCause

_PARTIAL: Final = ".partial"
_AWAY_SECONDS: Final = 30.0


def ignore_progress(_progress: RunProgress) -> None:
    """Show no progress."""


def refuse_private(_host: str) -> bool:
    """Allow inputs from no host of this machine or of a private network."""
    return False


@dataclass(frozen=True, slots=True)
class VersionName:
    """The version that a ComfyUI runs.

    Attributes:
        tag: Its name.
        content_sha256: The content hash of its lock, which tells apart two versions of one name.
    """

    tag: str
    content_sha256: str


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """How requests are handled.

    Attributes:
        url: The address of ComfyUI.
        output_folder: The folder for outputs that are returned as files; None to return them in the result only.
        limit_seconds: The time that one request may take, with its wait in ComfyUI's queue.
        away_seconds: How long ComfyUI may not answer.
        may_be_private: Returns whether inputs may come from a host on this machine or a private network.
        is_cancelled: Returns whether to stop.
        show_progress: Called with the progress, several times per second.
        store: The object store for outputs; None without one.
        mode: How outputs are returned, whatever the request says; None to do as it says.
        max_inline_bytes: The largest sum of outputs, encoded, that a request may ask for in its result.
        version: The version that ComfyUI runs, for results; None when it is not known.
    """

    url: str
    output_folder: Path | None = None
    limit_seconds: float = 3600.0
    away_seconds: float = _AWAY_SECONDS
    may_be_private: Callable[[str], bool] = refuse_private
    is_cancelled: Callable[[], bool] = lambda: False
    show_progress: Callable[[RunProgress], None] = ignore_progress
    store: OutputStore | None = None
    mode: OutputMode | None = None
    max_inline_bytes: int = MAX_INLINE_BYTES
    version: VersionName | None = None


def handle_request(request: HandlerRequest, options: HandlerOptions) -> dict[str, Any]:
    """Run a request and return its result, which is JSON.

    Raises:
        Failure: A `handler-…` code, `http-unreachable`, `http-status`, `http-body`, `download-host-refused`,
            `state-unwritable` or a `file-…` code. Nothing is left in the folder for outputs then.
    """
    began = time.monotonic()
    unused = find_unused_inputs(request.workflow, request.inputs)
    if unused:
        message = f"No node of the workflow uses the input {unused[0]!a}."
        raise Failure("handler-input-invalid", message, hint="Name it in the workflow exactly as in the request.")
    limits = RunLimits(run_seconds=options.limit_seconds, away_seconds=options.away_seconds)
    with PromptExecutor(options.url, limits) as executor, _open_folder(options.output_folder) as place:
        check_workflow(request.workflow, executor.read_object_info())
        names = _upload_inputs(request.inputs, executor, options)
        prompt = replace_input_names(request.workflow, names)
        extra_data = {"api_key_comfy_org": request.api_key} if request.api_key else {}
        finished = executor.execute(
            prompt, place.partial, watch=_build_watch(began + options.limit_seconds, options), extra_data=extra_data
        )
        check_run(finished)
        chosen = choose_place(
            options.mode or request.output,
            finished.files,
            has_folder=place.final is not None,
            has_store=options.store is not None,
            max_inline_bytes=options.max_inline_bytes,
        )
        folder = place.partial
        if chosen is OutputMode.FILE and place.final is not None and finished.files:
            _publish(place.partial, place.final)
            folder = place.final
        run_name = request.key or finished.run.prompt_id
        outputs = describe_outputs(finished, folder, chosen, store=options.store, run_name=run_name)
    result = _build_result(request, finished, outputs, round(time.monotonic() - began, 3))
    lock = None if options.version is None else dataclasses.asdict(options.version)
    return {**result, "lock": lock}


@dataclass(frozen=True, slots=True)
class _OutputFolder:
    """The folder that outputs are fetched into, and its name once they are complete; None without one."""

    partial: Path
    final: Path | None


@contextlib.contextmanager
def _open_folder(parent: Path | None) -> Iterator[_OutputFolder]:
    """Make the folder of a request; what was not published is deleted at the end."""
    if parent is None:
        with tempfile.TemporaryDirectory(prefix="comfywatchman-handler-") as name:
            yield _OutputFolder(Path(name), None)
        return
    final = parent.absolute() / uuid.uuid4().hex
    partial = final.with_name(f"{final.name}{_PARTIAL}")
    try:
        make_folder(partial)
    except OSError as error:
        raise unwritable_failure(partial, error, verb="created") from error
    try:
        yield _OutputFolder(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, final: Path) -> None:
    try:
        fsync_folder(partial)
        partial.rename(final)
        fsync_folder(final.parent)
    except OSError as error:
        raise unwritable_failure(final, error) from error


def _upload_inputs(
    inputs: tuple[RequestInput, ...], executor: PromptExecutor, options: HandlerOptions
) -> dict[str, str]:
    """Upload the inputs of a request; return ComfyUI's name of each by its own."""
    names: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="comfywatchman-inputs-") as folder:
        for item in inputs:
            path = Path(folder) / item.name
            _save_input(item, path, options)
            names[item.name] = executor.upload(path)
            path.unlink()
    return names


def _save_input(item: RequestInput, path: Path, options: HandlerOptions) -> None:
    if item.url is None:
        path.write_bytes(item.content or b"")
        return
    try:
        sha256 = fetch_input(item.url, path, max_bytes=MAX_INPUT_BYTES, may_be_private=options.may_be_private)
    except Failure as failure:
        if failure.code == "file-too-large":
            raise too_large_failure(item.name) from failure
        raise
    if sha256 != item.sha256:
        raise wrong_hash_failure(item.name)


def _build_watch(deadline: float, options: HandlerOptions) -> Callable[[RunProgress], StopCause | None]:
    def watch(progress: RunProgress) -> StopCause | None:
        options.show_progress(progress)
        if options.is_cancelled():
            return StopCause.CANCELLED
        return StopCause.DEADLINE if time.monotonic() > deadline else None

    return watch


def _build_result(
    request: HandlerRequest, finished: FinishedPrompt, outputs: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    run = finished.run
    return {
        "status": "success",
        "prompt_id": run.prompt_id,
        "idempotency_key": request.key,
        "outputs": outputs,
        "timings": {"total_seconds": seconds, "queue_seconds": run.queue_seconds, "run_seconds": run.run_seconds},
    }
