"""Knowledge of inputs that take a file: what is known first stays, and a table with more is another table."""

from __future__ import annotations

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS, FileInput, FileInputTable


def test_first_of_two_equal_inputs_is_kept() -> None:
    table = FileInputTable([FileInput("X", "a", "picture", 0)])
    more = table.merge([FileInput("X", "a", "video", 3), FileInput("X", "b", "sound"), FileInput("Y", "c", "video")])
    assert list(more.list_inputs("X")) == [FileInput("X", "a", "picture", 0), FileInput("X", "b", "sound")]
    assert more.has_input("Y", "c")
    assert not more.has_input("Y", "a")
    assert not table.has_input("X", "b")
    assert list(table.list_inputs("Z")) == []
    assert not table.has_input("Z", "a")


def test_every_builtin_input_is_listed_once() -> None:
    listed = [
        (file_input.class_type, file_input.name)
        for inputs in BUILTIN_FILE_INPUTS.by_class.values()
        for file_input in inputs.values()
    ]
    assert len(listed) == len(set(listed)) == 16


def test_new_file_input_changes_the_table_fingerprint() -> None:
    table = load_builtin_table()
    more = table.merge([], file_inputs=[FileInput("X", "a", "picture", 0)])
    assert more.file_inputs.has_input("X", "a")
    assert more.file_inputs.has_input("LoadImage", "image")
    assert more.fingerprint != table.fingerprint
    assert table.merge([]).fingerprint == table.fingerprint
