"""What a model file is, told from a few of its bytes; nothing in it is ever executed."""

from __future__ import annotations

import os
import re
import stat
from typing import Final

import msgspec
import orjson

from comfywatchman.base.text import os_error_text
from comfywatchman.comfyui.models.gguf import measure_minimum_size
from comfywatchman.comfyui.models.safetensors import check_safetensors

CHECK_VERSION: Final = 2
"""Raised when a file may be judged differently, so that what an older version made of its header is not kept."""

HEAD_BYTES: Final = 64 << 10
"""How much of a file the first read takes."""

_TORCH_SUFFIXES: Final = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl"})
_SAFETENSORS_SUFFIXES: Final = frozenset({".safetensors", ".sft"})
MODEL_SUFFIXES: Final = _TORCH_SUFFIXES | _SAFETENSORS_SUFFIXES | {".gguf", ".onnx"}
"""Suffixes of files that hold a model's weights."""

_TEXT_SUFFIXES: Final = frozenset(
    {".json", ".yaml", ".yml", ".txt", ".md", ".html", ".htm", ".xml", ".svg", ".csv", ".py"}
)
_HTML_STARTS: Final = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<error", b"<!--")
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_ERROR_TEXTS: Final = (
    b"entry not found",
    b"not found",
    b"access to ",
    b"repository not found",
    b"invalid username or password",
    b"invalid credentials",
    b"unauthorized",
    b"forbidden",
    b"error",
)
_TEXT_BYTES: Final = bytes([9, 10, 13, *range(32, 127)])
_OLDEST_PICKLE: Final = re.compile(rb"[(\]}]|c[\w.]+\n")
_MAX_ANSWER_BYTES: Final = 64 << 10
_ZIP_TAIL_BYTES: Final = 22 + 65_535
_MAGIC: Final = (
    (b"GGUF", "gguf"),
    (b"FUGG", "gguf"),
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
_KNOWN_CONTAINERS: Final = frozenset({"gguf", "zip-pickle", "pickle"})
_CONTAINER_NAMES: Final = {
    "zip-pickle": "a zip archive as PyTorch writes it",
    "pickle": "a pickle",
    "gguf": "a GGUF file",
}
_GGUF_VERSIONS: Final = range(1, 5)
_GGUF_HEAD_BYTES: Final = 24
_GGUF_LEAST_TENSOR_BYTES: Final = 24
_GGUF_LEAST_PAIR_BYTES: Final = 13


class HeaderFacts(msgspec.Struct, frozen=True, gc=False):
    """What the first bytes of a file, and its size, say about it.

    Attributes:
        format: `safetensors`, `gguf`, `pickle`, `zip-pickle`, `onnx`, `diffusers` or `unknown`.
        problem: Why ComfyUI could not load it, in words; None is healthy, or a format nobody here knows.
        problem_code: The same for programs: `empty`, `zeros`, `html-page`, `lfs-pointer`, `server-answer`, `truncated`,
            `trailing-bytes`, `header-invalid`, `wrong-container`, `not-regular`, `unreadable`.
        detail: One further fact for people (`2641 tensors`); empty when there is none.
    """

    format: str
    problem: str | None = None
    problem_code: str | None = None
    detail: str = ""


def get_suffix(name: str) -> str:
    """Return a file name's suffix as ComfyUI compares it: lower-case, with the dot, empty for `.hidden`."""
    stem, dot, ending = name.rpartition(".")
    return f".{ending}".lower() if dot and "/" not in ending and stem.rpartition("/")[2].strip(".") else ""


def check_header(path: str | os.PathLike[str], size: int) -> HeaderFacts:
    """Tell a model file's format and whether it is whole, with one small read.

    Safetensors: the header alone fixes the exact size of the file (the format rules of the safetensors project: u64
    length N, JSON, contiguous offsets, 8 + N + last offset = size). A pickle named `.safetensors` and the reverse is
    refused by ComfyUI, which picks its loader by suffix.

    Args:
        path: The file; a FIFO or device is never waited for.
        size: Its size in bytes as the caller's stat says.
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
    """Do the same for an open file that may not have its name yet.

    Args:
        descriptor: Open for reading.
        name: The name that it has or is to have; its suffix counts.
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
    if suffix in _SAFETENSORS_SUFFIXES and head[8:9] == b"{" and not head.startswith(_LFS_POINTER):
        return _check_safetensors_file(descriptor, head, size)
    return _check_failed_download(head, suffix, size) or _check_container(descriptor, head, suffix, size)


def _check_safetensors_file(descriptor: int, head: bytes, size: int) -> HeaderFacts:
    fault, detail = check_safetensors(lambda start, count: os.pread(descriptor, count, start), head, size)
    if fault is None:
        return HeaderFacts("safetensors", detail=detail)
    return HeaderFacts("safetensors", fault.reason, fault.code)


def _check_failed_download(head: bytes, suffix: str, size: int) -> HeaderFacts | None:
    """Recognise what a broken download leaves behind; texts are allowed to be texts."""
    if head.startswith(_LFS_POINTER):
        return HeaderFacts("unknown", "a Git LFS pointer; the model itself was never downloaded", "lfs-pointer")
    if suffix in _TEXT_SUFFIXES:
        return None
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_HTML_STARTS):
        return HeaderFacts("unknown", "a web page saved under a model's name", "html-page")
    if suffix in MODEL_SUFFIXES and size <= _MAX_ANSWER_BYTES and (answer := _read_server_answer(head, start)):
        return HeaderFacts("unknown", f"a server's answer saved under a model's name: {answer}", "server-answer")
    if suffix in MODEL_SUFFIXES and not head.strip(b"\0"):
        return HeaderFacts("unknown", "begins with zeros only; a download that never finished", "zeros")
    return None


