"""Several commands at the same time: each one's change is there at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.governance.environments.rollback import read_operations
from comfywatchman.governance.environments.staging import read_registry
from comfywatchman.governance.store import truth
from tests.governance.changes import CHECKOUT, assert_consistent
from tests.governance.contexts import build_site


@pytest.mark.slow
def test_concurrent_changes_lose_no_change(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    wanted = {f"n{number}": ("plainlet", "oldlet", "deeplet")[number % 3] for number in range(8)}
    command = [sys.executable, "-m", "tests.governance.changes", str(site.folder), "promote"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    running = [subprocess.Popen([*command, node, line], env=environment) for node, line in wanted.items()]
    assert [process.wait(100) for process in running] == [0] * 8
    groups = truth.parse_groups(site.layout.pyproject.read_text())
    assert {node: groups[truth.node_group(node)] for node in wanted} == {n: (line,) for n, line in wanted.items()}
    assert set(read_registry(site.layout).plugins) == set(wanted)
    assert len(read_operations(site.layout)) == 9
    assert_consistent(site)


@pytest.mark.slow
def test_concurrent_commands_lose_no_node(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    wanted = [f"n{number}" for number in range(8)]
    for node in wanted:
        (site.comfyui / "custom_nodes" / node).mkdir()
    gov = [sys.executable, "-m", "comfywatchman", "env", "--root", str(site.root), "--comfyui", str(site.comfyui)]
    running = [subprocess.Popen([*gov, "node", "add", "--adopt", node], stdout=subprocess.DEVNULL) for node in wanted]
    assert [process.wait(100) for process in running] == [0] * 8
    assert sorted(read_registry(site.layout).plugins) == wanted
    assert len(read_operations(site.layout)) == 9
    assert_consistent(site)
