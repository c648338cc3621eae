from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import pytest

from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.governance.uv.client import Uv, find_uv
from comfywatchman.governance.uv.file_hashes import find_file_hashes, parse_hashes
from tests.governance.wheels import add_wheel
from tests.servers.base import LocalServer, Reply

A, B = "a" * 64, "b" * 64


def test_pins_with_hashes_are_parsed() -> None:
    text = (
        f"Tiny==1.0 \\\n    --hash=sha256:{B} \\\n    --hash=sha256:{A}\nbare==2.0\nother==1 --hash=sha256:{A}\n-e .\n"
    )
    tiny, bare = InstalledPackage("tiny", "1.0"), InstalledPackage("bare", "2.0")
    assert parse_hashes(text, {"tiny": tiny, "bare": bare}) == {tiny: (A, B)}


@pytest.mark.slow
def test_hashes_come_from_the_index_and_unknown_packages_are_left_out(tmp_path: Path) -> None:
    wheel = add_wheel(tmp_path, "tiny", "1.0")
    digest = sha256(wheel.read_bytes()).hexdigest()
    link = f'<a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a>'
    pages = {
        "/simple/tiny/": Reply(link.encode(), headers={"content-type": "text/html"}),
        f"/files/{wheel.name}": Reply(wheel.read_bytes()),
    }
    with LocalServer(pages) as server:
        options = NetworkTable(
            offline=False,
            cache_dir=str(tmp_path / "cache"),
            index_url=f"{server.url}/simple",
            no_index=False,
            find_links=(),
        )
        uv = Uv(find_uv(), {}, options)
        tiny = InstalledPackage("tiny", "1.0")
        wanted = [tiny, InstalledPackage("nobody", "1.0"), InstalledPackage("tiny-other", "3.0")]
        assert find_file_hashes(uv, wanted, python=Path(sys.executable)) == {tiny: (digest,)}
        assert find_file_hashes(uv, [InstalledPackage("tiny", "2.0")], python=Path(sys.executable)) == {}


@pytest.mark.slow
def test_broken_uv_gives_no_hashes(tmp_path: Path) -> None:
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\necho 'error: something else' >&2\nexit 2\n")
    program.chmod(0o700)
    options = NetworkTable(offline=True, cache_dir="", index_url="", no_index=True, find_links=())
    assert find_file_hashes(Uv(program, {}, options), [InstalledPackage("a", "1")], python=Path(sys.executable)) == {}
