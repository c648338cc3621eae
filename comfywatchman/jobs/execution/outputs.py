"""The files that a run made: fetched from ComfyUI into the folder of the attempt, hashed, with names of ours."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import make_folder, unwritable_failure
from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.outputs import OutputFile, download_output

_BLOCK_BYTES: Final = 1 << 20
_REQUEST_SECONDS: Final = 600.0
_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9]{1,10}")
"""Suffixes of media and of archives; anything else is not taken over from a server."""


@dataclass(frozen=True, slots=True)
class SavedFile:
    """An output in the folder of its attempt.

    Attributes:
        name: Its name there.
        size_bytes: Its size.
        sha256: Its hash.
        node_id: The node that made it.
        output: ComfyUI's name for the kind of output, such as `images`.
        source: Its name on the server.
    """

    name: str
    size_bytes: int
    sha256: str
    node_id: str
    output: str
    source: str


def choose_files(files: Sequence[OutputFile]) -> tuple[OutputFile, ...]:
    """Return the files to keep: those of the output folder, or the previews when there is nothing else.

    A workflow that ends in previews only has no other result. Files of the input folder are never results.
    """
    unique = tuple(dict.fromkeys(files))
    lasting = tuple(file for file in unique if file.type == "output")
    return lasting or tuple(file for file in unique if file.type == "temp")


def fetch_outputs(
    session: HttpSession, url: str, files: Sequence[OutputFile], folder: Path, *, base_name: str, first_number: int = 1
) -> tuple[SavedFile, ...]:
    """Download files into a folder and flush them to the disk.

    Args:
        session: The HTTP session.
        url: The address of ComfyUI.
        files: The files.
        folder: The folder of the attempt; it must exist.
        base_name: The name of the files without number and suffix.
        first_number: The number of the first file; the number 1 is not shown.

    Raises:
        Failure: `http-unreachable`, `http-status`, `http-body` or `state-unwritable`.
    """
    saved: list[SavedFile] = []
    for number, file in enumerate(files, first_number):
        name = _choose_name(base_name, number, file.filename)
        size_bytes = download_output(session, url, file, folder / name)
        source = f"{file.subfolder}/{file.filename}" if file.subfolder else file.filename
        saved.append(SavedFile(name, size_bytes, hash_file(folder / name), file.node_id, file.output, source))
    return tuple(saved)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file of our own.

    Raises:
        Failure: `file-unreadable`.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise Failure("file-unreadable", f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def write_outputs(result: Mapping[str, Any], dest_paths: Mapping[str, str]) -> dict[str, Any]:
    """Save the outputs of `invoke_comfyui`; the seed's name for outputs without a job.

    Args:
        result: What `invoke_comfyui` returned.
        dest_paths: `folder`, which is created, and optionally `name`, the name of the files without suffix.

    Returns:
        `saved` (paths), `bytes` and `hash` (of all files, in their order).

    Raises:
        Failure: `http-unreachable`, `http-status`, `http-body` or `state-unwritable`.
    """
    folder = Path(dest_paths["folder"])
    files = choose_files([OutputFile(**file) for file in result["outputs"]])
    try:
        make_folder(folder)
    except OSError as error:
        raise unwritable_failure(folder, error, verb="created") from error
    with HttpSession(timeout_seconds=_REQUEST_SECONDS) as session:
        base_name = dest_paths.get("name", "output")
        saved = fetch_outputs(session, result["api_base_url"], files, folder, base_name=base_name)
    digest = hashlib.sha256("".join(file.sha256 for file in saved).encode()).hexdigest()
    return {
        "saved": [str(folder / file.name) for file in saved],
        "bytes": sum(file.size_bytes for file in saved),
        "hash": digest,
    }


def _choose_name(base_name: str, number: int, filename: str) -> str:
    suffix = Path(filename).suffix
    shown_number = "" if number == 1 else f"_{number}"
    return f"{base_name}{shown_number}{suffix.lower() if _SUFFIX.fullmatch(suffix) else ''}"
