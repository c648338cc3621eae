from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app import version_wheelhouses
from comfywatchman.governance.store.settings import NetworkTable

PROGRAM = """#!/bin/sh
folder=$(dirname "$0")
printf '%s\\n' "$@" > "$folder/arguments"
printf '%s' "$PIP_FIND_LINKS" > "$folder/find_links"
printf '%s' "$PIP_INDEX_URL" > "$folder/index_url"
"""


def test_addresses_of_packages_are_no_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(PROGRAM)
    python.chmod(0o755)
    (tmp_path / "my wheels").mkdir()
    monkeypatch.chdir(tmp_path)
    network = NetworkTable(
        offline=False,
        cache_dir="",
        index_url="https://user:sesame@host.example/simple",
        no_index=True,
        find_links=("https://user:sesame@host.example/my wheels", "my wheels"),
    )
    version_wheelhouses._run_pip(python, network, ["--require-hashes"], tmp_path / "target")
    arguments = (tmp_path / "arguments").read_text()
    assert "sesame" not in arguments
    assert arguments.splitlines()[-2:] == ["--require-hashes", "--no-index"]
    assert (tmp_path / "index_url").read_text() == network.index_url
    page, folder = (tmp_path / "find_links").read_text().split()
    assert page == "https://user:sesame@host.example/my%20wheels"
    assert folder == (tmp_path / "my wheels").as_uri()
