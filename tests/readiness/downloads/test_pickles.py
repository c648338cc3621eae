from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.readiness.downloads.pickles import build_file_check
from tests.model_files import gguf, put, safetensors


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, ("touch pwned",))


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return stream.getvalue()


EVIL = pickle.dumps(Payload())
TAME = pickle.dumps({"a": [1, 2, 3]}, protocol=2)


def looked_at(path: Path, *, allow_pickle: bool) -> Failure | None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return build_file_check(allow_pickle=allow_pickle)(descriptor, path.name, path.stat().st_size)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize(
    ("name", "content"), [("a.safetensors", safetensors()), ("a.gguf", gguf()), ("a.onnx", b"\x08\x07" + bytes(100))]
)
def test_safe_formats_pass(tmp_path: Path, name: str, content: bytes, allow_pickle: bool) -> None:  # noqa: FBT001 - parametrized
    assert looked_at(put(tmp_path / name, content), allow_pickle=allow_pickle) is None


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt", "a.bin", "a.pth", "a.pkl", "a.xyz", "a.onnx"])
@pytest.mark.parametrize(
    "content", [EVIL, TAME, zipped(EVIL), zipped(TAME)], ids=["evil", "tame", "zip evil", "zip tame"]
)
def test_a_pickle_never_passes_without_a_choice(tmp_path: Path, name: str, content: bytes) -> None:
    failure = looked_at(put(tmp_path / name, content), allow_pickle=False)
    assert failure is not None
    assert failure.code == "download-pickle-refused"


@pytest.mark.parametrize("name", ["a.safetensors", "a.gguf", "a.sft"])
@pytest.mark.parametrize("content", [EVIL, zipped(EVIL)])
def test_a_pickle_under_a_safe_name_never_passes(tmp_path: Path, name: str, content: bytes) -> None:
    for allow_pickle in (False, True):
        failure = looked_at(put(tmp_path / name, content), allow_pickle=allow_pickle)
        assert failure is not None
        assert failure.code == "download-wrong-content"


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt", "a.bin"])
@pytest.mark.slow
def test_with_the_choice_a_scan_decides(tmp_path: Path, name: str) -> None:
    pytest.importorskip("picklescan")
    for content in (TAME, zipped(TAME)):
        assert looked_at(put(tmp_path / name, content), allow_pickle=True) is None
    for content in (EVIL, zipped(EVIL)):
        failure = looked_at(put(tmp_path / name, content), allow_pickle=True)
        assert failure is not None
        assert "system" in failure.message
    assert not Path("pwned").exists()


@pytest.mark.slow
def test_what_breaks_the_scanner_does_not_pass(tmp_path: Path) -> None:
    pytest.importorskip("picklescan")
    failure = looked_at(put(tmp_path / "a.pt", b"PK\x03\x04" + bytes(100) + b"PK\x05\x06"), allow_pickle=True)
    assert failure is not None
    assert "could not be scanned" in failure.message


def test_without_a_scanner_nothing_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picklescan", None)
    failure = looked_at(put(tmp_path / "a.pt", TAME), allow_pickle=True)
    assert failure is not None
    assert "pip install" in (failure.hint or "")


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt", "a.gguf", "a.onnx"])
@pytest.mark.parametrize("content", [b"", b"<!doctype html><html>", b'{"error":"Unauthorized"}', b"Entry not found"])
def test_what_is_no_model_never_passes(tmp_path: Path, name: str, content: bytes) -> None:
    for allow_pickle in (False, True):
        failure = looked_at(put(tmp_path / name, content), allow_pickle=allow_pickle)
        assert failure is not None
        assert failure.code == "download-wrong-content"
