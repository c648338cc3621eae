from __future__ import annotations

import pytest

from comfywatchman.comfyui.static_analysis.builtins import call_external, get_elements
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ExternalName,
    NodeSchema,
    V3InputSpec,
    V3Part,
)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("folder_paths.get_filename_list", "loras"), ("elsewhere.get_filename_list_", "diffusion_models")],
)
def test_filename_list_remembers_its_canonical_folder(name: str, folder: str) -> None:
    argument = "unet" if folder == "diffusion_models" else folder
    files = call_external(name, [argument], {})
    assert (files.values, files.is_open, files.folders) == ([], True, frozenset({folder}))


def test_filename_list_of_an_unknown_folder_is_open() -> None:
    files = call_external("folder_paths.get_filename_list", [UNKNOWN], {})
    assert (files.is_open, files.folders) == (True, frozenset())


def test_v3_api_builds_schemas_and_inputs() -> None:
    inputs = AbstractList()
    schema = call_external("io.Schema", [], {"node_id": "A", "inputs": inputs})
    assert isinstance(schema, NodeSchema)
    assert (schema.node_id, schema.inputs) == ("A", inputs)
    combo = call_external("io.Combo.Input", ["name"], {"options": inputs})
    assert isinstance(combo, V3InputSpec)
    assert (combo.kind, combo.name, combo.options) == ("Combo", "name", inputs)
    assert call_external("io.Custom", ["X"], {}) == ExternalName("io.Custom(X)")
    assert call_external("io.Custom", ["a.b"], {}) == ExternalName("io.Custom()")
    assert call_external("api.io.Latent", [], {}) == ExternalName("api.io.Latent")
    output = call_external("io.Image.Output", ["id"], {})
    assert isinstance(output, V3Part)
    assert (output.kind, output.arguments) == ("Image.Output", ["id"])


def test_unknown_function_taints_its_arguments() -> None:
    for name, is_tainted in (("elsewhere.f", True), ("os.path.join", False), ("builtins.len", False)):
        elements, table = AbstractList(), AbstractDict()
        assert call_external(name, [elements], {"table": table}) is UNKNOWN
        assert elements.is_open is is_tainted
        assert table.is_open is is_tainted


def test_map_and_filter_keep_the_folders() -> None:
    files = call_external("folder_paths.get_filename_list", ["vae"], {})
    assert call_external("builtins.filter", [UNKNOWN, files], {}).folders == frozenset({"vae"})


def test_elements_of_a_dict_are_its_keys() -> None:
    keys = get_elements(AbstractDict({"a": 1, "b": 2}, {"b"}))
    assert (keys.values, keys.is_open) == (["a", "b"], True)
