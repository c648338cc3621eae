"""No workflow is called READY that a real server would refuse."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.workflow.reader import read_workflow
from scripts.real_comfyui import Installed, start
from tests.real_comfyui.sandbox import FOLDERS, write_model
from tests.real_comfyui.truth import SENTINEL, ask, corpus, named_models, place_models, place_pictures, with_separators

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

SPELLINGS = ("\\", "/", None)
"""How workflows name a model of a subfolder: as on Windows, as the server does, or without the subfolder."""


@dataclass(frozen=True)
class Judged:
    """What the product and the server say of the same workflows.

    Attributes:
        statuses: The product's verdict by file name.
        refusals: Why the server would refuse, by file name; empty where it would not.
        known: Names of those whose node classes the server knows, all of them.
    """

    statuses: dict[str, str]
    refusals: dict[str, list[str]]
    known: set[str]

    def table(self) -> Counter[tuple[str, str]]:
        """Return how many workflows have each pair of verdicts."""
        return Counter((self.statuses[name], "refused" if why else "accepted") for name, why in self.refusals.items())


@pytest.fixture(
    scope="module",
    params=[(1, 0.6, False, False), (2, 0.97, False, False), (1, 0.6, True, False), (3, 0.97, False, True)],
    ids=[
        "60 % of the models",
        "97 % of the models",
        "60 % of the models, the server asked",
        "97 % of the models, pictures required",
    ],
)
def judged(
    request: pytest.FixtureRequest, real_comfyui_installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> Judged:
    seed, share, is_asked, are_required = request.param
    base, home = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("home")
    contents = fill(base, real_comfyui_installed, seed=seed, share=share)
    server = start(real_comfyui_installed, base)
    try:
        truth = ask(server)
        statuses = verdicts(
            real_comfyui_installed, base, home, url=server.url if is_asked else "", require_inputs=are_required
        )
    finally:
        server.stop()
    table = load_builtin_table()
    read = {name: read_workflow(content, table=table) for name, content in contents.items()}
    refusals = {name: truth.refusals(workflow) for name, workflow in read.items()}
    if are_required:
        refusals = {name: [*why, *truth.input_refusals(read[name])] for name, why in refusals.items()}
    known = {name for name, why in refusals.items() if not any("unknown class" in reason for reason in why)}
    return Judged(statuses, refusals, known)


def fill(base: Path, installed: Installed, *, seed: int, share: float) -> dict[str, bytes]:
    """Write models and workflows; return the workflows."""
    for folder in FOLDERS:
        write_model(base / "models" / folder / SENTINEL)
    contents = corpus(installed.templates)
    models = named_models(contents.values())
    inner = place_models(base, models, share=share, chance=random.Random(seed))  # noqa: S311 - a repeatable choice
    place_pictures(base, contents.values(), share=0.6, chance=random.Random(seed))  # noqa: S311 - the same
    workflows = base / "user" / "default" / "workflows"
    workflows.mkdir(parents=True)
    for number, (name, content) in enumerate(contents.items()):
        separator = SPELLINGS[number % len(SPELLINGS)]
        if separator is not None:
            contents[name] = with_separators(content, inner, separator=separator)
        (workflows / name).write_bytes(contents[name])
    return contents


def verdicts(installed: Installed, base: Path, home: Path, *, url: str, require_inputs: bool) -> dict[str, str]:
    """Run one cycle as a person would and return the status of each workflow by file name."""
    config = home / "test.toml"
    config.write_text(
        f'[comfyui]\nroot = "{installed.tree}"\nbase_directory = "{base}"\nurl = "{url}"\n'
        '[nodes]\nask_registry = false\nclass_map_url = ""\n[schedule]\nmin_vram_gb = 0.0\n'
        "[search]\nbudget_seconds = 0.0\n"
        f"[workflows]\nrequire_inputs = {str(require_inputs).lower()}\n"
    )
    program = Path(sys.executable).with_name("comfywatchman")
    command = [program, "--run-cycle", "--home", home, "--config", config]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((home / "output" / "reports" / "status" / "master_status.json").read_bytes())
    assert report["host"]["comfyui_running"] is bool(url)
    return {Path(entry["path"]).name: entry["status"] for entry in report["workflows"]}


def test_no_workflow_is_called_ready_that_the_server_would_refuse(judged: Judged) -> None:
    lies = {name: why for name, why in judged.refusals.items() if why and judged.statuses[name] == "READY"}
    assert lies == {}


def test_every_workflow_that_the_server_accepts_is_called_ready(judged: Judged) -> None:
    denied = {name for name, why in judged.refusals.items() if not why and judged.statuses[name] != "READY"}
    assert denied == set()


def test_the_comparison_is_large_and_has_both_sides(judged: Judged) -> None:
    accepted_and_ready = judged.table()["READY", "accepted"]
    assert judged.statuses.keys() == judged.refusals.keys()
    assert len(judged.known) >= 200
    assert accepted_and_ready >= 100
    assert len(judged.refusals) - accepted_and_ready >= 100
