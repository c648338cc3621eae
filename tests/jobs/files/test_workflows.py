from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.files.workflows import load_workflows


def load(tmp_path: Path, text: str) -> object:
    (tmp_path / "config").mkdir(exist_ok=True)
    path = tmp_path / "config" / "workflows.yaml"
    path.write_text(text, "utf-8")
    return load_workflows(path)


def test_entry_of_the_original_format_is_complete(tmp_path: Path) -> None:
    text = 'flux:\n  template_path: "workflows/flux.json"\n  required_inputs: ["prompt", "seed"]\n  description: A\n'
    assert load(tmp_path, text) == {
        "flux": {
            "template_path": str(tmp_path / "workflows" / "flux.json"),
            "required_inputs": ["prompt", "seed"],
            "description": "A",
            "inputs": {},
            "defaults": {},
        }
    }


def test_place_of_an_input_is_completed(tmp_path: Path) -> None:
    text = (
        "flux:\n  template_path: /x.json\n  required_inputs: []\n  seed_input: noise\n  prompt_input: words\n"
        "  defaults: {steps: 4}\n"
        "  inputs:\n    steps: {node: 3}\n    picture: {node: '12:5', field: image, kind: file}\n"
    )
    entry = load(tmp_path, text)["flux"]  # type: ignore[index]
    assert entry["inputs"] == {
        "steps": {"node": "3", "field": "steps", "kind": "value"},
        "picture": {"node": "12:5", "field": "image", "kind": "file"},
    }
    assert (entry["template_path"], entry["seed_input"], entry["prompt_input"]) == ("/x.json", "noise", "words")
    assert entry["defaults"] == {"steps": 4}


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n"])
def test_empty_file_has_no_workflows(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == {}


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("w:\n  required_inputs: []\n", 1, "w.template_path"),
        ("w:\n  template_path: ''\n  required_inputs: []\n", 2, "w.template_path"),
        ("w:\n  template_path: [a]\n  required_inputs: []\n", 2, "w.template_path"),
        ("w:\n  template_path: x.json\n", 1, "w.required_inputs"),
        ("w:\n  template_path: x.json\n  required_inputs: prompt\n", 3, "w.required_inputs"),
        ("w:\n  template_path: x.json\n  required_inputs: [1]\n", 3, "w.required_inputs"),
        ("w: x.json\n", 1, "w"),
        ("w:\n  template_path: x.json\n  required_inputs: []\n  descripton: x\n", 4, "w.descripton"),
        ("w:\n  template_path: x.json\n  required_inputs: []\n  description: [1]\n", 4, "w.description"),
        ("w:\n  template_path: x.json\n  required_inputs: []\n  seed_input: 5\n", 4, "w.seed_input"),
        ("w:\n  template_path: x.json\n  required_inputs: []\n  defaults: [1]\n", 4, "w.defaults"),
        ("w:\n  template_path: x.json\n  required_inputs: []\n  inputs: [1]\n", 4, "w.inputs"),
        ("w:\n  template_path: x.json\n  required_inputs: []\n  inputs:\n    a: 6\n", 5, "w.inputs.a"),
        ("w:\n  template_path: x.json\n  required_inputs: []\n  inputs:\n    a: {node: true}\n", 5, "w.inputs.a"),
        (
            "w:\n  template_path: x\n  required_inputs: []\n  inputs:\n    a: {node: 6, feild: x}\n",
            5,
            "w.inputs.a.feild",
        ),
        (
            "w:\n  template_path: x\n  required_inputs: []\n  inputs:\n    a: {node: 6, field: 7}\n",
            5,
            "w.inputs.a.field",
        ),
        ("w:\n  template_path: x\n  required_inputs: []\n  inputs:\n    a: {node: 6, kind: x}\n", 5, "w.inputs.a.kind"),
    ],
)
def test_invalid_entry_is_refused_with_line_and_field(tmp_path: Path, text: str, line: int, field: str) -> None:
    with pytest.raises(ValueError, match=r"workflows\.yaml cannot be used") as caught:
        load(tmp_path, text)
    assert isinstance(caught.value, JobFileError)
    problem = caught.value.problems[0]
    assert (problem.line, problem.field) == (line, field)


def test_all_entries_are_checked(tmp_path: Path) -> None:
    with pytest.raises(JobFileError) as caught:
        load(tmp_path, "a: 1\nb: 2\n")
    assert [problem.field for problem in caught.value.problems] == ["a", "b"]


def test_mistyped_field_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="Did you mean 'template_path'"):
        load(tmp_path, "w:\n  template_pat: x.json\n  required_inputs: []\n")


def test_absent_and_invalid_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="It does not exist"):
        load_workflows(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="not valid YAML"):
        load(tmp_path, "a: [1\n")
