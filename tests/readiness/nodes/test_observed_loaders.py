from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.references.observed import ObservedLoaders
from comfywatchman.readiness.sample.workflows import build_text_to_image
from tests.hosts import Host

TRIED = ObservedLoaders((LoaderInput("OddSave", "odd", "odd_things", 0, "a trial", "high"),), {"odd_things": ("odd",)})


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.pack("OddSave")
    graph = build_text_to_image(last="OddSave")
    graph["nodes"][-1]["widgets_values"] = ["thing.onnx"]
    host.write("a.json", orjson.dumps(graph))
    return host


def test_a_model_is_looked_for_where_a_trial_saw_the_pack_list_it(host: Host) -> None:
    host.model("odd/thing.onnx", b"x")
    assert host.entry("a.json").status.value != "READY"
    assert host.entry("a.json", observed_loaders=TRIED).status.value == "READY"


def test_a_model_that_is_not_there_is_missing_in_that_folder(host: Host) -> None:
    entry = host.entry("a.json", observed_loaders=TRIED)
    assert [(model.name, model.folder) for model in entry.missing_models] == [("thing.onnx", "odd_things")]
