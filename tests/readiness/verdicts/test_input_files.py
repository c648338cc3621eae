"""Missing pictures and other files of the user: their fixes, and when they count for the verdict."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

import orjson
import pytest
from msgspec.structs import replace

from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.loaders.upload_inputs import FileKind
from comfywatchman.comfyui.references.input_files import InputFile, split_annotation
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MissingInput, WorkflowEntry
from comfywatchman.readiness.verdicts.input_files import (
    InputFolders,
    describe_missing_inputs,
    resolve_input_folders,
)
from tests.closed_paths import close_paths
from tests.hosts import Host, graph
from tests.model_files import put

Form = Literal["NFC", "NFD"]


def wanted(name: str, kind: FileKind = "picture", path: str = "1") -> InputFile:
    return InputFile(name, split_annotation(name)[0], kind, "LoadImage", path, "image")


def missing(name: str, kind: FileKind = "picture", *, required: bool = False) -> MissingInput:
    return MissingInput(name, "input", kind, "LoadImage", "1", "image", "Put it there.", required=required)


def look(base: Path, *, required: bool = False, placed: Path | None = None) -> InputFolders:
    return resolve_input_folders(Installation(base, None, base, input=placed), required=required)


def lacks(base: Path, name: str, kind: FileKind = "picture") -> bool:
    return bool(look(base).find_missing([wanted(name, kind)]))


def fix(base: Path, name: str, kind: FileKind = "picture") -> str:
    (missing_input,) = look(base).find_missing([wanted(name, kind)])
    return missing_input.fix


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("input/a.png", "input/sub/b.png", "output/c.png", "temp/d.png", "input/3d/e.glb", "outside.png"):
        put(tmp_path / name)
    (tmp_path / "input/linked.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "input/nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "input/circle").symlink_to("circle")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["a.png", "a.png [input]", "sub/b.png", "sub/../a.png", "./a.png", "c.png [output]", "d.png [temp]", "linked.png"],
)
def test_existing_file_is_not_missing(base: Path, name: str) -> None:
    assert not lacks(base, name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "b.png", "A.png", "a.png [output]", "c.png", "nowhere.png", "circle/a.png", "a.png/b.png", "sub"),
        *("a\0.png", "\ud800.png", "x" * 300, "../outside.png", "../input", ".", "sub\\b.png"),
    ],
)
def test_absent_file_is_missing(base: Path, name: str) -> None:
    assert lacks(base, name)


def test_absolute_name_counts_only_inside_the_folder(base: Path) -> None:
    assert not lacks(base, str(base / "input/a.png"))
    assert lacks(base, str(base / "outside.png"))


def test_folder_input_must_be_a_folder(base: Path) -> None:
    assert not lacks(base, "sub", "folder")
    assert lacks(base, "a.png", "folder")


def test_missing_input_names_its_node(base: Path) -> None:
    assert look(base, required=True).find_missing([wanted("a.png"), wanted("x.png", path="4:2")]) == (
        MissingInput(
            name="x.png",
            folder="input",
            kind="picture",
            node_type="LoadImage",
            node_path="4:2",
            input="image",
            fix="Put it into input, or choose another picture in the node.",
            required=True,
        ),
    )


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("x.png", "picture", "Put it into input, or choose another picture in the node."),
        ("new/x.png [output]", "picture", "Put it into output/new, or choose another picture in the node."),
        ("x.wav", "sound", "Put it into input, or choose another sound in the node."),
        ("", "picture", "Choose a picture in the node."),
        (
            "x.png [temp]",
            "picture",
            "ComfyUI empties its temp folder at each start; choose a picture in the node again.",
        ),
        ("sub\\b.png", "picture", "It is there as sub/b.png; choose that name in the node."),
        ("gone/a.png", "picture", "It is there as a.png; choose that name in the node."),
        ("e.glb", "3D file", "It is there as 3d/e.glb; choose that name in the node."),
        ("e.glb", "picture", "Put it into input, or choose another picture in the node."),
        (
            "../x.png",
            "picture",
            "The name leads out of ComfyUI's input folder; choose a picture of that folder in the node.",
        ),
    ],
)
def test_fix_depends_on_the_name(base: Path, name: str, kind: FileKind, words: str) -> None:
    assert fix(base, name, kind) == words


@pytest.mark.parametrize(("there", "named"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_other_unicode_form_is_a_near_name(base: Path, there: Form, named: Form) -> None:
    name = "caf\u00e9.png"
    put(base / "input" / unicodedata.normalize(there, name))
    words = fix(base, unicodedata.normalize(named, name))
    assert words == f"It is there as {unicodedata.normalize(there, name)}; choose that name in the node."


def test_configured_input_folder_is_used_and_named(base: Path, tmp_path: Path) -> None:
    placed = tmp_path / "mine"
    put(placed / "z.png")
    folders = look(base, placed=placed)
    assert [missing_input.name for missing_input in folders.find_missing([wanted("z.png"), wanted("a.png")])] == [
        "a.png"
    ]
    (missing_input,) = folders.find_missing([wanted("a.png")])
    assert missing_input.fix == f"Put it into {placed}, or choose another picture in the node."


def test_root_as_input_folder_holds_every_file(tmp_path: Path) -> None:
    assert not look(tmp_path, placed=Path("/")).find_missing([wanted(str(put(tmp_path / "q.png")))])


def test_file_that_cannot_be_checked_is_reported_once(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = look(base)
    close_paths(monkeypatch, base / "input/sub/b.png", base / "input/sub/x.png", calls=("stat", "lstat"))
    found = folders.find_missing([wanted("sub/b.png"), wanted("sub/b.png"), wanted("sub/x.png"), wanted("a.png")])
    assert [(file.name, file.obstacle) for file in found] == [
        (name, Obstacle(ObstacleKind.UNREADABLE, f"{base}/input/sub", "Permission denied"))
        for name in ("sub/b.png", "sub/b.png", "sub/x.png")
    ]
    assert folders.problems == [f"{base}/input/sub: cannot be listed: Permission denied"]


def test_unknown_inputs_are_described_apart() -> None:
    obstacle = Obstacle(ObstacleKind.NOT_MOUNTED, "/mnt", "it is empty")
    inputs = [missing("a.png"), replace(missing("b.png"), obstacle=obstacle), missing("c.png")]
    assert describe_missing_inputs(inputs) == "a picture: a.png, c.png; a picture that may be there: b.png"


def test_each_name_is_looked_up_once(base: Path) -> None:
    folders = look(base)
    assert not folders.find_missing([wanted("a.png")])
    (base / "input/a.png").unlink()
    assert not folders.find_missing([wanted("a.png")])
    assert look(base).find_missing([wanted("a.png")])


def test_missing_inputs_are_described_by_kind() -> None:
    names = ["a.png", "a.png", "b.png", "", "c.png", "d.png"]
    inputs = [*(missing(name) for name in names), missing("v.mp4", "video")]
    assert describe_missing_inputs(inputs) == "a picture: a.png, b.png, none chosen and 2 more; a video: v.mp4"


def with_picture(name: str) -> bytes:
    return orjson.dumps({"1": {"class_type": "LoadImage", "inputs": {"image": name}}})


def entries(host: Host) -> dict[str, WorkflowEntry]:
    return {Path(entry.path).name: entry for entry in host.status().workflows}


def test_missing_picture_leaves_the_workflow_ready(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.write("needs.json", with_picture("a.png"))
    host.write("plain.json")
    by_name = entries(host)
    assert {name: entry.status for name, entry in by_name.items()} == {"needs.json": "READY", "plain.json": "READY"}
    assert [missing_input.name for missing_input in by_name["needs.json"].missing_inputs] == ["a.png"]
    assert by_name["plain.json"].missing_inputs == ()
    report = host.report()
    assert report["summary"]["missing_inputs"] == 1
    text = host.layout.status_markdown.read_text("utf-8")
    assert "Nothing to do: every workflow has what it needs." in text
    assert "| `a.png` | 1 |\n" in text


@pytest.mark.slow
def test_added_or_removed_picture_is_noticed_from_cache(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.write("needs.json", with_picture("a.png"))
    assert entries(host)["needs.json"].missing_inputs
    before = verdicts(host)
    picture = put(host.comfyui / "input/a.png")
    result = host.cycle()
    assert result.status is not None
    assert result.record.read == 0
    assert result.status.workflows[0].missing_inputs == ()
    picture.unlink()
    assert entries(host)["needs.json"].missing_inputs
    assert verdicts(host) == before


def verdicts(host: Host) -> list[tuple[object, ...]]:
    """Return the stored verdicts with the host that they belong to."""
    import sqlite3

    with sqlite3.connect(host.layout.database) as connection:
        return list(connection.execute("SELECT sha256, context FROM workflow_verdicts ORDER BY sha256"))


def test_missing_required_picture_makes_the_workflow_missing(tmp_path: Path) -> None:
    host = Host(tmp_path, workflows__require_inputs=True)
    host.write("needs.json", with_picture("a.png"))
    host.write("broken.json", b"{")
    by_name = entries(host)
    assert by_name["needs.json"].status is WorkflowStatus.MISSING
    assert by_name["broken.json"].status is WorkflowStatus.INVALID
    assert by_name["needs.json"].last_resolved_at is None
    assert "- `needs.json`: your file: a.png\n" in host.layout.status_markdown.read_text("utf-8")
    put(host.comfyui / "input/a.png")
    by_name = entries(host)
    assert by_name["needs.json"].status is WorkflowStatus.READY
    assert by_name["needs.json"].last_resolved_at is not None


def test_missing_picture_is_shown_beside_a_missing_model(tmp_path: Path) -> None:
    host = Host(tmp_path)
    both = orjson.loads(graph(checkpoint="gone.safetensors"))
    both["nodes"].append({"id": 99, "type": "LoadImage", "mode": 0, "widgets_values": ["a.png", "image"]})
    host.write("both.json", orjson.dumps(both))
    assert entries(host)["both.json"].status is WorkflowStatus.MISSING
    text = host.layout.status_markdown.read_text("utf-8")
    assert "| `a.png` | 1 |\n" in text


def test_upload_mark_in_a_pack_makes_an_input_a_picture(tmp_path: Path) -> None:
    host = Host(tmp_path)
    folder = host.pack("Loads")
    source = (folder / "__init__.py").read_text().replace('("IMAGE",)', '(listed(), {"image_upload": True})')
    put(folder / "__init__.py", source.replace('RETURN_TYPES = (listed(), {"image_upload": True})', "").encode())
    host.write("a.json", orjson.dumps({"1": {"class_type": "Loads", "inputs": {"images": "mine.png"}}}))
    assert [missing_input.name for missing_input in entries(host)["a.json"].missing_inputs] == ["mine.png"]
