from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest

from comfywatchman.comfyui.models.file import HeaderFacts, check_header
from tests.model_files import gguf, put, safetensors, with_header


def check(tmp_path: Path, name: str, content: bytes) -> HeaderFacts:
    path = put(tmp_path / name, content)
    return check_header(path, len(content))


def torch_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
        archive.writestr("archive/data/0", bytes(100_000))
    return stream.getvalue()


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.safetensors", safetensors(3), "safetensors"),
        ("a.sft", safetensors(3, metadata={"format": "pt"}), "safetensors"),
        ("EMPTY.SafeTensors", safetensors(0), "safetensors"),
        ("a.safetensors", safetensors(2000), "safetensors"),
        ("a.gguf", gguf(2), "gguf"),
        ("a.gguf", gguf(2, version=1), "gguf"),
        ("a.gguf", b"FUGG" + gguf(2)[4:7:-1] + b"\0\0\0\3" + bytes(16), "gguf"),
        ("a.bin", gguf(1), "gguf"),
        ("a.ckpt", pickle.dumps({"a": 1}), "pickle"),
        ("a.pt", torch_zip(), "zip-pickle"),
        ("a.bin", b"\x1f\x8b whatever a bin may be", "unknown"),
        ("a.pkl", b"(dp0\n.", "unknown"),
        ("a.pt", b"ctorch._utils\n_rebuild_tensor_v2\n", "unknown"),
        ("a.bin", b"error" * 20_000, "unknown"),
        ("a.onnx", b"\x08\x07\x12\x04test", "onnx"),
        ("a.onnx", b"something else", "unknown"),
        ("weights", b"anything", "unknown"),
        ("a.engine", b"\x00\x00\x00\x01", "unknown"),
        ("page.html", b"<html>", "unknown"),
        ("a.yaml", b"model: {}", "unknown"),
        ("config.json", b'{"error": 1}', "unknown"),
        ("a.task", b"PK\x03\x04", "zip-pickle"),
    ],
)
def test_whole_and_unknown_files_are_healthy(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    facts = check(tmp_path, name, content)
    assert (facts.format, facts.problem, facts.problem_code) == (kind, None, None)


HTML = b"\xef\xbb\xbf\n <!DOCTYPE html><html><head><title>Sign in</title>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 6938\n"


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("a.safetensors", b"", "empty", "0 bytes"),
        ("a", b"", "empty", "0 bytes"),
        ("a.safetensors", HTML, "html-page", "web page"),
        ("a.ckpt", HTML, "html-page", "web page"),
        ("weights", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "html-page", "web page"),
        ("a.safetensors", LFS, "lfs-pointer", "LFS"),
        ("a.gguf", LFS, "lfs-pointer", "LFS"),
        ("a.json", LFS, "lfs-pointer", "LFS"),
        ("a.safetensors", b'{"error":"Early Access","deadline":"x"}', "server-answer", "Early Access"),
        ("a.pth", b'{"message":"too\\u001b[31m many"}', "server-answer", "too [31m many"),
        ("a.pth", b'{"error":{"code":3}}', "server-answer", "JSON"),
        ("a.gguf", b"[]", "server-answer", "JSON"),
        ("a.bin", b'{"detail":" "}', "server-answer", "no text"),
        ("a.safetensors", b"Entry not found", "server-answer", "Entry not found"),
        ("a.safetensors", bytes(5000), "zeros", "zeros"),
        ("a.ckpt", bytes(5000), "zeros", "zeros"),
        ("a.safetensors", b"short", "header-invalid", "no header"),
        ("a.safetensors", b'{ no "json', "header-invalid", "no header"),
        ("a.safetensors", "Forbidden \u00e9".encode(), "header-invalid", "no header"),
        ("a.safetensors", safetensors(3)[:-1], "truncated", "of"),
        ("a.safetensors", safetensors(3)[:60], "truncated", "inside the header"),
        ("a.safetensors", safetensors(3, extra=b"!"), "trailing-bytes", "1 bytes more"),
        ("a.safetensors", with_header(b'{"a":1}'), "header-invalid", "not describe a tensor"),
        ("a.safetensors", b"\xff" * 8 + b"{" + bytes(100), "header-invalid", "100 MB"),
        ("a.safetensors", pickle.dumps({"a": 1}), "wrong-container", "a pickle named as safetensors"),
        ("a.safetensors", torch_zip(), "wrong-container", "zip"),
        ("a.safetensors", gguf(1), "wrong-container", "GGUF"),
        ("a.safetensors", b"\x89PNG\r\n\x1a\n", "wrong-container", "PNG"),
        ("a.ckpt", safetensors(3), "wrong-container", "safetensors named as .ckpt"),
        ("a.bin", safetensors(3), "wrong-container", "safetensors named as .bin"),
        ("a.pt", b"Rar!\x1a\x07", "wrong-container", "RAR"),
        ("a.gguf", b"nothing known", "wrong-container", "not a GGUF"),
        ("a.gguf", pickle.dumps([1]), "wrong-container", "a pickle named as GGUF"),
        ("a.gguf", b"\x1f\x8b1234", "wrong-container", "gzip"),
        ("a.gguf", gguf(2)[:20], "truncated", "20 bytes"),
        ("a.gguf", gguf(2, version=9), "header-invalid", "version 9"),
        ("a.gguf", gguf(10_000)[:4096], "truncated", "10000 tensors"),
        ("a.ckpt", torch_zip()[:-2000], "truncated", "no end"),
        ("a.pt", b"Quota exceeded for this file.\n", "wrong-container", "a text"),
        ("a.pth", b"c is no sign of a pickle", "wrong-container", "a text"),
        ("a.ckpt", b"<!-- saved from url --><html>", "html-page", "web page"),
    ],
)
def test_unloadable_files_have_a_code_and_a_reason(
    tmp_path: Path, name: str, content: bytes, code: str, words: str
) -> None:
    facts = check(tmp_path, name, content)
    assert facts.problem_code == code
    assert facts.problem is not None
    assert words in facts.problem
    assert facts.problem.isprintable()


def test_long_server_answer_is_shortened(tmp_path: Path) -> None:
    facts = check(tmp_path, "a.safetensors", b'{"error":"' + b"x" * 9000 + b'"}')
    assert facts.problem_code == "server-answer"
    assert facts.problem is not None
    assert len(facts.problem) < 200


def test_pickle_is_never_executed(tmp_path: Path) -> None:
    marker = tmp_path / "PWN"
    evil = pickle.dumps(Payload(marker))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", evil)
    for name in ("a.ckpt", "a.pkl", "a.safetensors", "a.gguf", "a.bin", "a"):
        check(tmp_path, name, evil)
        check(tmp_path, f"zip-{name}", stream.getvalue())
    assert not marker.exists()
    pickle.loads(evil)  # noqa: S301 - shows that the payload would have worked
    assert marker.exists()


def test_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    assert check_header(tmp_path / "a.safetensors", 10).problem_code == "not-regular"


@pytest.mark.parametrize("name", ["absent.safetensors", "a\0b.safetensors"])
def test_file_that_cannot_be_opened_is_unreadable(tmp_path: Path, name: str) -> None:
    facts = check_header(f"{tmp_path}/{name}", 10)
    assert facts.problem_code == "unreadable"


def test_read_error_is_reported_as_unreadable() -> None:
    facts = check_header("/proc/self/mem", 4096)
    assert facts.problem_code == "unreadable"
