from __future__ import annotations

from pathlib import Path

import pytest

from tests.comfyui.static_analysis.reading import value_of


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("[i for i in range(3)]", [0, 1, 2]),
        ("[a + b for a in ['x', 'y'] for b in ['1', '2']]", ["x1", "x2", "y1", "y2"]),
        ("[a for a in ['x', 'y'] if a != 'x']", ["y"]),
        ("list({a for a in ['x']})", ["x"]),
        ("{k: v for k, v in [('a', 1), ('b', 2)]}", {"a": 1, "b": 2}),
        ("[a for a in undefined]", [...]),
        ("[a for a in ['b'] if undefined]", ["b", ...]),
        ("[a for a in ['b'] for c in undefined]", [...]),
        ("{k: 1 for k in undefined}", {...: ...}),
    ],
)
def test_comprehension_visits_every_known_element(tmp_path: Path, expression: str, expected: object) -> None:
    assert value_of(tmp_path, f"x = {expression}") == expected


def test_changed_file_names_drop_the_known_texts(tmp_path: Path) -> None:
    files = "import folder_paths\nfiles = ['None', *folder_paths.get_filename_list('loras')]\n"
    assert value_of(tmp_path, f"{files}x = [name for name in files]") == ["None", ...]
    assert value_of(tmp_path, f"{files}x = [name.lower() for name in files]") == [...]
