from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.install import is_comfyui, read_version
from comfywatchman.comfyui.packs.core_classes import load_core_classes
from comfywatchman.comfyui.packs.definitions import read_core_definitions
from comfywatchman.readiness.sample import host as sample
from comfywatchman.readiness.sample.host import (
    build_safetensors,
    build_sample_host,
    find_declared_models,
    find_installed_templates,
)
from comfywatchman.readiness.sample.workflows import build_text_to_image

if TYPE_CHECKING:
    from pathlib import Path


def declaring(directory: object, name: object) -> dict[str, Any]:
    model = {"name": name, "directory": directory, "url": "https://example.org/model"}
    return {"nodes": [{"id": 1, "type": "VAELoader", "properties": {"models": [model]}}], "version": 0.4}


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    folder.mkdir()
    for number in range(9):
        (folder / f"template_{number}.json").write_text(json.dumps(declaring("vae", f"vae_{number}.safetensors")))
    (folder / "index.json").write_text("[]")
    (folder / "index.fr.json").write_text("[]")
    (folder / "index_logo.json").write_text("{}")
    (folder / "picture.webp").write_bytes(b"")
    (folder / "damaged.json").write_text("{")
    (folder / "options.json").write_text('{"keys": []}')
    return folder


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_sample_host_is_recognised_as_comfyui(tmp_path: Path) -> None:
    host = build_sample_host(tmp_path / "sample", templates=None)
    assert is_comfyui(host.root)
    assert read_version(host.root) == sample.VERSION
    assert (host.workflows, host.templates, host.models) == (12, 0, 6)
    assert "sample" in (tmp_path / "sample" / "README.txt").read_text()


def test_sample_host_has_exactly_the_classes_of_its_version(tmp_path: Path) -> None:
    names = set(read_core_definitions(build_sample_host(tmp_path / "sample", templates=None).root).classes)
    used = {node["type"] for node in build_text_to_image(lora="x.safetensors")["nodes"]}
    later = {name for name, since in load_core_classes().items() if since == "0.34.0"}
    assert used <= names
    assert later
    assert not names & later


def test_templates_are_copied_with_some_of_their_models(tmp_path: Path, templates: Path) -> None:
    host = build_sample_host(tmp_path / "sample", templates=templates)
    copied = {path.name for path in (host.root / "user/default/workflows/templates").iterdir()}
    assert copied == {f"template_{number}.json" for number in range(9)}
    models = {path.name for path in (host.root / "models" / "vae").iterdir()}
    assert 0 < len(models) < 9
    assert (host.workflows, host.templates, host.models) == (12 + 9, 9, 6 + len(models))


def test_a_second_build_changes_nothing(tmp_path: Path, templates: Path) -> None:
    first = build_sample_host(tmp_path / "sample", templates=templates)
    before = contents(tmp_path / "sample")
    assert build_sample_host(tmp_path / "sample", templates=templates) == first
    assert contents(tmp_path / "sample") == before


def test_deleted_sample_file_stays_deleted(tmp_path: Path) -> None:
    host = build_sample_host(tmp_path / "sample", templates=None)
    gone = host.root / "models" / "loras" / "Sample_Painting.safetensors"
    gone.unlink()
    build_sample_host(tmp_path / "sample", templates=None)
    assert not gone.exists()


def test_templates_installed_later_are_added(tmp_path: Path, templates: Path) -> None:
    host = build_sample_host(tmp_path / "sample", templates=None)
    mine = host.root / "user/default/workflows/sample/01 ready.json"
    mine.write_text("mine")
    assert build_sample_host(tmp_path / "sample", templates=templates).templates == 9
    assert mine.read_text() == "mine"
    assert (host.root / "user/default/workflows/templates/template_1.json").is_file()


@pytest.mark.parametrize("marker", ["", "{}", "[]", "{"])
def test_interrupted_build_is_completed(tmp_path: Path, marker: str) -> None:
    folder = tmp_path / "sample"
    (folder / "ComfyUI").mkdir(parents=True)
    (folder / sample.MARKER).write_text(marker)
    (folder / "ComfyUI" / "main.py").write_text("")
    assert is_comfyui(build_sample_host(folder, templates=None).root)


def test_foreign_folder_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Failure) as caught:
        build_sample_host(tmp_path, templates=None)
    assert caught.value.code == "sample-not-ours"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_unwritable_folder_is_a_failure_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / sample.MARKER).write_text("{}")
    (folder / "ComfyUI").write_text("a file where a folder should be")
    with pytest.raises(Failure) as caught:
        build_sample_host(folder, templates=None)
    assert caught.value.code == "state-unwritable"


def test_truncated_sample_model_lacks_the_end_of_its_tensor() -> None:
    whole, broken = build_safetensors(), build_safetensors(missing_bytes=32)
    length = int.from_bytes(whole[:8], "little")
    header = orjson.loads(whole[8 : 8 + length])
    assert length % 8 == 0
    assert header["weight"]["data_offsets"] == [0, len(whole) - 8 - length]
    assert broken == whole[:-32]


@pytest.mark.parametrize(
    "graph",
    [
        declaring("vae", "../../escape.safetensors"),
        declaring("/etc", "x.safetensors"),
        declaring("vae", "/etc/x.safetensors"),
        declaring("vae", "a\0b.safetensors"),
        declaring("vae", "x.exe"),
        declaring("vae", 3),
        declaring("", "x.safetensors"),
        {"models": ["no object"]},
        {"models": {"no": "list"}},
        [],
    ],
)
def test_unsafe_or_invalid_declaration_is_ignored(graph: object) -> None:
    assert list(find_declared_models(graph)) == []


def test_a_declaration_inside_a_subgraph_is_found() -> None:
    graph = {"definitions": {"subgraphs": [declaring("loras", "deep/x.safetensors")]}}
    assert [str(path) for path in find_declared_models(graph)] == ["loras/deep/x.safetensors"]


def test_installed_templates_are_found_without_importing_them() -> None:
    folder = find_installed_templates()
    assert folder is None or (folder / "index.json").is_file()
