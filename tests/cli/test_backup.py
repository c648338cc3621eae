from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hosts import Host

pytestmark = pytest.mark.slow


def test_state_is_backed_up_and_restored(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.write("a.json")
    host.cycle()
    file = tmp_path / "state.tar.gz"
    ended = host.invoke("backup", file)
    assert ended.exit_code == 0, ended.output
    assert "Backed up 3 files" in ended.output
    assert f"backup --restore {file}" in ended.output
    (host.home / "state" / "workflows.json").write_bytes(b"{")
    restored = json.loads(host.invoke("backup", file, "--restore", "--json").stdout)
    assert len(restored["replaced"]) == 3
    assert "Restored 3 files" in host.invoke("backup", file, "--restore").output
    assert host.cycle().record.read == 0
