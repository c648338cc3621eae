"""READY is what a real server accepts: official workflows and mutants of them, with the server asked and not asked."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from tests.real_comfyui.truth import Comparison, HostKind, compare_host

if TYPE_CHECKING:
    from scripts.real_comfyui import Installed

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

SAMPLE: Final = {
    "90 % of the models": HostKind(models=0.9, seed=2, every=3, mutants=4),
    "97 % of the models, pictures required": HostKind(
        models=0.97, pictures=0.6, are_required=True, seed=4, every=3, mutants=4
    ),
}
"""Hosts of `make check`."""

WHOLE: Final = {
    "60 % of the models, all": HostKind(models=0.6, seed=5, mutants=60),
    "90 % of the models, all": HostKind(models=0.9, seed=6, mutants=60),
    "97 % of the models, every second": HostKind(models=0.97, seed=3, every=2, mutants=6),
    "97 % of the models, all": HostKind(models=0.97, seed=7, mutants=60),
    "90 % of the models, pictures required, all": HostKind(
        models=0.9, pictures=0.6, are_required=True, seed=8, mutants=60
    ),
}
"""Hosts of `make truth`."""

MODES: Final = ("asked", "not asked")
"""Cycles beside the running server, and without it from the source alone."""

LISTED: Final = 10
"""How many of the wrong verdicts are printed with their names."""


@pytest.fixture(
    scope="module",
    params=[
        *[pytest.param(kind, id=name) for name, kind in SAMPLE.items()],
        *[pytest.param(kind, id=name, marks=pytest.mark.truth) for name, kind in WHOLE.items()],
    ],
)
def host(
    request: pytest.FixtureRequest, real_comfyui_installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Comparison]:
    base, home = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("home")
    return compare_host(real_comfyui_installed, request.param, base, home)


@pytest.mark.parametrize("mode", MODES)
def test_no_ready_workflow_is_refused(
    host: dict[str, Comparison], mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lies = host[mode].find_lies()
    with capsys.disabled():
        sys.stdout.write(_describe(mode, host[mode], lies))
    assert {name: sorted(kinds) for name, kinds in lies.items()} == {}


@pytest.mark.parametrize("mode", MODES)
def test_accepted_workflows_are_ready_or_named(host: dict[str, Comparison], mode: str) -> None:
    assert host[mode].find_denials() == {}


def test_the_comparison_has_both_sides(host: dict[str, Comparison]) -> None:
    for comparison in host.values():
        assert comparison.entries.keys() == comparison.answers.keys()
        table = comparison.table()
        assert table["READY", "accepted"] >= 50
        assert sum(count for (_, answer), count in table.items() if answer == "refused") >= 100
    assert set(MODES) == host.keys()


def _describe(mode: str, comparison: Comparison, lies: dict[str, set[str]]) -> str:
    counts = Counter(kind for kinds in lies.values() for kind in kinds)
    rows = [f"  {kind}: {count}" for kind, count in sorted(counts.items())]
    table = ", ".join(f"{status} {answer} {count}" for (status, answer), count in sorted(comparison.table().items()))
    title = f"\nserver {mode}: {len(comparison.answers)} workflows ({table}); READY but refused: {len(lies)}"
    return (
        "\n".join([title, *rows, *(f"    {name}: {sorted(kinds)}" for name, kinds in sorted(lies.items())[:LISTED])])
        + "\n"
    )
