"""Whether the server at the URL is the watched ComfyUI: by its process, else by its folders and their content."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.server.api import RunningComfyUI, probe_server
from comfywatchman.comfyui.server.identity import (
    Identification,
    ServerIdentity,
    WatchedComfyUI,
    find_option_value,
    find_server_start,
    identify_server,
)
from comfywatchman.comfyui.server.listening import read_start_time
from tests.model_files import put
from tests.servers.base import LocalServer, Reply

MAIN = b"""
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"system": {"argv": sys.argv}}).encode() if self.path == "/system_stats" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
if "--leave" in sys.argv:
    os.chdir("/")
print(server.server_port, flush=True)
server.serve_forever()
"""
NO_PACKS: dict[str, str] = {}


def build_comfyui(root: Path) -> Installation:
    put(root / "main.py", MAIN)
    (root / "custom_nodes").mkdir()
    return Installation(root=root, version=None, base=root)


def build_watched(installation: Installation, **names: list[str]) -> WatchedComfyUI:
    return WatchedComfyUI(installation, resolve_folders(installation)[0], names)


@contextmanager
def run_main(folder: Path, *arguments: str) -> Iterator[RunningComfyUI]:
    """Run a `main.py` that answers `/system_stats` as ComfyUI does."""
    with subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            running = probe_server(f"http://127.0.0.1:{int(process.stdout.readline())}")
            assert running is not None
            yield running
        finally:
            process.kill()


def identify(running: RunningComfyUI, watched: WatchedComfyUI, packs: dict[str, str] = NO_PACKS) -> Identification:
    return identify_server(running, watched, lambda: packs)


@pytest.mark.parametrize(
    "arguments",
    [
        ("main.py",),
        ("./main.py", "--cpu"),
        ("{root}/main.py",),
        ("{link}/main.py",),
        ("-u", "main.py", "--base-directory", "{root}"),
        ("main.py", "--base-directory=."),
        ("main.py", "--base-dir", "{link}"),
        ("{other}/main.py", "--base-directory", "{root}"),
        ("main.py", "--base-directory=/nowhere", "--base-directory={root}"),
    ],
)
@pytest.mark.slow
def test_process_with_the_watched_base_directory_is_the_watched_one(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    installation = build_comfyui(tmp_path / "ComfyUI")
    build_comfyui(tmp_path / "other")
    (tmp_path / "link").symlink_to(tmp_path / "ComfyUI")
    places = {"root": installation.root, "link": tmp_path / "link", "other": tmp_path / "other"}
    with run_main(installation.root, *(text.format(**places) for text in arguments)) as running:
        assert identify(running, build_watched(installation)) == Identification(ServerIdentity.WATCHED)


@pytest.mark.slow
def test_process_of_a_linked_main_belongs_to_the_folder_of_the_file(tmp_path: Path) -> None:
    installation = build_comfyui(tmp_path / "ComfyUI")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "main.py").symlink_to(installation.root / "main.py")
    with run_main(tmp_path / "bin", "main.py") as running:
        assert identify(running, build_watched(installation)).identity is ServerIdentity.WATCHED


@pytest.mark.parametrize(
    ("arguments", "base"),
    [
        (("main.py",), "other"),
        (("{root}/main.py", "--base-directory=data"), "data"),
        (("main.py", "--base-directory", "{root}/models"), "ComfyUI/models"),
    ],
)
@pytest.mark.slow
def test_process_with_another_base_directory_is_another_comfyui(
    tmp_path: Path, arguments: tuple[str, ...], base: str
) -> None:
    installation = build_comfyui(tmp_path / "ComfyUI")
    (installation.root / "models").mkdir()
    build_comfyui(tmp_path / "other")
    (tmp_path / "other" / "data").mkdir()
    with run_main(tmp_path / "other", *(text.format(root=installation.root) for text in arguments)) as running:
        identification = identify(running, build_watched(installation))
    assert identification.identity is ServerIdentity.OTHER
    assert identification.reason.startswith("its base directory is ")
    assert identification.reason.endswith(base)


@pytest.mark.slow
def test_process_that_left_its_folder_proves_nothing(tmp_path: Path) -> None:
    installation = build_comfyui(tmp_path / "ComfyUI")
    with run_main(installation.root, "main.py", "--leave") as running:
        assert identify(running, build_watched(installation)).identity is ServerIdentity.UNKNOWN


@pytest.mark.slow
def test_base_directory_that_is_not_there_proves_nothing(tmp_path: Path) -> None:
    root = build_comfyui(tmp_path / "ComfyUI").root
    apart = Installation(root=root, version=None, base=tmp_path / "unmounted")
    with run_main(root, "main.py") as running:
        assert identify(running, build_watched(apart)).identity is ServerIdentity.UNKNOWN


class TunnelledComfyUI(LocalServer):
    """A ComfyUI of which only the answers can be seen: no process with its arguments listens here."""

    def __init__(self, installation: Installation, **models: list[str]) -> None:
        super().__init__()
        folders = resolve_folders(installation)[0]
        paths = {name: list(map(str, folder.directories)) for name, folder in folders.folders.items()}
        self.paths: dict[str, Any] = {**paths, "custom_nodes": list(map(str, folders.custom_nodes))}
        for name in paths:
            self.pages[f"/models/{name}"] = Reply(json.dumps(models.get(name, [])).encode())

    def answers(self, *argv: str) -> RunningComfyUI:
        self.pages["/internal/folder_paths"] = Reply(json.dumps(self.paths).encode())
        return RunningComfyUI(url=f"{self.url}/", version=None, argv=argv or ("main.py",), replacements={})


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return build_comfyui(tmp_path / "ComfyUI")


def test_server_with_the_watched_folders_and_models_is_the_watched_one(installation: Installation) -> None:
    put(installation.base / "models" / "loras" / "a.pt", b"")
    put(installation.base / "models" / "loras" / "just-downloaded.pt", b"")
    with TunnelledComfyUI(installation, loras=["a.pt", "just-downloaded.pt"], diffusers=["odd"]) as server:
        server.paths["of_a_pack"] = ["/p"]
        watched = build_watched(installation, loras=["a.pt", "just-deleted.pt"])
        assert identify(server.answers(), watched) == Identification(ServerIdentity.WATCHED)


def test_server_with_the_watched_packs_is_the_watched_one(installation: Installation) -> None:
    put(installation.base / "custom_nodes" / "my.pack" / "__init__.py", b"")
    put(installation.base / "custom_nodes" / "single.py", b"")
    packs = {"A": "custom_nodes.my.pack", "B": "custom_nodes.single", "C": "nodes", "D": "comfy_extras.nodes_x"}
    with TunnelledComfyUI(installation) as server:
        assert identify(server.answers(), build_watched(installation), packs).identity is ServerIdentity.WATCHED


def test_server_with_other_folders_is_another_comfyui(installation: Installation) -> None:
    with TunnelledComfyUI(installation) as server:
        # It shares all folders of the watched one through its extra_model_paths.yaml.
        server.paths["custom_nodes"].insert(0, "/app/custom_nodes\0")
        identification = identify(server.answers(str(installation.root / "main.py")), build_watched(installation))
    assert identification.identity is ServerIdentity.OTHER
    assert identification.reason.startswith("it reads node packs from /app/custom_nodes")


@pytest.mark.parametrize(("here", "there", "named"), [([], ["b.pt"], "b.pt"), (["a.pt"], [], "a.pt")])
@pytest.mark.slow
def test_server_with_other_models_is_another_comfyui(
    installation: Installation, here: list[str], there: list[str], named: str
) -> None:
    for name in ("both.pt", *here):
        put(installation.base / "models" / "loras" / name, b"")
    with TunnelledComfyUI(installation, loras=["both.pt", *there]) as server:
        identification = identify(server.answers(), build_watched(installation, loras=["both.pt", *here]))
    assert identification.identity is ServerIdentity.OTHER
    assert f"(loras/{named})" in identification.reason


@pytest.mark.slow
def test_server_with_other_packs_is_another_comfyui(installation: Installation) -> None:
    put(installation.base / "models" / "loras" / "a.pt", b"")
    with TunnelledComfyUI(installation, loras=["a.pt"]) as server:
        watched = build_watched(installation, loras=["a.pt"])
        identification = identify(server.answers(), watched, {"A": "custom_nodes.Absent"})
    assert identification.identity is ServerIdentity.OTHER
    assert "(custom_nodes/Absent)" in identification.reason


@pytest.mark.slow
def test_server_without_anything_to_compare_is_unknown(installation: Installation) -> None:
    with TunnelledComfyUI(installation) as server:
        server.pages["/models/vae"] = Reply(b"no JSON")
        server.paths["loras"].append("/elsewhere")
        server.pages["/models/loras"] = Reply(b'["only-there.pt"]')
        identification = identify(server.answers(), build_watched(installation))
    assert identification.identity is ServerIdentity.UNKNOWN
    assert "neither models nor packs" in identification.reason


def test_server_that_does_not_state_its_folders_is_unknown(installation: Installation) -> None:
    with TunnelledComfyUI(installation) as server:
        running = server.answers(str(installation.root / "main.py"))
        del server.pages["/internal/folder_paths"]
        identification = identify(running, build_watched(installation))
    assert identification.identity is ServerIdentity.UNKNOWN
    assert "does not state its folders" in identification.reason


@pytest.mark.parametrize("base", ["/data", "/a\0b"])
def test_stated_base_directory_is_compared_first(installation: Installation, base: str) -> None:
    with TunnelledComfyUI(installation) as server:
        identification = identify(server.answers("main.py", f"--base-directory={base}"), build_watched(installation))
        assert server.asked == []
    assert identification.identity is ServerIdentity.OTHER


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "ftp://127.0.0.1"])
def test_impossible_address_has_no_process(installation: Installation, url: str) -> None:
    running = RunningComfyUI(url=url, version=None, argv=("main.py", "--base-directory=/data"), replacements={})
    assert identify(running, build_watched(installation)).identity is ServerIdentity.OTHER


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["main.py"], None),
        (["main.py", "--base-directory", "/a"], "/a"),
        (["main.py", "--base-directory=/a=b"], "/a=b"),
        (["main.py", "--ba", "/a"], "/a"),
        (["main.py", "--b", "/a"], None),
        (["main.py", "--base-directory", "/a", "--base-dir=/b"], "/b"),
        (["main.py", "--base-directory"], None),
        (["main.py", "--base-directory-of-mine", "/a"], None),
        (["main.py", "--base-directory="], ""),
    ],
)
def test_option_is_read_as_argparse_reads_it(argv: list[str], value: str | None) -> None:
    assert find_option_value(argv, "--base-directory", shortest="--ba") == value


@pytest.mark.slow
def test_start_of_a_server_tells_its_processes_apart(tmp_path: Path) -> None:
    installation = build_comfyui(tmp_path)
    with run_main(installation.root, "main.py") as first:
        start = find_server_start(first)
        assert start is not None
        assert find_server_start(first) == start
    assert find_server_start(first) is None
    with run_main(installation.root, "main.py") as second:
        assert find_server_start(second) not in {None, start}
    assert read_start_time(0) is None
