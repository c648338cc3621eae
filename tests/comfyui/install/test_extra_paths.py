from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.install.extra_paths import ExtraPath, read_extra_paths
from comfywatchman.comfyui.install.start_blockers import StartBlocker
from tests.comfyui.install.extra_paths_cases import ACCEPTED, REFUSED
from tests.model_files import put


def read_yaml(tmp_path: Path, content: str | bytes) -> list[tuple[str, str, bool]]:
    raw = content if isinstance(content, bytes) else content.encode()
    result = read_extra_paths(put(tmp_path / "extra.yaml", raw))
    assert isinstance(result, tuple), result
    return [(entry.folder, str(entry.directory), entry.is_default) for entry in result]


def read_fault(path: Path) -> StartBlocker:
    result = read_extra_paths(path)
    assert isinstance(result, StartBlocker), result
    return result


def test_entries_are_relative_to_the_base_path(tmp_path: Path) -> None:
    text = "a111:\n  base_path: /data/sd/\n  checkpoints: models/Stable-diffusion\n  vae: /other/vae\n"
    assert read_yaml(tmp_path, text) == [
        ("checkpoints", "/data/sd/models/Stable-diffusion", False),
        ("vae", "/other/vae", False),
    ]


def test_value_may_hold_several_lines(tmp_path: Path) -> None:
    text = "x:\n  base_path: /b\n  loras: |\n    one\n    two/../three\n"
    assert read_yaml(tmp_path, text) == [("loras", "/b/one", False), ("loras", "/b/three", False)]


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    assert read_yaml(tmp_path, "x:\n  loras: my/loras\n") == [("loras", str(tmp_path / "my/loras"), False)]
    assert read_yaml(tmp_path, "x:\n  base_path: up\n  loras: l\n") == [("loras", str(tmp_path / "up/l"), False)]
    assert read_yaml(tmp_path, "x:\n  base_path: ''\n  loras: l\n") == [("loras", str(tmp_path / "l"), False)]


def test_home_and_variables_are_expanded_in_base_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("DISK", "/mnt/d")
    assert read_yaml(tmp_path, "x:\n  base_path: ~/m\n  vae: v\ny:\n  base_path: $DISK/m\n  vae: v\n") == [
        ("vae", "/home/ann/m/v", False),
        ("vae", "/mnt/d/m/v", False),
    ]


def test_is_default_applies_to_its_section_only(tmp_path: Path) -> None:
    text = "x:\n  is_default: true\n  vae: /a\ny:\n  vae: /b\nempty:\n"
    assert read_yaml(tmp_path, text) == [("vae", "/a", True), ("vae", "/b", False)]


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = "x: &x\n  base_path: /a\n  vae: v\ny:\n  <<: *x\n  base_path: /b\n"
    assert read_yaml(tmp_path, text) == [("vae", "/a/v", False), ("vae", "/b/v", False)]


NESTED_MERGES = (
    "a0: &a0 {"
    + ", ".join(f"k{i}: x" for i in range(9))
    + "}\n"
    + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.slow
def test_fault_is_reported_with_its_line(tmp_path: Path, name: str) -> None:
    content, line = REFUSED[name]
    path = put(tmp_path / "extra.yaml", content)
    fault = read_fault(path)
    assert (fault.path, fault.line, fault.hides_folders) == (path, line, True)
    assert fault.reason
    assert fault.fix.endswith(".")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_file_that_comfyui_accepts_is_read(tmp_path: Path, name: str) -> None:
    content, folders = ACCEPTED[name]
    assert read_yaml(tmp_path, content) == folders


@pytest.mark.parametrize(
    ("name", "reason", "fix"),
    [
        ("only comments", "everything in it is commented out", "Delete the file"),
        ("no value", "'vae' has no value", "Write a folder there"),
        ("list", "'loras' is a list instead of a folder", "lines of their own below `|`"),
        ("numeric base_path", "'base_path' is a number", "in single quotes if it is a number"),
        ("empty base_path", "'base_path' has no value", "delete the line"),
        ("Windows path in double quotes", "escape sequence", "without quotes or in single quotes"),
        ("tab after a colon", "'\\t'", "Replace the tab by spaces"),
        ("section of text", "section 'x' is text instead of folders", "Correct this line"),
        ("list of sections", "it is a list instead of sections", "Correct this line"),
        ("yes", "'vae' is yes or no", "Write a folder there"),
        ("not UTF-8", "it is not UTF-8 text", "Save the file as UTF-8"),
        ("control character", "a character that YAML does not allow", "Correct this line"),
    ],
)
def test_fault_is_described(tmp_path: Path, name: str, reason: str, fix: str) -> None:
    fault = read_fault(put(tmp_path / "extra.yaml", REFUSED[name][0]))
    assert reason in fault.reason
    assert fix in fault.fix


@pytest.mark.parametrize("content", [NESTED_MERGES, "x:\n  vae: |\n" + "    v\n" * 10_001, "#" * 140_000])
@pytest.mark.slow
def test_file_beyond_the_limits_is_not_read(tmp_path: Path, content: str) -> None:
    fault = read_fault(put(tmp_path / "extra.yaml", content.encode()))
    assert fault.hides_folders


def test_file_that_cannot_be_opened_is_a_fault_without_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        fault = read_fault(path)
        assert (fault.line, fault.location) == (None, str(path))
        assert fault.hides_folders


def test_fault_in_a_line_is_located_there(tmp_path: Path) -> None:
    path = put(tmp_path / "extra.yaml", REFUSED["list"][0])
    assert read_fault(path).location == f"{path}, line 3"


def test_impossible_user_name_is_a_fault(tmp_path: Path) -> None:
    fault = read_fault(put(tmp_path / "extra.yaml", b'x:\n  base_path: "~a\\0b"\n  vae: v\n'))
    assert (fault.line, fault.reason) == (2, "'base_path' is not a possible path")


def test_names_that_no_node_asks_for_are_left_out(tmp_path: Path) -> None:
    assert read_yaml(tmp_path, "x:\n  3: /a\n  true: /b\n  2020-01-01: /c\n  vae: /v\n") == [("vae", "/v", False)]


def test_entries_know_their_lines(tmp_path: Path) -> None:
    path = put(tmp_path / "e.yaml", b"x:\n  unet: /u\ny: &y\n  vae: |\n    /v\n    /w\nz:\n  <<: *y\n")
    unet, *rest = read_extra_paths(path)  # type: ignore[misc]
    assert unet == ExtraPath("unet", Path("/u"), is_default=False, line=2, base=Path("/u"))
    assert [entry.line for entry in rest] == [4] * 4


def test_entries_know_the_folder_that_they_lie_in(tmp_path: Path) -> None:
    content = b"far:\n  base_path: /disk/x/..\n  vae: vae\n  loras: |\n    /elsewhere\n    ../up\nnear:\n  unet: unet\n"
    paths = read_extra_paths(put(tmp_path / "e.yaml", content))
    assert not isinstance(paths, StartBlocker)
    bases = {path.folder + str(path.directory): path.base for path in paths}
    assert bases == {
        "vae/disk/vae": Path("/disk"),
        "loras/elsewhere": Path("/elsewhere"),
        "loras/up": Path("/up"),
        f"unet{tmp_path}/unet": tmp_path,
    }
