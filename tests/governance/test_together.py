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

pytestmark = pytest.mark.slow

LOCK_HELD = 75


def test_concurrent_changes_lose_no_change(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    wanted = {f"n{number}": ("plainlet", "oldlet", "deeplet")[number % 3] for number in range(8)}
    command = [sys.executable, "-m", "tests.governance.changes", str(site.folder), "promote"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    running = [subprocess.Popen([*command, node, line], env=environment) for node, line in wanted.items()]
    assert [process.wait(250) for process in running] == [0] * 8
    groups = truth.parse_groups(site.layout.pyproject.read_text())
    assert {node: groups[truth.node_group(node)] for node in wanted} == {n: (line,) for n, line in wanted.items()}
    assert set(read_registry(site.layout).plugins) == set(wanted)
    assert len(read_operations(site.layout)) == 9
    assert_consistent(site)


def test_concurrent_commands_lose_no_node(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    wanted = [f"n{number}" for number in range(8)]
    for node in wanted:
        (site.comfyui / "custom_nodes" / node).mkdir()
    gov = [sys.executable, "-m", "comfywatchman", "env", "--root", str(site.root), "--comfyui", str(site.comfyui)]
    waiting = wanted
    while waiting:
        commands = {node: [*gov, "node", "add", "--adopt", node] for node in waiting}
        running = {node: subprocess.Popen(argv, stdout=subprocess.DEVNULL) for node, argv in commands.items()}
        ended = {node: process.wait(250) for node, process in running.items()}
        assert set(ended.values()) <= {0, LOCK_HELD}
        assert 0 in ended.values()
        # On a slow machine the last ones wait for more than a minute, and are to be called again.
        waiting = [node for node, status in ended.items() if status == LOCK_HELD]
    assert sorted(read_registry(site.layout).plugins) == wanted
    assert len(read_operations(site.layout)) == 9
    assert_consistent(site)
