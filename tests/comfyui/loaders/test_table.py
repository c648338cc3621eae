from __future__ import annotations

import time
from dataclasses import replace

from comfywatchman.comfyui.loaders.table import NOT_FILES, LoaderInput, LoaderTable, load_builtin_table


def build_input(class_type: str, name: str, folder: str = "loras", index: int | None = None) -> LoaderInput:
    return LoaderInput(class_type, name, folder, index, "a test", "medium")


def test_core_loaders_have_folder_and_widget_index() -> None:
    table = load_builtin_table()
    assert [
        (loader_input.name, loader_input.folder, loader_input.widget_index, loader_input.confidence)
        for loader_input in table.inputs("CheckpointLoader")
    ] == [
        ("config_name", "configs", 0, "high"),
        ("ckpt_name", "checkpoints", 1, "high"),
    ]
    assert table.widget_names("DualCLIPLoader") == ("clip_name1", "clip_name2")


def test_unknown_class_has_no_inputs() -> None:
    table = load_builtin_table()
    assert (table.inputs("NoSuch"), table.widget_names("NoSuch")) == ((), ())
    assert table.is_plain("NoSuch")


def test_core_inputs_know_their_exact_choices_beside_files() -> None:
    table = load_builtin_table()
    assert table.inputs("CheckpointLoaderSimple")[0].not_files == ()
    assert table.inputs("VAELoader")[0].not_files == ("pixel_space",)
    assert table.inputs("Efficient Loader")[0].not_files is NOT_FILES


def test_pickers_presets_and_auto_downloads_have_names_and_indexes() -> None:
    table = load_builtin_table()
    assert table.is_picker("ToDetailerPipe", "Select to add LoRA")
    assert table.is_preset("IPAdapterUnifiedLoader", 0)
    assert table.is_preset("IPAdapterUnifiedLoader", "preset")
    assert table.auto_downloads("RIFE VFI", "ckpt_name")
    assert not table.auto_downloads("RIFE VFI", "multiplier")
    assert not any(map(table.is_plain, ("ToDetailerPipe", "IPAdapterUnifiedLoader", "RIFE VFI")))


def test_unknown_widget_names_are_none() -> None:
    table = LoaderTable([build_input("X", "b", index=2), build_input("X", "c"), build_input("X", "", index=4)])
    assert table.widget_names("X") == (None, None, "b")


def test_full_list_of_names_wins_over_single_indexes() -> None:
    table = LoaderTable([build_input("X", "b", index=1)], widget_names={"X": ["a", "real", None]})
    assert table.widget_names("X") == ("a", "real", None)


def test_merge_adds_inputs_and_keeps_known_ones() -> None:
    old = LoaderTable([build_input("X", "a", "loras")], widget_names={"X": ["a"]})
    new = old.merge(
        [build_input("X", "a", "vae"), build_input("X", "b", "vae"), build_input("Y", "c")], widget_names={"X": ["z"]}
    )
    assert [(loader_input.name, loader_input.folder) for loader_input in new.inputs("X")] == [
        ("a", "loras"),
        ("b", "vae"),
    ]
    assert [loader_input.name for loader_input in new.inputs("Y")] == ["c"]
    assert new.widget_names("X") == ("a",)
    assert [loader_input.name for loader_input in old.inputs("X")] == ["a"]


def test_merge_may_override() -> None:
    old = LoaderTable([build_input("X", "a", "loras")], widget_names={"X": ["a"]})
    new = old.merge([build_input("X", "a", "vae")], widget_names={"X": ["z"]}, override=True)
    assert [(loader_input.name, loader_input.folder) for loader_input in new.inputs("X")] == [("a", "vae")]
    assert new.widget_names("X") == ("z",)


def test_merge_keeps_pickers_presets_and_displays() -> None:
    table = load_builtin_table().merge([])
    assert table.is_picker("ToDetailerPipe", "Select to add LoRA")
    assert table.is_preset("IPAdapterUnifiedLoader", 0)
    assert table.auto_downloads("DWPreprocessor", 4)


def test_fingerprint_changes_with_the_content_only() -> None:
    table = load_builtin_table()
    assert table.fingerprint == table.merge([]).fingerprint
    changed = [
        table.merge([build_input("X", "a")]),
        table.merge([build_input("X", "a", "vae")]),
        table.merge([], widget_names={"X": ["a"]}),
        LoaderTable([]),
        LoaderTable([], pickers={"X": ["a"]}),
        LoaderTable([], presets={"X": ["a"]}),
        LoaderTable([], auto_downloads={"X": ["a"]}),
    ]
    assert len({table.fingerprint, *(other.fingerprint for other in changed)}) == len(changed) + 1


def measure_loading() -> float:
    load_builtin_table.cache_clear()
    start = time.process_time()
    load_builtin_table()
    return time.process_time() - start


def test_builtin_table_is_cheap_to_load() -> None:
    # The garbage collector may run in the middle of one of them.
    assert min(measure_loading() for _ in range(3)) < 0.02


OLD = LoaderInput("A", "name", "loras", 1, "old", "medium")


def correct(*rows: LoaderInput, source: tuple[LoaderInput, ...] = (), names: dict[str, list[str]]) -> list[LoaderInput]:
    return list(LoaderTable(rows).correct(source, names).inputs("A"))


def test_rows_that_contradict_the_source_are_dropped() -> None:
    by_index = replace(OLD, name="")
    assert correct(OLD, by_index, names={}) == [OLD, by_index]
    assert correct(OLD, by_index, names={"A": ["name"]}) == [OLD]
    assert correct(OLD, by_index, names={"A": ["other"]}) == []
    assert correct(OLD, by_index, names={"B": ["other"]}) == [OLD, by_index]


def test_rows_of_growing_inputs_stay() -> None:
    growing = replace(OLD, name="loras.N.lora_name", widget_index=None)
    assert correct(growing, names={"A": ["model", "loras"]}) == [growing]


def test_folders_and_index_of_the_source_win() -> None:
    source = LoaderInput("A", "name", "vae", 2, "source", "medium")
    names = {"A": ["name"]}
    assert correct(OLD, source=(source,), names=names) == [source]
    assert correct(OLD, source=(replace(source, widget_index=None),), names=names) == [replace(source, widget_index=1)]
    same = replace(source, folder="loras", widget_index=None)
    assert correct(OLD, source=(same,), names=names) == [OLD]


def test_inputs_that_only_the_source_shows_are_added() -> None:
    source = LoaderInput("A", "more", "vae", 2, "source", "medium")
    assert correct(OLD, source=(source,), names={"A": ["name", "more"]}) == [OLD, source]
