from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.packs.source_marks import SourceMarks, find_source_marks


def find(folder: Path, **files: str) -> SourceMarks:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return find_source_marks(folder, [f"{name}.py" for name in files])


def test_replacements_of_a_pack_are_named(tmp_path: Path) -> None:
    marks = find(
        tmp_path,
        a="register(NodeReplace(new_node_id='New', old_node_id='Old'))\nregister(io.NodeReplace('New2', 'Old2', []))",
        b="register(NodeReplace(new_node_id='Later', old_node_id='Old'))\nregister(NodeReplace('New3', 'Old3'))",
        c="NodeReplace = (",
        d="x = 1",
    )
    assert marks == SourceMarks({"Old": "New", "Old2": "New2", "Old3": "New3"})


@pytest.mark.parametrize("call", ["NodeReplace(new, 'Old')", "NodeReplace(new_node_id='New')", "NodeReplace(**names)"])
def test_computed_replacement_is_marked(tmp_path: Path, call: str) -> None:
    assert find(tmp_path, a=call) == SourceMarks(computes_replacements=True)


@pytest.mark.parametrize(
    "source",
    [
        "KSampler.SAMPLERS.append('mine')",
        "comfy.samplers.SAMPLER_NAMES += ['mine']",
        "comfy.samplers.SCHEDULER_HANDLERS['mine'] = handler",
        "samplers.SCHEDULER_NAMES = [*samplers.SCHEDULER_NAMES, 'mine']",
        "setattr(KSampler, 'SCHEDULERS', mine)",
        "KSAMPLER_NAMES.extend(mine)",
    ],
)
def test_pack_that_adds_samplers_is_marked(tmp_path: Path, source: str) -> None:
    assert find(tmp_path, a=source) == SourceMarks(extends_samplers=True)


@pytest.mark.parametrize(
    "source",
    [
        "INPUTS = {'sampler_name': (comfy.samplers.KSampler.SAMPLERS,)}",
        "SAMPLERS = ['mine']",
        "first = KSampler.SAMPLERS[0]",
        "if KSampler.SCHEDULERS == old: pass",
        "MY_SAMPLERS.append('mine')",
    ],
)
def test_pack_that_only_reads_samplers_is_not_marked(tmp_path: Path, source: str) -> None:
    assert find(tmp_path, a=source) == SourceMarks()


def test_pack_of_one_file_is_searched(tmp_path: Path) -> None:
    (tmp_path / "pack.py").write_text("NodeReplace('New', 'Old')")
    assert find_source_marks(tmp_path / "pack.py", []) == SourceMarks({"Old": "New"})
    assert find_source_marks(tmp_path / "gone.py", []) == SourceMarks()
