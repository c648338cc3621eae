from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.references.observed import ObservedLoaders
from comfywatchman.readiness.sample.workflows import build_text_to_image
from tests.hosts import Host
from tests.model_files import put

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


FONTS = b"""
import folder_paths

class Text:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"font": (folder_paths.get_filename_list("kjnodes_fonts"),)}}
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "run"

NODE_CLASS_MAPPINGS = {"Text": Text}
"""


def test_files_that_a_pack_ships_are_found_in_its_own_folder(tmp_path: Path) -> None:
    host = Host(tmp_path)
    pack = host.comfyui / "custom_nodes/fonts-pack"
    put(pack / "__init__.py", FONTS)
    put(pack / "fonts/A.ttf", b"x")
    for name in ("A", "B"):
        node = {"class_type": "Text", "inputs": {"font": f"{name}.ttf"}, "_meta": {"title": "Text"}}
        host.write(f"{name.lower()}.json", orjson.dumps({"1": node}))
    assert host.entry("a.json").missing_models == ()
    (missing,) = host.entry("b.json").missing_models
    assert (missing.name, missing.fix) == ("B.ttf", f"Put the file into {pack}/fonts. Similar names here: A.ttf.")
