"""kill -9 at any moment of a change of the environment: truth and environment agree, and production imports."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from comfywatchman.base import failpoints
from comfywatchman.governance.environments.rollback import read_operations
from comfywatchman.governance.environments.staging import read_registry
from tests.governance.changes import CHECKOUT, assert_consistent
from tests.governance.contexts import Site, build_site
from tests.mutation import repeatable

KILLS = int(os.environ.get("GOVERNED_KILLS", "1000"))
STAGES = ("gov.build_", "gov.snapshot_", "gov.before_", "gov.after_", "gov.prune_", "files.before_", "files.after_re")
POINTS = sorted(name for name in failpoints.NAMES if name.startswith(STAGES))
NODES = {"a": ["oldlet"], "b": ["deeplet"], "c": ["plainlet"], "d": ["numlet==1.0"], "e": ["corelet"]}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = build_site(tmp_path)
    site.configure(rollback={"snapshot_retention": 6}, runtime={"keep_generations": 2}, tx={"probe": False})
    for node, lines in NODES.items():
        folder = site.comfyui / "custom_nodes" / node
        folder.mkdir()
        (folder / "requirements.txt").write_text("\n".join(lines))
    return site


def chosen(site: Site, rng: random.Random, *, by_commands: bool) -> list[str]:
    """Choose a change that can be made now, at the level of the commit or at that of the commands."""
    put, take = ("chain", "drop") if by_commands else ("promote", "remove")
    registered = sorted(read_registry(site.layout).plugins)
    what = rng.choice([put, put, take, "rollback", "undo"])
    if what == put or (what == take and not registered):
        node = rng.choice(sorted(NODES))
        return [put, node, *NODES[node]]
    if what == take:
        return [take, rng.choice(registered)]
    return [what, str(rng.randrange(20))]


def start(site: Site, change: list[str], failpoint: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.governance.changes", str(site.folder), *change],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), failpoints.VARIABLE: failpoint},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_killed_at_a_point(site: Site, change: list[str], rng: random.Random) -> bool:
    point = rng.choice(POINTS)
    turn = rng.randrange(1, 25 if point.startswith("files.") else 4)
    process = start(site, change, f"{point}#{turn}=kill")
    _, errors = process.communicate(timeout=250)
    assert process.returncode in {0, -signal.SIGKILL}, errors
    return process.returncode != 0


def is_killed_within(site: Site, change: list[str], seconds: float) -> bool:
    """Let a change open the ground, and kill it a moment later; what uv it started goes on by itself."""
    with start(site, change) as process:
        assert process.stdout
        assert process.stdout.readline() == "opened\n"
        time.sleep(seconds)
        process.kill()
        return process.wait() == -signal.SIGKILL


def kill_often(site: Site, kills: int, *, by_commands: bool = False) -> dict[str, int]:
    """Kill changes at fault points and at random moments, and now and then their recovery too; hold all after each."""
    rng = repeatable(kills)
    longest = 0.3
    figures = {"rounds": 0, "killed": 0, "at a point": 0, "killed in recovery": 0, "came through": 0}
    while figures["killed"] + figures["killed in recovery"] < kills:
        figures["rounds"] += 1
        assert figures["rounds"] < 4 * kills, figures
        before = read_operations(site.layout)
        at_point = rng.random() < 0.5
        change = chosen(site, rng, by_commands=by_commands)
        if at_point:
            was_killed = is_killed_at_a_point(site, change, rng)
        else:
            was_killed = is_killed_within(site, change, rng.uniform(0, longest))
            longest = 1.05 * longest if was_killed else 0.9 * longest
        figures["killed"] += was_killed
        figures["at a point"] += was_killed and at_point
        while site.layout.journal.exists() and rng.random() < 0.5:
            figures["killed in recovery"] += is_killed_at_a_point(site, ["recover"], rng)
        with site.opened():
            assert_consistent(site)
        after = read_operations(site.layout)
        assert [one.op_id for one in after][: len(before)] == [one.op_id for one in before], "an operation was lost"
        figures["came through"] += was_killed and len(after) > len(before)
    return figures


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_at_fault_points_and_random_moments_are_survived(site: Site) -> None:
    figures = kill_often(site, 15)
    assert figures["at a point"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_of_whole_commands_are_survived(site: Site) -> None:
    figures = kill_often(site, 5, by_commands=True)
    assert figures["killed"] >= 1


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_kills_of_whole_commands_are_survived_many_times(site: Site) -> None:
    figures = kill_often(site, KILLS // 4, by_commands=True)
    print(figures)  # noqa: T201 - figures for whoever runs the torture suite
    assert figures["came through"] >= KILLS // 80


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_a_thousand_kills_at_fault_points_and_random_moments_are_survived(site: Site) -> None:
    figures = kill_often(site, KILLS)
    print(figures)  # noqa: T201 - figures for whoever runs the torture suite
    assert figures["came through"] >= KILLS // 20
