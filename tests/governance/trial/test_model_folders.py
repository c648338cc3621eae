from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.governance.trial.model_folders import find_model_inputs
from comfywatchman.governance.trial.scratch import EMPTY_SAFETENSORS, create_base_directory, parse_folder_paths

NAMES = {
    "vae": frozenset({"v1", "v2"}),
    "checkpoints": frozenset({"c1"}),
    "all_of_vae": frozenset({"v1", "v2", "v3"}),
    "vae_gguf": frozenset({"v2"}),
}


@pytest.mark.parametrize(
    ("choices", "folders"),
    [
        (("None", "v1", "v2"), "vae"),
        (("v1", "v2", "v3"), "all_of_vae"),
        (("v2",), "vae_gguf"),
        (("sub/c1", "sub\\v1", "v2"), "vae,checkpoints"),
        (("a", "b"), None),
        (("c1.txt",), None),
    ],
)
def test_the_folder_that_explains_the_list_best_is_named(choices: tuple[str, ...], folders: str | None) -> None:
    expected = {} if folders is None else {"Loader": {"name": folders}}
    assert find_model_inputs({"Loader": {"name": choices}}, NAMES) == expected


def test_a_base_directory_holds_marks_and_links_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    base = tmp_path / "base"
    base.mkdir()
    (base / "left over").touch()
    marks = create_base_directory(base, {"mine": tmp_path / "node"})
    assert not (base / "left over").exists()
    assert (base / "custom_nodes" / "mine").readlink() == tmp_path / "node"
    files = [path for path in (base / "models").rglob("watchman-*") if path.is_file()]
    assert {path.read_bytes() for path in files} == {b"", EMPTY_SAFETENSORS}
    assert len({path.name for path in files}) == len(files)
    folder = [path for path in (base / "models" / "diffusers").iterdir() if path.is_dir()]
    assert [(path / "model_index.json").read_text() for path in folder] == ["{}"]
    names = marks.names({"vae": [base / "models" / "vae"], "unet_gguf": [base / "models" / "unet"]})
    assert {Path(name).suffix for name in names["vae"]} == {".safetensors"}
    assert {Path(name).suffix for name in names["unet_gguf"]} == {".gguf"}


def test_folders_outside_of_the_base_directory_are_never_marked(tmp_path: Path) -> None:
    marks = create_base_directory(tmp_path / "base", {})
    outside = tmp_path / "outside"
    outside.mkdir()
    assert not marks.add({"mine": [outside]})
    assert list(outside.iterdir()) == []
    assert marks.add({"mine": [outside, tmp_path / "base" / "models" / "mine"]})
    assert not marks.add({"mine": [tmp_path / "base" / "models" / "mine"]})


@pytest.mark.parametrize("answer", [None, [], {"vae": "text"}, {"custom_nodes": ["/x"]}])
def test_an_answer_of_another_shape_names_no_folder(answer: object) -> None:
    assert parse_folder_paths(answer) == {}
