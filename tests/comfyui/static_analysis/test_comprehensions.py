from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.statements import AbstractInterpreter
from comfywatchman.comfyui.static_analysis.values import UNKNOWN
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


@pytest.mark.parametrize(
    ("element", "folders"),
    [
        ("name.lower()", {"loras"}),
        ("os.path.basename(name)", {"loras"}),
        ("os.path.dirname(name)", set()),
        ("str(Path(name).parent)", set()),
    ],
)
def test_folders_of_files_are_no_files(tmp_path: Path, element: str, folders: set[str]) -> None:
    source = f"""
    import os, folder_paths
    from pathlib import Path
    x = ["All"] + list(set([{element} for name in folder_paths.get_filename_list("loras")]))
    """
    (tmp_path / "__init__.py").write_text(dedent(source), "utf-8")
    interpreter = AbstractInterpreter(SourceTree(tmp_path, frozenset()))
    module = interpreter.tree.get_module(())
    assert module is not None
    listed = interpreter.look_up("x", interpreter.run(module).module.scope)
    assert (listed.folders, listed.values, listed.is_open) == (folders, ["All"], True)


def test_changed_file_names_drop_the_known_texts(tmp_path: Path) -> None:
    files = "import folder_paths\nfiles = ['None', *folder_paths.get_filename_list('loras')]\n"
    assert value_of(tmp_path, f"{files}x = [name for name in files]") == ["None", ...]
    assert value_of(tmp_path, f"{files}x = [name.lower() for name in files]") == [...]


@pytest.mark.parametrize(
    ("body", "folders", "values"),
    [
        ("names.append(name)", {"loras"}, ["None"]),
        ("names.append(os.path.basename(name))", {"loras"}, ["None"]),
        ("names += [name]", {"loras"}, ["None"]),
        ("if undefined:\n        names.append(name)", set(), ["None", UNKNOWN]),
        ("names.append(os.path.dirname(name))", set(), ["None", UNKNOWN]),
        ("others.append(name)", set(), ["None"]),
    ],
)
def test_loop_over_files_fills_a_list(tmp_path: Path, body: str, folders: set[str], values: list[object]) -> None:
    source = f"""
import os, folder_paths
names, others = ["None"], []
for name in folder_paths.get_filename_list("loras"):
    {body}
x = names
"""
    (tmp_path / "__init__.py").write_text(source, "utf-8")
    interpreter = AbstractInterpreter(SourceTree(tmp_path, frozenset()))
    module = interpreter.tree.get_module(())
    assert module is not None
    listed = interpreter.look_up("x", interpreter.run(module).module.scope)
    assert (listed.folders, listed.values) == (folders, values)
