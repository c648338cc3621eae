"""Recognise what a failed download leaves behind under a model's name: web pages, error texts, Git LFS pointers."""

from __future__ import annotations

from typing import Final

import orjson

from comfywatchman.comfyui.models.header import HeaderFault
from comfywatchman.comfyui.models.suffixes import MODEL_SUFFIXES

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
"""How the plain-text error bodies of model hosts begin, in lower case."""

_MAX_ANSWER_BYTES: Final = 64 << 10
_MAX_SHOWN_TEXT: Final = 120


def detect_download_failure(head: bytes, suffix: str, size: int) -> HeaderFault | None:
    """Return the fault of a file that was never a model; None for a possible model, and for files that may be texts.

    Args:
        head: The first bytes of the file.
        suffix: The suffix of its name.
        size: Its size in bytes.
    """
    if is_lfs_pointer(head):
        return HeaderFault("lfs-pointer", "a Git LFS pointer; the model itself was never downloaded")
    if suffix in _TEXT_SUFFIXES:
        return None
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_HTML_STARTS):
        return HeaderFault("html-page", "a web page saved under a model's name")
    if suffix in MODEL_SUFFIXES:
        return _detect_under_model_name(head, start, size)
    return None


def _detect_under_model_name(head: bytes, start: bytes, size: int) -> HeaderFault | None:
    answer = _read_server_answer(head, start) if size <= _MAX_ANSWER_BYTES else None
    if answer is not None:
        return HeaderFault("server-answer", f"a server's answer saved under a model's name: {answer}")
    if not head.strip(b"\0"):
        return HeaderFault("zeros", "begins with zeros only; a download that never finished")
    return None


def is_lfs_pointer(head: bytes) -> bool:
    """Return whether a file is the text that Git LFS leaves in place of the content."""
    return head.startswith(_LFS_POINTER)


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
    clean = "".join(character if character.isprintable() else " " for character in text[:200])
    return " ".join(clean.split())[:_MAX_SHOWN_TEXT] or "no text"
