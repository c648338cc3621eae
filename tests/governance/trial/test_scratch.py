from __future__ import annotations

from pathlib import Path

from comfywatchman.governance.trial.scratch import EMPTY_SAFETENSORS, create_base_directory


def test_base_directory_holds_only_markers_and_links(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    base = tmp_path / "base"
    base.mkdir()
    (base / "left over").touch()
    markers = create_base_directory(base, {"mine": tmp_path / "node"})
    assert not (base / "left over").exists()
    assert (base / "custom_nodes" / "mine").readlink() == tmp_path / "node"
    files = [path for path in (base / "models").rglob("watchman-*") if path.is_file()]
    assert {path.read_bytes() for path in files} == {b"", EMPTY_SAFETENSORS}
    assert len({path.name for path in files}) == len(files)
    folder = [path for path in (base / "models" / "diffusers").iterdir() if path.is_dir()]
    assert [(path / "model_index.json").read_text() for path in folder] == ["{}"]
    names = markers.names({"vae": [base / "models" / "vae"], "unet_gguf": [base / "models" / "unet"]})
    assert {Path(name).suffix for name in names["vae"]} == {".safetensors"}
    assert {Path(name).suffix for name in names["unet_gguf"]} == {".gguf"}


def test_folders_outside_of_the_base_directory_get_no_markers(tmp_path: Path) -> None:
    markers = create_base_directory(tmp_path / "base", {})
    outside = tmp_path / "outside"
    outside.mkdir()
    own = tmp_path / "base" / "models" / "mine"
    markers.add({"mine": [outside, own]})
    assert list(outside.iterdir()) == []
    count = len(list(own.iterdir()))
    assert count > 1
    markers.add({"mine": [own]})
    assert len(list(own.iterdir())) == count
