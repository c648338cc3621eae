"""Outputs of every kind: chosen, fetched, hashed and named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.outputs import OutputFile
from comfywatchman.jobs.execution.outputs import choose_files, fetch_outputs, hash_file, write_outputs
from comfywatchman.jobs.execution.prompt_run import invoke_comfyui
from tests.servers.comfyui import FakeComfyUI

PREVIEW = OutputFile("1", "images", "p.png", type="temp")
PICTURE = OutputFile("2", "images", "a.png")
SOURCE = OutputFile("3", "images", "in.png", type="input")


def test_previews_are_kept_only_without_lasting_files() -> None:
    assert choose_files([PREVIEW, PICTURE, SOURCE, PICTURE]) == (PICTURE,)
    assert choose_files([PREVIEW, SOURCE]) == (PREVIEW,)
    assert choose_files([SOURCE]) == ()


def test_files_of_every_kind_are_fetched(tmp_path: Path) -> None:
    names = ["a.png", "b.MP4", "c.flac", "d.glb", "e", "f.p/ng"]
    contents = {name: name.encode() * 1000 for name in names}
    files = [OutputFile(str(number), "gifs", name) for number, name in enumerate(names)]
    with FakeComfyUI() as server, HttpSession(timeout_seconds=60) as session:
        server.files |= contents
        saved = fetch_outputs(session, server.url, files, tmp_path, base_name="cat")
    assert [file.name for file in saved] == ["cat.png", "cat_2.mp4", "cat_3.flac", "cat_4.glb", "cat_5", "cat_6"]
    for file in saved:
        content = (tmp_path / file.name).read_bytes()
        assert content == contents[file.source]
        assert (file.size_bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_missing_output_is_a_failure(tmp_path: Path) -> None:
    with FakeComfyUI() as server, HttpSession(timeout_seconds=60) as session, pytest.raises(Failure) as caught:
        fetch_outputs(session, server.url, [PICTURE], tmp_path, base_name="cat")
    assert caught.value.code == "http-status"
    assert list(tmp_path.iterdir()) == []


def test_file_that_vanished_cannot_be_hashed(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        hash_file(tmp_path / "none")
    assert caught.value.code == "file-unreadable"


def test_result_of_a_prompt_is_written(tmp_path: Path) -> None:
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "cat"}},
    }
    with FakeComfyUI() as server:
        result = invoke_comfyui(server.url, prompt, 60)
        written = write_outputs(result, {"folder": str(tmp_path / "a" / "b"), "name": "cat"})
    assert written["saved"] == [str(tmp_path / "a" / "b" / "cat.png")]
    assert written["bytes"] == Path(written["saved"][0]).stat().st_size
    assert len(written["hash"]) == 64


def test_folder_that_cannot_be_created_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Failure) as caught:
        write_outputs({"outputs": [], "api_base_url": "http://127.0.0.1:9"}, {"folder": str(tmp_path / "file" / "x")})
    assert caught.value.code == "state-unwritable"
