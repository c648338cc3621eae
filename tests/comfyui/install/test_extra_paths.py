from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.extra_paths import ExtraPath, read_extra_paths
from tests.model_files import put


def read_yaml(tmp_path: Path, text: str) -> list[tuple[str, str, bool]]:
    path = put(tmp_path / "extra.yaml", text.encode())
    return [(e.folder, str(e.directory), e.is_default) for e in read_extra_paths(path)]


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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        "just text",
        "x: text\n",
        "x:\n  vae: [a, b]\n",
        "x:\n  vae:\n",
        "x:\n  base_path:\n  vae: v\n",
        "x:\n  base_path: 3\n  vae: v\n",
        'x:\n  vae: "a\\0b"\n',
        'x:\n  base_path: "a\\0b"\n  vae: v\n',
        "x: {a: [\n",
        "x: !!python/object/apply:os.system ['touch PWN']\n",
        "[" * 3000,
        NESTED_MERGES,
        "x:\n  vae: |\n" + "    v\n" * 10_001,
        "\x00",
    ],
)
def test_file_that_comfyui_refuses_raises_failure(tmp_path: Path, text: str) -> None:
    with pytest.raises(Failure) as caught:
        read_yaml(tmp_path, text)
    assert caught.value.code == "comfyui-config-invalid"
    assert "extra.yaml" in caught.value.message
    assert list(tmp_path.iterdir()) == [tmp_path / "extra.yaml"]


def test_missing_or_undecodable_file_raises_failure(tmp_path: Path) -> None:
    for path in (put(tmp_path / "latin.yaml", b"x:\n  vae: \xff\n"), tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(Failure) as caught:
            read_extra_paths(path)
        assert caught.value.code == "comfyui-config-invalid"


def test_entries_with_equal_fields_are_equal(tmp_path: Path) -> None:
    path = put(tmp_path / "e.yaml", b"x:\n  unet: /u\n")
    assert read_extra_paths(path) == (ExtraPath("unet", Path("/u"), is_default=False),)
