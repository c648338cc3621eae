"""A prompt without a job: its inputs are fetched and uploaded, it runs on a server, and its outputs are fetched."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from comfywatchman.base.address import parse_address
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import REDIRECT_STATUSES, get_json
from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.base.stream import ConnectionPool, HttpStream
from comfywatchman.comfyui.server.outputs import list_output_files
from comfywatchman.comfyui.server.prompts import Prompt
from comfywatchman.jobs.execution.outputs import SavedFile, choose_files, fetch_outputs
from comfywatchman.jobs.execution.prompt_changes import force_outputs, set_unique_prefixes
from comfywatchman.jobs.execution.prompt_run import PromptRunner
from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, RunLimits, Watch
from comfywatchman.jobs.execution.uploads import upload_input
from comfywatchman.jobs.records import JobInputFile

_TOKEN_CHARS: Final = 12
_BLOCK_BYTES: Final = 1 << 20
_STALL_SECONDS: Final = 30.0
_FETCH_SECONDS: Final = 600.0
_DESCRIPTION_SECONDS: Final = 60.0
"""A ComfyUI with many node packs describes megabytes, and reads its model folders first."""

_MAX_REDIRECTS: Final = 5
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class OutputText:
    """A text that a node made, such as that of `PreviewAny`."""

    node_id: str
    text: str


@dataclass(frozen=True, slots=True)
class FinishedPrompt:
    """The end of a prompt with everything that it made.

    Attributes:
        run: How it ended.
        files: Its files, in the folder that was given; only after a success.
        texts: Its texts.
    """

    run: PromptRun
    files: tuple[SavedFile, ...] = ()
    texts: tuple[OutputText, ...] = ()


class PromptExecutor:
    """Runs prompts on one server, one after the other; used as a context manager.

    Args:
        url: The address of the server.
        limits: Time limits of each run.
    """

    def __init__(self, url: str, limits: RunLimits) -> None:
        self._runner = PromptRunner(url, limits)

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._runner.__exit__()

    def read_object_info(self) -> Mapping[str, object]:
        """Return the node classes of the server with their inputs.

        Raises:
            Failure: `http-unreachable`, `http-status` or `http-body`.
        """
        answer = get_json(f"{self._runner.url}/object_info", timeout_seconds=_DESCRIPTION_SECONDS)
        return as_mapping(answer)

    def upload(self, path: Path) -> str:
        """Upload an input file; return its name on the server, which contains its hash.

        Raises:
            Failure: `http-unreachable`, `http-status`, or a `file-…` code.
        """
        return upload_input(self._runner.transfers, self._runner.url, JobInputFile(path.name, str(path))).name

    def execute(self, prompt: Prompt, folder: Path, *, watch: Watch, extra_data: Mapping[str, Any]) -> FinishedPrompt:
        """Run a prompt to its end, and fetch its outputs.

        Args:
            prompt: The prompt; its file name prefixes are made unique.
            folder: The folder for its files, which must exist.
            watch: Decides whether to go on.
            extra_data: Data that stays with the prompt.

        Raises:
            Failure: `http-unreachable`, `http-status`, `http-body` or `state-unwritable`, while outputs are fetched.
        """
        finished = self._run_once(prompt, folder, watch, extra_data)
        if finished.run.end is RunEnd.SUCCESS and not finished.files and not finished.texts:
            # The cache had answered: some versions of ComfyUI then report no outputs.
            finished = self._run_once(prompt, folder, watch, extra_data, is_forced=True)
        return finished

    def _run_once(
        self, prompt: Prompt, folder: Path, watch: Watch, extra_data: Mapping[str, Any], *, is_forced: bool = False
    ) -> FinishedPrompt:
        prompt_id = str(uuid.uuid4())
        token = prompt_id.replace("-", "")[:_TOKEN_CHARS]
        unique = set_unique_prefixes(prompt, token)
        if is_forced:
            unique = force_outputs(unique, token)
        run = self._runner.run(unique, prompt_id=prompt_id, extra_data=extra_data, watch=watch)
        if run.end is not RunEnd.SUCCESS:
            return FinishedPrompt(run)
        chosen = choose_files(list_output_files(run.entry))
        files = fetch_outputs(self._runner.transfers, self._runner.url, chosen, folder, base_name="output")
        return FinishedPrompt(run, files, list_output_texts(run.entry))


def list_output_texts(entry: Mapping[str, object]) -> tuple[OutputText, ...]:
    """Return the texts in a history entry, by node."""
    texts: list[OutputText] = []
    for node_id, outputs in sorted(as_mapping(entry.get("outputs")).items()):
        values = as_list(as_mapping(outputs).get("text"))
        texts += [OutputText(node_id, value) for value in values if isinstance(value, str)]
    return tuple(texts)


def fetch_input(
    url: str,
    target: Path,
    *,
    max_bytes: int,
    may_be_private: Callable[[str], bool],
    limit_seconds: float = _FETCH_SECONDS,
) -> str:
    """Download an input file; return its SHA-256. The file is deleted again when anything fails.

    Args:
        url: Its address, of anybody.
        target: The file to create.
        max_bytes: Its largest size.
        may_be_private: Returns whether a host (`host:port`) may be on this machine or a private network.
        limit_seconds: How long its content may take to arrive.

    Raises:
        Failure: `http-unreachable`, `http-status`, `file-too-large`, or `download-host-refused`.
    """
    with ConnectionPool(stall_seconds=_STALL_SECONDS, may_be_private=may_be_private) as connections:
        try:
            with _open_file(url, connections) as stream:
                return _save(stream, target, max_bytes, time.monotonic() + limit_seconds)
        except Failure:
            with contextlib.suppress(OSError):
                target.unlink()
            raise


def _open_file(url: str, connections: ConnectionPool) -> HttpStream:
    address = parse_address(url)
    for _ in range(_MAX_REDIRECTS):
        stream = connections.open(address, {})
        location = stream.headers.get("location")
        if stream.status == _OK:
            return stream
        with stream:
            if stream.status not in REDIRECT_STATUSES or not location:
                raise Failure("http-status", f"{address.printable} returned status {stream.status}.")
            target = parse_address(location, base=address)
        if address.scheme == "https" and target.scheme != "https":
            raise Failure("download-host-refused", f"{address.printable} redirects to an unencrypted address.")
        address = target
    raise Failure("http-status", f"{address.printable} redirects too often.")


def _save(stream: HttpStream, target: Path, max_bytes: int, deadline: float) -> str:
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        while block := stream.read(_BLOCK_BYTES):
            size += len(block)
            if size > max_bytes:
                message = f"{stream.address.printable} sends more than {max_bytes >> 20} MiB."
                raise Failure("file-too-large", message)
            # A server that sends byte by byte never stalls.
            if time.monotonic() > deadline:
                raise Failure("http-unreachable", f"{stream.address.printable} takes too long.")
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
