"""Check a model file by a few of its bytes: its format, and whether it is truncated or corrupt. Nothing is executed."""

from __future__ import annotations

import os
import re
import stat
from typing import Final

import msgspec

from comfywatchman.base.text import os_error_text
from comfywatchman.comfyui.models import gguf
from comfywatchman.comfyui.models.failed_download import detect_download_failure, is_lfs_pointer
from comfywatchman.comfyui.models.header import HeaderFault
from comfywatchman.comfyui.models.safetensors import LENGTH_BYTES, check_safetensors
from comfywatchman.comfyui.models.suffixes import SAFETENSORS_SUFFIXES, TORCH_SUFFIXES, get_suffix

CHECK_VERSION: Final = 3
"""Part of the key under which results are cached. Raise it whenever a file may be judged differently."""

HEAD_BYTES: Final = 64 << 10
"""How much of a file the first read takes."""

_TEXT_BYTES: Final = bytes([9, 10, 13, *range(32, 127)])
_OLD_PICKLE: Final = re.compile(rb"[(\]}]|c[\w.]+\n")
"""How pickles of protocols 0 and 1 begin, which may be plain text: MARK, an empty list or dict, or GLOBAL."""

_ZIP_END_RECORD: Final = b"PK\x05\x06"
_ZIP_TAIL_BYTES: Final = 22 + 65_535
"""The end record of a zip archive and the longest comment that may follow it."""

