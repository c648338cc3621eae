from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.outputs import OutputFile, download_output, list_cached_nodes, list_output_files
from comfywatchman.comfyui.server.prompt_client import PromptClient
from tests.servers.base import Asked, LocalServer, Page, Reply
from tests.servers.comfyui import FakeComfyUI

CONTENT = bytes(range(256)) * 400
FILE = OutputFile("9", "images", "a b.png", "sub", "temp")


def test_files_are_listed_by_node_and_output() -> None:
    entry = {
        "outputs": {
            "9": {"images": [{"filename": "b.png", "subfolder": "s", "type": "temp"}, {"filename": ""}, "odd"]},
            "10": {"text": ["hello"], "gifs": [{"filename": "a.mp4"}], "animated": [True]},
            "11": None,
        }
    }
    assert list_output_files(entry) == (
        OutputFile("10", "gifs", "a.mp4", "", "output"),
        OutputFile("9", "images", "b.png", "s", "temp"),
    )
    assert list_output_files({}) == ()


def test_nodes_that_the_cache_answered_are_listed() -> None:
    messages = [["execution_start", {}], ["execution_cached", {"nodes": ["1", 2, "3"]}], ["execution_cached"], 5, None]
    assert list_cached_nodes({"status": {"messages": messages}}) == ("1", "3")
    assert list_cached_nodes({"status": None}) == ()


def test_output_of_a_prompt_is_downloaded(tmp_path: Path) -> None:
    prompt = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "a b/c"}}}
    with FakeComfyUI() as server, PromptClient(server.url) as client:
        prompt_id = client.submit(prompt).prompt_id
        assert client.wait(prompt_id, limit_seconds=20, is_running=lambda: True).outcome == "success"
        entry = client.read_entry(prompt_id)
        assert entry is not None
        (file,) = list_output_files(entry)
        assert download_output(client.session, server.url, file, tmp_path / "made.png") == len(b"\x89PNG made")
    assert (tmp_path / "made.png").read_bytes() == b"\x89PNG made"


class PartialServer:
    """Serves a file in the parts that are requested, until it misbehaves.

    Args:
        fault_at: The number of the request that goes wrong.
        reply: What it answers then; None to close the connection.
    """

    def __init__(self, fault_at: int = -1, reply: Reply | None = None) -> None:
        self.paths: list[str] = []
        self._fault_at = fault_at
        self._reply = reply

    def __call__(self, asked: Asked, _handler: BaseHTTPRequestHandler) -> Reply | None:
        self.paths.append(asked.path)
        if len(self.paths) == self._fault_at:
            return self._reply
        return build_part(asked)


def build_part(asked: Asked) -> Reply:
    first, last = (int(number) for number in asked.headers["range"].removeprefix("bytes=").split("-"))
    part = CONTENT[first : last + 1]
    content_range = f"bytes {first}-{first + len(part) - 1}/{len(CONTENT)}"
    return Reply(part, 206, {"etag": "v1", "content-range": content_range})


def download(page: Page, target: Path) -> int:
    with LocalServer({"/view": page}) as server, HttpSession(timeout_seconds=10) as session:
        return download_output(session, server.url, FILE, target)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfywatchman.comfyui.server.outputs._PART_BYTES", 30_000)


def test_large_output_is_downloaded_in_parts(tmp_path: Path) -> None:
    server = PartialServer()
    assert download(server, tmp_path / "made") == len(CONTENT)
    assert (tmp_path / "made").read_bytes() == CONTENT
    assert server.paths == ["/view?filename=a+b.png&subfolder=sub&type=temp"] * 4


def test_server_may_send_the_whole_file(tmp_path: Path) -> None:
    assert download(PartialServer(1, Reply(CONTENT)), tmp_path / "made") == len(CONTENT)
    assert (tmp_path / "made").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault_at", "reply", "code"),
    [
        (1, Reply(b"404: Not Found", 404), "http-status"),
        (2, Reply(b"500 Internal Server Error", 500), "http-status"),
        (2, Reply(CONTENT), "http-status"),
        (2, Reply(b"x", 206, {"etag": "v2", "content-range": "bytes 30000-30000/102400"}), "http-body"),
        (2, Reply(b"", 206, {"etag": "v1", "content-range": "bytes 30000-30000/102400"}), "http-body"),
        (2, Reply(b"x", 206, {"etag": "v1", "content-range": "bytes 30000-30000/*"}), "http-status"),
        (2, None, "http-unreachable"),
    ],
)
def test_failed_download_leaves_no_file(tmp_path: Path, fault_at: int, reply: Reply | None, code: str) -> None:
    with pytest.raises(Failure) as caught:
        download(PartialServer(fault_at, reply), tmp_path / "made")
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_empty_output_is_downloaded(tmp_path: Path) -> None:
    refusal = Reply(b"", 416, {"content-range": "bytes */0"})
    with LocalServer({"/view": refusal}) as server, HttpSession(timeout_seconds=10) as session:
        assert download_output(session, server.url, FILE, tmp_path / "made") == 0
    assert (tmp_path / "made").read_bytes() == b""


def test_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("old")
    with pytest.raises(Failure) as caught:
        download(PartialServer(), tmp_path / "made")
    assert caught.value.code == "state-unwritable"
    assert (tmp_path / "made").read_text() == "old"
