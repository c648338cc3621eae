from __future__ import annotations

import time

import pytest

from comfywatchman.comfyui.loaders.table import NOT_FILES, LoaderInput, LoaderTable, load_builtin_table


def loader(class_type: str, name: str, folder: str = "loras", index: int | None = None) -> LoaderInput:
    return LoaderInput(class_type, name, folder, index, "a test", "medium")


def test_core_loaders_are_known_with_folder_and_place() -> None:
    table = load_builtin_table()
    assert [(one.name, one.folder, one.widget_index, one.confidence) for one in table.inputs("CheckpointLoader")] == [
        ("config_name", "configs", 0, "high"),
        ("ckpt_name", "checkpoints", 1, "high"),
    ]
    assert table.widget_names("DualCLIPLoader") == ("clip_name1", "clip_name2")


def test_an_unknown_class_has_nothing() -> None:
    table = load_builtin_table()
    assert (table.inputs("NoSuch"), table.widget_names("NoSuch")) == ((), ())
    assert table.is_plain("NoSuch")


def test_core_inputs_offer_exactly_what_the_server_offers_beside_files() -> None:
    table = load_builtin_table()
    assert table.inputs("CheckpointLoaderSimple")[0].not_files == ()
    assert table.inputs("VAELoader")[0].not_files == ("pixel_space",)
    assert table.inputs("Efficient Loader")[0].not_files is NOT_FILES


def test_pickers_presets_and_self_fetched_inputs_are_known_by_name_and_place() -> None:
    table = load_builtin_table()
    assert table.is_picker("ToDetailerPipe", "Select to add LoRA")
    assert table.is_preset("IPAdapterUnifiedLoader", 0)
    assert table.is_preset("IPAdapterUnifiedLoader", "preset")
    assert table.auto_downloads("RIFE VFI", "ckpt_name")
    assert not table.auto_downloads("RIFE VFI", "multiplier")
    assert not any(map(table.is_plain, ("ToDetailerPipe", "IPAdapterUnifiedLoader", "RIFE VFI")))


def test_names_by_place_have_holes_where_nothing_is_known() -> None:
    table = LoaderTable([loader("X", "b", index=2), loader("X", "c"), loader("X", "", index=4)])
    assert table.widget_names("X") == (None, None, "b")


def test_a_full_list_of_names_wins_over_single_places() -> None:
    table = LoaderTable([loader("X", "b", index=1)], widget_names={"X": ["a", "real", None]})
    assert table.widget_names("X") == ("a", "real", None)


def test_later_knowledge_fills_gaps_and_changes_nothing_that_was_known() -> None:
    old = LoaderTable([loader("X", "a", "loras")], widget_names={"X": ["a"]})
    new = old.merge([loader("X", "a", "vae"), loader("X", "b", "vae"), loader("Y", "c")], widget_names={"X": ["z"]})
    assert [(one.name, one.folder) for one in new.inputs("X")] == [("a", "loras"), ("b", "vae")]
    assert [one.name for one in new.inputs("Y")] == ["c"]
    assert new.widget_names("X") == ("a",)
    assert [one.name for one in old.inputs("X")] == ["a"]


def test_live_knowledge_may_override() -> None:
    old = LoaderTable([loader("X", "a", "loras")], widget_names={"X": ["a"]})
    new = old.merge([loader("X", "a", "vae")], widget_names={"X": ["z"]}, override=True)
    assert [(one.name, one.folder) for one in new.inputs("X")] == [("a", "vae")]
    assert new.widget_names("X") == ("z",)


def test_what_is_no_loader_stays_known_in_an_extended_table() -> None:
    table = load_builtin_table().merge([])
    assert table.is_picker("ToDetailerPipe", "Select to add LoRA")
    assert table.is_preset("IPAdapterUnifiedLoader", 0)
    assert table.auto_downloads("DWPreprocessor", 4)


def test_the_fingerprint_follows_the_content() -> None:
    table = load_builtin_table()
    assert table.fingerprint == table.merge([]).fingerprint
    changed = [
        table.merge([loader("X", "a")]),
        table.merge([loader("X", "a", "vae")]),
        table.merge([], widget_names={"X": ["a"]}),
        LoaderTable([]),
        LoaderTable([], pickers={"X": ["a"]}),
        LoaderTable([], presets={"X": ["a"]}),
        LoaderTable([], auto_downloads={"X": ["a"]}),
    ]
    assert len({table.fingerprint, *(one.fingerprint for one in changed)}) == len(changed) + 1


@pytest.mark.parametrize("run", range(3))
def test_the_shipped_table_is_cheap_to_load(run: int) -> None:
    del run
    load_builtin_table.cache_clear()
    start = time.process_time()
    load_builtin_table()
    assert time.process_time() - start < 0.02