_MAGIC: Final = (
    (gguf.MAGIC, "gguf"),
    (gguf.BIG_ENDIAN_MAGIC, "gguf"),
    (b"PK\x03\x04", "zip-pickle"),
    (b"\x80\x02", "pickle"),
    (b"\x80\x03", "pickle"),
    (b"\x80\x04", "pickle"),
    (b"\x80\x05", "pickle"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!", "RAR"),
    (b"\x89PNG\r\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"%PDF-", "PDF"),
    (b"\x7fELF", "program"),
    (b"MZ\x90", "program"),
    (b"\x89HDF\r\n", "HDF5"),
)
_MODEL_CONTAINERS: Final = frozenset({"gguf", "zip-pickle", "pickle"})
_CONTAINER_NAMES: Final = {
    "zip-pickle": "a zip archive as PyTorch writes it",
    "pickle": "a pickle",
    "gguf": "a GGUF file",
}


class HeaderFacts(msgspec.Struct, frozen=True, gc=False):
    """The result of a header check.

    Attributes:
        format: `safetensors`, `gguf`, `pickle`, `zip-pickle`, `onnx`, `diffusers` or `unknown`.
        problem: Why ComfyUI could not load the file, for people; None for a healthy file and for an unknown format.
        problem_code: The same for programs: `empty`, `zeros`, `html-page`, `lfs-pointer`, `server-answer`, `truncated`,
            `trailing-bytes`, `header-invalid`, `wrong-container`, `not-regular`, `unreadable`.
        detail: One further fact for people (`2641 tensors`); may be empty.
    """

    format: str
    problem: str | None = None
    problem_code: str | None = None
    detail: str = ""


def check_header(path: str | os.PathLike[str], size: int) -> HeaderFacts:
    """Check a model file with one small read.

    ComfyUI picks its loader by suffix, so a pickle named `.safetensors` is as unusable as the reverse.

    Args:
        path: The file; a FIFO or device does not block the call.
        size: Its size in bytes, from the caller's stat.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        return HeaderFacts("unknown", f"cannot be opened: {os_error_text(error)}", "unreadable")
    try:
        return check_descriptor(descriptor, os.fspath(path), size)
    finally:
        os.close(descriptor)


def check_descriptor(descriptor: int, name: str, size: int) -> HeaderFacts:
    """Check an open file that may not have its final name yet.

    Args:
        descriptor: Open for reading.
        name: Its present or future name; the suffix counts.
        size: Its size in bytes.
    """
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return HeaderFacts("unknown", "not a regular file", "not-regular")
        return _check_content(descriptor, get_suffix(name), size)
    except OSError as error:
        return HeaderFacts("unknown", f"cannot be read: {os_error_text(error)}", "unreadable")


def _check_content(descriptor: int, suffix: str, size: int) -> HeaderFacts:
    if size == 0:
        return HeaderFacts("unknown", "empty (0 bytes)", "empty")
    head = os.pread(descriptor, HEAD_BYTES, 0)
    # Before the failed downloads: a short safetensors header must not pass for the JSON of an error message.
    if suffix in SAFETENSORS_SUFFIXES and _has_json_header(head) and not is_lfs_pointer(head):
        return _check_safetensors_file(descriptor, head, size)
    fault = detect_download_failure(head, suffix, size)
    if fault is not None:
        return _report_fault("unknown", fault)
    return _check_container(descriptor, head, suffix, size)


def _has_json_header(head: bytes) -> bool:
    return head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"


def _check_safetensors_file(descriptor: int, head: bytes, size: int) -> HeaderFacts:
    def read(start: int, count: int) -> bytes:
        return os.pread(descriptor, count, start)

    fault, detail = check_safetensors(read, head, size)
    if fault is not None:
        return _report_fault("safetensors", fault)
    return HeaderFacts("safetensors", detail=detail)


def _check_container(descriptor: int, head: bytes, suffix: str, size: int) -> HeaderFacts:
    container = _detect_container(head)
    if suffix in SAFETENSORS_SUFFIXES:
        return _report_not_safetensors(container)
    if suffix == ".gguf" or container == "gguf":
        return _check_gguf_file(descriptor, head, size, container)
    if suffix in TORCH_SUFFIXES:
        return _check_torch_file(descriptor, head, suffix, size, container)
    # An ONNX model is a protobuf without a magic; its first field, `ir_version`, has this tag.
    if suffix == ".onnx" and head.startswith(b"\x08"):
        return HeaderFacts("onnx")
    return HeaderFacts(_get_format(container))


def _detect_container(head: bytes) -> str | None:
    for magic, container in _MAGIC:
        if head.startswith(magic):
            return container
    return None


def _get_format(container: str | None) -> str:
    return container if container in _MODEL_CONTAINERS else "unknown"


def _report_fault(model_format: str, fault: HeaderFault) -> HeaderFacts:
    return HeaderFacts(model_format, fault.reason, fault.code)


def _report_not_safetensors(container: str | None) -> HeaderFacts:
    if container is None:
        return HeaderFacts("unknown", "not a safetensors file: it has no header", "header-invalid")
    name = _CONTAINER_NAMES.get(container, container)
    return HeaderFacts(_get_format(container), f"{name} named as safetensors", "wrong-container")


def _check_gguf_file(descriptor: int, head: bytes, size: int, container: str | None) -> HeaderFacts:
    if container is None:
        return HeaderFacts("unknown", "not a GGUF file", "wrong-container")
    if container != "gguf":
        name = _CONTAINER_NAMES.get(container, container)
        return HeaderFacts(_get_format(container), f"{name} named as GGUF", "wrong-container")

    def read(start: int, count: int) -> bytes:
        # pread allocates all of `count` beforehand, however small the file is.
        return os.pread(descriptor, min(count, size), start)

    fault, detail = gguf.check_gguf(read, head, size)
    if fault is not None:
        return _report_fault("gguf", fault)
    return HeaderFacts("gguf", detail=detail)


def _check_torch_file(descriptor: int, head: bytes, suffix: str, size: int, container: str | None) -> HeaderFacts:
    if _has_json_header(head) and _is_safetensors(head, size):
        return HeaderFacts("safetensors", f"safetensors named as {suffix}", "wrong-container")
    if container == "zip-pickle" and not _has_zip_end(descriptor, size):
        return HeaderFacts("zip-pickle", "cut off: the zip archive has no end", "truncated")
    # `.bin` is a generic suffix: its content can be anything.
    if suffix == ".bin":
        return HeaderFacts(_get_format(container))
    if container is None and _is_text(head):
        return HeaderFacts("unknown", "a text saved under a model's name", "wrong-container")
    if container is not None and container not in _MODEL_CONTAINERS:
        return HeaderFacts("unknown", f"{container} named as {suffix}", "wrong-container")
    return HeaderFacts(_get_format(container))


def _is_safetensors(head: bytes, size: int) -> bool:
    """Return whether a file is healthy as safetensors, as far as its head reaches."""
    fault, _detail = check_safetensors(lambda _start, _count: b"", head, size)
    return fault is None


def _is_text(head: bytes) -> bool:
    """Return whether a file begins like a text and is not one of the old pickles that are text too."""
    return not head.translate(None, _TEXT_BYTES) and not _OLD_PICKLE.match(head)


def _has_zip_end(descriptor: int, size: int) -> bool:
    """Look for the end record, which takes the last 22 bytes unless the archive carries a comment."""
    start = max(0, size - _ZIP_TAIL_BYTES)
    return _ZIP_END_RECORD in os.pread(descriptor, _ZIP_TAIL_BYTES, start)
