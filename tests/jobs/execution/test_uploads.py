"""Uploads to a fake ComfyUI, which reads the form with Python's own parser."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.jobs.execution import uploads
from comfywatchman.jobs.execution.uploads import build_upload_name, upload_input
from comfywatchman.jobs.records import JobInputFile
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import Faults

CONTENT = b"\x89PNG\r\n\r\n--boundary\r\nnot the end\x00\xff"


def send(server: FakeComfyUI, file: JobInputFile) -> uploads.UploadedFile:
    with HttpSession(timeout_seconds=60) as session:
        return upload_input(session, server.url + "/", file)


def test_content_arrives_under_a_name_with_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "my cat.PNG"
    path.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    with FakeComfyUI() as server:
        first = send(server, JobInputFile("image", str(path), sha256))
        second = send(server, JobInputFile("image", str(path), sha256))
        assert server.stored.uploads == {f"cw_{sha256[:16]}_my_cat.PNG": CONTENT}
    assert first == second
    assert (first.name, first.sha256, first.size_bytes) == (f"cw_{sha256[:16]}_my_cat.PNG", sha256, len(CONTENT))
    assert not first.has_changed


def test_changed_content_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(CONTENT)
    with FakeComfyUI() as server:
        assert send(server, JobInputFile("image", str(path), "0" * 64)).has_changed
        assert not send(server, JobInputFile("image", str(path))).has_changed


def test_refused_upload_fails_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(CONTENT)
    with FakeComfyUI(Faults(refuses_uploads=True)) as server, pytest.raises(Failure) as caught:
        send(server, JobInputFile("image", str(path)))
    assert caught.value.code == "http-status"
    assert "--max-upload-size" in (caught.value.hint or "")


def test_missing_file_fails_before_anything_is_sent(tmp_path: Path) -> None:
    with FakeComfyUI() as server, pytest.raises(Failure) as caught:
        send(server, JobInputFile("image", str(tmp_path / "none.png")))
    assert caught.value.code == "file-unreadable"
    assert server.requests == []


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("cat.png", "cat.png"),
        ('a"b\r\nc.png', "a_b_c.png"),
        ("../../etc", "_.._etc"),
        ("...", "file"),
        ("ä" * 300 + ".png", "_.png"),
        ("x" * 300 + ".png", "x" * 76 + ".png"),
    ],
)
def test_names_are_safe(filename: str, expected: str) -> None:
    assert build_upload_name(filename, "0123456789abcdef0") == f"cw_0123456789abcdef_{expected}"
