"""Input files of a job: read, hashed, and uploaded to ComfyUI under a name that depends on their content."""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.base.http import HttpSession
from comfywatchman.base.json_values import as_text
from comfywatchman.comfyui.server.log_text import clean_line
from comfywatchman.comfyui.server.prompts import parse_json_object
from comfywatchman.jobs.records import JobInputFile

MAX_UPLOAD_BYTES: Final = 100 << 20
"""The limit of ComfyUI (`--max-upload-size`, 100 MB by default)."""

_HASH_CHARS: Final = 16
_MAX_NAME_CHARS: Final = 80
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_OK: Final = 200
_TOO_LARGE: Final = 413


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """An input file that ComfyUI has.

    Attributes:
        input_name: The input of the job that names it.
        path: The file on this host.
        name: Its name in ComfyUI's input folder.
        sha256: Its hash.
        size_bytes: Its size.
        has_changed: Whether its content differs from when the job file was read.
    """

    input_name: str
    path: str
    name: str
    sha256: str
    size_bytes: int
    has_changed: bool


def upload_input(session: HttpSession, url: str, file: JobInputFile) -> UploadedFile:
    """Upload an input file. The name contains its hash, so a second upload changes nothing.

    Args:
        session: The HTTP session.
        url: The address of ComfyUI.
        file: The file.

    Raises:
        Failure: `file-unreadable`, `file-not-regular`, `file-too-large`, `http-unreachable`, or `http-status` when
            ComfyUI does not accept it.
    """
    content = read_regular(Path(file.path), max_bytes=MAX_UPLOAD_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    name = build_upload_name(Path(file.path).name, sha256)
    boundary = uuid.uuid4().hex
    body = _build_form(boundary, name, content)
    address = f"{url.rstrip('/')}/upload/image"
    response = session.post(address, body, content_type=f"multipart/form-data; boundary={boundary}")
    accepted = as_text(parse_json_object(response.body).get("name"))
    if response.status != _OK or accepted is None:
        hint = "Start ComfyUI with a larger --max-upload-size." if response.status == _TOO_LARGE else None
        raise Failure(
            "http-status",
            f"ComfyUI did not accept the input file {printable_path(file.path)} (status {response.status}).",
            hint=hint,
        )
    has_changed = file.sha256 is not None and file.sha256 != sha256
    return UploadedFile(file.input_name, file.path, clean_line(accepted), sha256, len(content), has_changed)


def build_upload_name(filename: str, sha256: str) -> str:
    """Return the name of a file in ComfyUI's input folder: safe on every system, and unique by content."""
    safe = _UNSAFE.sub("_", filename).lstrip(".")[-_MAX_NAME_CHARS:] or "file"
    return f"cw_{sha256[:_HASH_CHARS]}_{safe}"


def _build_form(boundary: str, name: str, content: bytes) -> bytes:
    """Return a form of `multipart/form-data` (RFC 7578) with the fields that ComfyUI reads."""
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
