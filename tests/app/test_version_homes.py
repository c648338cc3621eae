from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app import version_homes
from comfywatchman.app.version_homes import HomeOptions, build_home_tools, choose_home_link_mode
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.governance.uv.client import Uv
from comfywatchman.versions.home import VersionHome
from comfywatchman.versions.initialization import HomeRequest

NETWORK = NetworkTable(offline=True, cache_dir="", index_url="", no_index=True, find_links=())
OPTIONS = HomeOptions(python=None, network=NETWORK, allow_local=False, with_start=False, use_cpu=False)


def find_cache(folder: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str | None) -> str:
    """Return the cache that uv gets for a home on a filesystem."""
    caches: list[str] = []

    class RecordingUv(Uv):
        def __init__(self, path: Path, network: dict[str, str], options: NetworkTable, *, dies_with_us: bool) -> None:
            caches.append(options.cache_dir)
            super().__init__(path, network, options, dies_with_us=dies_with_us)

    monkeypatch.setattr(version_homes, "find_network_filesystem", lambda _folder: filesystem)
    monkeypatch.setattr(version_homes, "Uv", RecordingUv)
    request = HomeRequest(repo="https://example.org/c.git", ref="", torch="cpu", environment=None)
    home = VersionHome(folder / "not" / "there")
    build_home_tools(home, request, OPTIONS, confirm=lambda _files: None, progress=lambda _text: None)
    return caches[0]


def test_cache_is_on_the_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    assert find_cache(tmp_path, monkeypatch, "fuse.mfs") == str(tmp_path / "not" / "there" / ".cache" / "uv")
    assert find_cache(tmp_path, monkeypatch, None) == ""


def test_cache_that_the_user_named_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", "/mine")
    assert find_cache(tmp_path, monkeypatch, "nfs4") == ""


def test_packages_are_never_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_homes, "can_reflink", lambda _folder: True)
    assert choose_home_link_mode(tmp_path, is_on_volume=False) == "clone"
    assert choose_home_link_mode(tmp_path, is_on_volume=True) == "copy"
    monkeypatch.setattr(version_homes, "can_reflink", lambda _folder: False)
    assert choose_home_link_mode(tmp_path, is_on_volume=False) == "copy"