def _read_server_answer(head: bytes, start: bytes) -> str | None:
    """Return the gist of a JSON or plain-text error body, printable and short; None when it is neither."""
    if start.startswith((b"{", b"[")):
        try:
            body = orjson.loads(head)
        except orjson.JSONDecodeError:
            return None
        return _make_printable(_find_message(body))
    if start.startswith(_ERROR_TEXTS) and head.isascii():
        return _make_printable(head.decode("ascii"))
    return None


def _find_message(body: object) -> str:
    if isinstance(body, dict):
        for key in ("message", "error", "detail"):
            if isinstance(body.get(key), str):
                return str(body[key])
    return "JSON"


def _make_printable(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text[:200])
    return " ".join(clean.split())[:120] or "no text"


def _check_container(descriptor: int, head: bytes, suffix: str, size: int) -> HeaderFacts:
    container = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if suffix in _SAFETENSORS_SUFFIXES:
        return _report_not_safetensors(container)
    if suffix == ".gguf" or container == "gguf":
        return _check_gguf(descriptor, head, size, container)
    if suffix in _TORCH_SUFFIXES:
        return _check_torch(descriptor, head, suffix, size, container)
    if suffix == ".onnx" and head[:1] == b"\x08":
        return HeaderFacts("onnx")
    return HeaderFacts(container if container in _KNOWN_CONTAINERS else "unknown")


def _report_not_safetensors(container: str | None) -> HeaderFacts:
    if container is None:
        return HeaderFacts("unknown", "not a safetensors file: it has no header", "header-invalid")
    kind = container if container in _KNOWN_CONTAINERS else "unknown"
    return HeaderFacts(kind, f"{_CONTAINER_NAMES.get(container, container)} named as safetensors", "wrong-container")


def _check_gguf(descriptor: int, head: bytes, size: int, container: str | None) -> HeaderFacts:
    if container != "gguf":
        wrong = (
            "not a GGUF file" if container is None else f"{_CONTAINER_NAMES.get(container, container)} named as GGUF"
        )
        return HeaderFacts(container if container in _KNOWN_CONTAINERS else "unknown", wrong, "wrong-container")
    order = "little" if head.startswith(b"GGUF") else "big"
    if size < _GGUF_HEAD_BYTES or len(head) < _GGUF_HEAD_BYTES:
        return HeaderFacts("gguf", f"cut off after {size} bytes", "truncated")
    version = int.from_bytes(head[4:8], "little" if order == "little" else "big")
    tensors = int.from_bytes(head[8:16], "little")
    pairs = int.from_bytes(head[16:24], "little")
    if version not in _GGUF_VERSIONS:
        return HeaderFacts("gguf", f"GGUF version {version} does not exist", "header-invalid")
    if version == 1 or order == "big":
        return HeaderFacts("gguf", detail=f"GGUF version {version}")
    least = _GGUF_HEAD_BYTES + tensors * _GGUF_LEAST_TENSOR_BYTES + pairs * _GGUF_LEAST_PAIR_BYTES
    if least > size:
        return HeaderFacts("gguf", f"cut off: {tensors} tensors do not fit into {size} bytes", "truncated")
    fault = _find_gguf_fault(descriptor, size, tensors, pairs)
    return fault or HeaderFacts("gguf", detail=f"GGUF version {version}, {tensors} tensors")


def _find_gguf_fault(descriptor: int, size: int, tensors: int, pairs: int) -> HeaderFacts | None:
    try:
        needed = measure_minimum_size(
            lambda start, count: os.pread(descriptor, min(count, size), start), tensors, pairs
        )
    except ValueError as error:
        return HeaderFacts("gguf", f"a damaged GGUF header: {error}", "header-invalid")
    if needed is None or needed <= size:
        return None
    return HeaderFacts("gguf", f"cut off: {size} of at least {needed} bytes", "truncated")


def _check_torch(descriptor: int, head: bytes, suffix: str, size: int, container: str | None) -> HeaderFacts:
    if head[8:9] == b"{" and check_safetensors(lambda _start, _count: b"", head, size)[0] is None:
        return HeaderFacts("safetensors", f"safetensors named as {suffix}", "wrong-container")
    if container == "zip-pickle" and not _has_zip_end(descriptor, size):
        return HeaderFacts("zip-pickle", "cut off: the zip archive has no end", "truncated")
    if container is None and suffix != ".bin" and _is_text(head):
        return HeaderFacts("unknown", "a text saved under a model's name", "wrong-container")
    if container is None or container in _KNOWN_CONTAINERS or suffix == ".bin":
        return HeaderFacts(container if container in _KNOWN_CONTAINERS else "unknown")
    return HeaderFacts("unknown", f"{container} named as {suffix}", "wrong-container")


def _is_text(head: bytes) -> bool:
    """Say whether a file begins like a text; the oldest pickles are texts too, and begin with one of a few signs."""
    return not head.translate(None, _TEXT_BYTES) and not _OLDEST_PICKLE.match(head)


def _has_zip_end(descriptor: int, size: int) -> bool:
    """Look for the end record, which stands in the last 22 bytes unless the archive carries a comment."""
    start = max(0, size - _ZIP_TAIL_BYTES)
    return b"PK\x05\x06" in os.pread(descriptor, _ZIP_TAIL_BYTES, start)
