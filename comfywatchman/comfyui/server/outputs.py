"""The files that a prompt made: listed from its history entry, and downloaded from the server in parts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlencode

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import unwritable_failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.base.json_values import as_list, as_mapping, as_text
from comfywatchman.comfyui.server.log_text import clean_line

_PART_BYTES: Final = 32 << 20
"""A video may be larger than memory; `HttpSession` holds one response at a time."""

_OK: Final = 200
_PARTIAL: Final = 206


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a node made.

    Attributes:
        node_id: The node.
        output: ComfyUI's name for the kind of output: `images`, `gifs`, `audio`, `3d` and others.
        filename: Its name in its folder.
        subfolder: The folder below that of its type; empty for none.
        type: The folder: `output`, `temp` (previews, deleted when ComfyUI starts) or `input`.
    """

    node_id: str
    output: str
    filename: str
    subfolder: str = ""
    type: str = "output"


def list_output_files(entry: Mapping[str, object]) -> tuple[OutputFile, ...]:
    """Return the files in a history entry, by node and output; texts and other values are left out.

    ComfyUI repeats the files of an earlier run for nodes that its cache answered, or lists none, by version.
    """
    files: list[OutputFile] = []
    for node_id, outputs in sorted(as_mapping(entry.get("outputs")).items()):
        for output, values in sorted(as_mapping(outputs).items()):
            for value in as_list(values):
                file = _parse_file(node_id, output, value)
                if file is not None:
                    files.append(file)
    return tuple(files)


def list_cached_nodes(entry: Mapping[str, object]) -> tuple[str, ...]:
    """Return the ids of the nodes that ComfyUI did not run because its cache answered them, from a history entry."""
    nodes: list[str] = []
    for message in as_list(as_mapping(entry.get("status")).get("messages")):
        match message:
            case ["execution_cached", dict() as facts]:
                nodes += [node_id for node_id in as_list(facts.get("nodes")) if isinstance(node_id, str)]
    return tuple(nodes)


def download_output(session: HttpSession, url: str, file: OutputFile, target: Path) -> int:
    """Download an output into a new file, flushed to the disk; return its size in bytes.

    The file is deleted again when anything fails.

    Args:
        session: The HTTP session.
        url: The address of the server.
        file: The output.
        target: The file to create; its folder must exist.

    Raises:
        Failure: `http-unreachable`, `http-status`, `http-body` when the file changed meanwhile, or `state-unwritable`,
            also when the target exists already.
    """
    query = urlencode({"filename": file.filename, "subfolder": file.subfolder, "type": file.type})
    address = f"{url.rstrip('/')}/view?{query}"
    try:
        with target.open("xb") as stream:
            try:
                size = _download(session, address, stream)
                stream.flush()
                os.fsync(stream.fileno())
            except BaseException:
                target.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise unwritable_failure(target, error) from error
    return size


def _download(session: HttpSession, address: str, stream: IO[bytes]) -> int:
    size, version = 0, None
    while True:
        response = session.get(address, byte_range=(size, size + _PART_BYTES - 1))
        if response.status == _OK and not size:
            # The server does not send parts.
            return stream.write(response.body)
        total = _parse_total(response)
        if response.status != _PARTIAL or total is None:
            if not size and _is_empty_file(response):
                return 0
            raise Failure("http-status", f"{response.url} returned status {response.status}.")
        if version not in {None, _read_version(response)} or not response.body:
            raise Failure("http-body", f"{response.url} changed while it was downloaded.", hint="Try again.")
        version = _read_version(response)
        size += stream.write(response.body)
        if size >= total:
            return size


def _parse_file(node_id: str, output: str, value: object) -> OutputFile | None:
    facts = as_mapping(value)
    filename = as_text(facts.get("filename"))
    if filename is None:
        return None
    folder = as_text(facts.get("subfolder")) or ""
    return OutputFile(node_id, clean_line(output), filename, folder, as_text(facts.get("type")) or "output")


def _parse_total(response: HttpResponse) -> int | None:
    """Return the size of the whole file from `Content-Range: bytes 0-9/100`."""
    total = response.headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None


def _is_empty_file(response: HttpResponse) -> bool:
    # RFC 9110, 14.4: no range of an empty file can be sent; the answer is 416 with its size.
    return response.headers.get("content-range", "") == "bytes */0"


def _read_version(response: HttpResponse) -> tuple[str, str]:
    return response.headers.get("etag", ""), response.headers.get("last-modified", "")
