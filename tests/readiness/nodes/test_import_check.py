"""The check of the imports of a host: what it finds, and when it reads files again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.packs.metadata import GitState, read_pack
from comfywatchman.comfyui.packs.scan import find_packs
from comfywatchman.readiness.database import Database, open_database
from comfywatchman.readiness.nodes import import_check
from comfywatchman.readiness.nodes.import_check import ImportCheck, ImportFindings
from tests.comfyui.imports.hosts import CORE, write_environment, write_files


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    root = write_files(tmp_path / "ComfyUI", CORE)
    packages = {"aiohttp.py": "", "yaml.py": ""}
    write_environment(root / "venv", packages)
    write_files(root / "custom_nodes", {"pack/__init__.py": "from comfy.samplers import KSampler\nimport cv2"})
    return root


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(tmp_path / "index.sqlite")) as database:
        yield database


def check(comfyui: Path, database: Database, *, python: Path | None = None) -> ImportFindings:
    listings = find_packs([comfyui / "custom_nodes"])
    packs = [read_pack(listing, GitState()) for listing in listings]
    return ImportCheck(Installation(comfyui, "0.3.75", comfyui), python, database, ("loras",)).run(listings, packs)


def reasons(findings: ImportFindings) -> list[str]:
    return [imports.problem.explanation for imports in findings.problems.values() if imports.problem is not None]


def test_problems_are_found_by_pack(comfyui: Path, database: Database) -> None:
    findings = check(comfyui, database)
    assert list(findings.problems) == [str(comfyui / "custom_nodes" / "pack")]
    assert "cv2" in reasons(findings)[0]
    assert findings.blockers == ()


def test_unchanged_host_is_not_checked_again(
    comfyui: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check(comfyui, database)
    monkeypatch.setattr(import_check, "check_packs", lambda *_: pytest.fail("checked again"))
    assert check(comfyui, database) == first


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("venv/lib/python3.11/site-packages/cv2.py", "", []),
        ("comfy/samplers.py", "class Other: pass", ["has no KSampler in comfy.samplers"]),
        ("custom_nodes/pack/__init__.py", "import comfy.gone", ["has no module comfy.gone"]),
        ("custom_nodes/other/__init__.py", "import sys\nsys.modules['cv2'] = sys", ["unless one of the packs"]),
    ],
)
def test_change_of_anything_that_was_read_counts(
    comfyui: Path, database: Database, file: str, text: str, words: list[str]
) -> None:
    check(comfyui, database)
    path = comfyui / file
    write_files(comfyui, {file: text})
    os.utime(path, (1_000, 1_000))
    found = reasons(check(comfyui, database))
    assert len(found) == len(words)
    assert all(word in reason for word, reason in zip(words, found, strict=True))


def test_names_of_unchanged_modules_are_not_parsed_again(
    comfyui: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(comfyui, database)
    write_files(comfyui, {"custom_nodes/pack/__init__.py": "from comfy.samplers import KSampler"})
    monkeypatch.setattr(import_check, "parse_source", lambda _content: pytest.fail("parsed again"))
    assert check(comfyui, database).problems == {}


@pytest.mark.parametrize("key", [b"result", b"names:"])
def test_damaged_results_are_computed_again(comfyui: Path, database: Database, key: bytes) -> None:
    first = check(comfyui, database)
    query = "UPDATE import_fact SET value = x'00' WHERE substr(key, 1, 6) = substr(?, 1, 6)"
    database.connection.execute(query, (key,))
    database.connection.execute(
        "UPDATE import_fact SET stamp = '' WHERE key = ? AND ? = 'names:'", (b"result", key.decode())
    )
    assert check(comfyui, database) == first


def test_module_of_comfyui_that_cannot_be_parsed_may_have_any_name(comfyui: Path, database: Database) -> None:
    write_files(
        comfyui, {"comfy/samplers.py": "def (:", "custom_nodes/pack/__init__.py": "from comfy.samplers import x"}
    )
    assert check(comfyui, database).problems == {}


def test_folder_without_comfyui_is_checked_for_packages_only(comfyui: Path, database: Database, tmp_path: Path) -> None:
    installation = Installation(tmp_path / "base", None, tmp_path / "base")
    (tmp_path / "base").mkdir()
    listings = find_packs([comfyui / "custom_nodes"])
    packs = [read_pack(listing, GitState()) for listing in listings]
    findings = ImportCheck(installation, comfyui / "venv", database, ()).run(listings, packs)
    assert "cv2" in reasons(findings)[0]


def test_missing_package_of_comfyui_itself_is_a_blocker(comfyui: Path, database: Database) -> None:
    write_files(comfyui, {"nodes.py": "import requests"})
    (blocker,) = check(comfyui, database).blockers
    assert "requests" in blocker.reason
    # The packs are judged as if ComfyUI had what it needs.
    write_files(comfyui, {"custom_nodes/pack/__init__.py": "import requests"})
    assert check(comfyui, database).problems == {}


def test_pack_that_ends_comfyui_is_a_blocker(comfyui: Path, database: Database) -> None:
    write_files(comfyui, {"custom_nodes/pack/__init__.py": "import sys\nsys.exit()"})
    (blocker,) = check(comfyui, database).blockers
    assert "pack" in blocker.reason


def test_file_that_a_pack_reads_is_looked_for_again(comfyui: Path, database: Database) -> None:
    source = 'import os\nopen(os.path.join(os.path.dirname(__file__), "data.json"))\n'
    write_files(comfyui / "custom_nodes", {"pack/__init__.py": source})
    (imports,) = check(comfyui, database).problems.values()
    assert imports.problem is not None
    assert imports.problem.error == "FileNotFoundError"
    write_files(comfyui / "custom_nodes", {"pack/data.json": "{}"})
    assert check(comfyui, database).problems == {}


def test_known_model_folders_are_looked_up_again(comfyui: Path, database: Database) -> None:
    source = 'import folder_paths\nx = folder_paths.get_filename_list("gone")\n'
    write_files(comfyui / "custom_nodes", {"pack/__init__.py": source})
    (imports,) = check(comfyui, database).problems.values()
    assert imports.problem is not None
    assert imports.problem.explanation == "it may raise KeyError: ComfyUI has no model folder 'gone'"
    listings = find_packs([comfyui / "custom_nodes"])
    packs = [read_pack(listing, GitState()) for listing in listings]
    installation = Installation(comfyui, "0.3.75", comfyui)
    assert ImportCheck(installation, None, database, ("gone",)).run(listings, packs).problems == {}


GLSL = """import numpy
import comfy_angle
class Shader:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}
NODE_CLASS_MAPPINGS = {"Shader": Shader}
"""


def test_classes_of_comfyui_whose_file_cannot_be_imported(comfyui: Path, database: Database) -> None:
    """As `nodes_glsl.py` of ComfyUI 0.33.0 without `comfy_angle`: ComfyUI starts without the file's classes."""
    write_files(comfyui, {"comfy_extras/nodes_glsl.py": GLSL})
    write_files(comfyui, {"venv/lib/python3.11/site-packages/numpy.py": ""})
    found = check(comfyui, database).problems[str(comfyui)]
    assert found.problem is None
    (problem,) = found.classes.values()
    assert list(found.classes) == ["Shader"]
    assert (problem.file, problem.line, problem.is_certain) == ("comfy_extras/nodes_glsl.py", 2, True)
    assert "comfy_angle" in problem.summary
    write_files(comfyui, {"venv/lib/python3.11/site-packages/comfy_angle.py": ""})
    assert str(comfyui) not in check(comfyui, database).problems


def test_changed_file_of_comfyuis_own_nodes_is_read_again(comfyui: Path, database: Database) -> None:
    path = comfyui / "comfy_extras" / "nodes_glsl.py"
    write_files(comfyui, {"comfy_extras/nodes_glsl.py": GLSL.replace("import comfy_angle", "")})
    write_files(comfyui, {"venv/lib/python3.11/site-packages/numpy.py": ""})
    assert str(comfyui) not in check(comfyui, database).problems
    path.write_text(GLSL)
    os.utime(path, (1_000, 1_000))
    assert list(check(comfyui, database).problems[str(comfyui)].classes) == ["Shader"]
