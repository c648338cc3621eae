"""The references of real workflows against what ComfyUI's own frontend sends to the server for them."""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.references.find import find_references
from comfywatchman.comfyui.workflow.reader import read_workflow
from tests.accuracy.templates import PACKAGE, template_files

Row = tuple[str, str, str, str | None, str]


class Oracle(TypedDict):
    source: str
    templates_package: str
    classes: list[str]
    references: dict[str, list[Row]]


NOT_A_FILE = {("VAELoader", "pixel_space")}
"""Values that the frontend sends and that name no file (the server builds this VAE from nothing)."""


def oracle() -> Oracle:
    content = Path(__file__).with_name("data").joinpath("frontend_oracle.json").read_bytes()
    loaded: Oracle = json.loads(content)
    return loaded


def found_in(content: bytes, listed: frozenset[str]) -> set[Row]:
    table = load_builtin_table()
    references = find_references(read_workflow(content, table=table), table)
    return {
        (one.node_path, one.node_type, one.input, one.folder, one.value)
        for one in references
        if one.active and one.node_type in listed
    }


def show(capsys: pytest.CaptureFixture[str], figures: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")


def test_the_installed_templates_are_those_that_the_oracle_was_made_with() -> None:
    assert f"{PACKAGE}=={version(PACKAGE)}" == oracle()["templates_package"]


@pytest.mark.slow
def test_references_equal_what_the_official_frontend_sends(capsys: pytest.CaptureFixture[str]) -> None:
    known = oracle()
    listed = frozenset(known["classes"])
    templates = template_files()
    right = extra = missed = left_out = 0
    differences = {}
    for name, rows in known["references"].items():
        expected = {tuple(row) for row in rows if (row[1], row[4]) not in NOT_A_FILE}
        left_out += len(rows) - len(expected)
        found = found_in(templates[name], listed)
        right += len(found & expected)
        extra += len(found - expected)
        missed += len(expected - found)
        if found != expected:
            differences[name] = found ^ expected
    precision, recall = right / (right + extra), right / (right + missed)
    show(
        capsys,
        f"{len(known['references'])} templates: precision {precision:.3f}, recall {recall:.3f}, {right} references",
    )
    assert differences == {}
    assert (precision, recall, right, left_out) == (1.0, 1.0, 471, 2)


@pytest.mark.slow
def test_every_template_is_read_without_a_guess() -> None:
    table = load_builtin_table()
    problems = set()
    guessed = []
    for content in template_files().values():
        workflow = read_workflow(content, table=table)
        problems |= {problem.code for problem in workflow.problems}
        guessed += [one for one in find_references(workflow, table) if one.kind == "heuristic"]
    assert len(template_files()) == 506
    assert problems <= {"widget-names-disagree"}
    assert guessed == []


@pytest.mark.slow
def test_every_declared_model_is_found_where_the_author_says(capsys: pytest.CaptureFixture[str]) -> None:
    table = load_builtin_table()
    declared = 0
    absent = []
    for name, content in template_files().items():
        workflow = read_workflow(content, table=table)
        found = {(one.value, one.folder) for one in find_references(workflow, table)}
        for model in workflow.declared:
            declared += 1
            if (model.name, model.directory) not in found:
                absent.append((name, model.name, model.directory))
    show(capsys, f"{declared} declared models, {len(absent)} not found")
    # Here the host of a subgraph sets another model than the one declared inside it; the frontend sends the host's.
    assert absent == [("image_mage_flow_turbo_t2i_int8.json", "mage_flow_int8_convrot.safetensors", "diffusion_models")]


@pytest.mark.slow
def test_reading_is_fast(capsys: pytest.CaptureFixture[str]) -> None:
    table = load_builtin_table()
    files = list(template_files().values())
    start = time.process_time()
    for content in files:
        find_references(read_workflow(content, table=table), table)
    seconds = time.process_time() - start
    show(capsys, f"{len(files) / seconds:,.0f} files of {sum(map(len, files)) / len(files):,.0f} bytes per CPU second")
    # Far below what is measured: coverage, other load and slow cores must not fail it, a quadratic step must.
    assert len(files) / seconds > 20
