from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.references.observed import ObservedLoaders
from comfywatchman.readiness.sample.workflows import build_text_to_image
from tests.hosts import Host

pytestmark = pytest.mark.slow

TRIED = ObservedLoaders((LoaderInput("OddSave", "odd", "odd_things", 0, "a trial", "high"),), {"odd_things": ("odd",)})


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.pack("OddSave")
    graph = build_text_to_image(last="OddSave")
    graph["nodes"][-1]["widgets_values"] = ["thing.onnx"]
    host.write("a.json", orjson.dumps(graph))
    return host


def test_model_is_found_in_the_folder_that_a_trial_observed(host: Host) -> None:
    host.model("odd/thing.onnx", b"x")
    assert host.entry("a.json").status.value != "READY"
    assert host.entry("a.json", observed_loaders=TRIED).status.value == "READY"


def test_absent_model_is_missing_in_the_observed_folder(host: Host) -> None:
    entry = host.entry("a.json", observed_loaders=TRIED)
    assert [(model.name, model.folder) for model in entry.missing_models] == [("thing.onnx", "odd_things")]
