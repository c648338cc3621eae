from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.start_blockers import StartBlocker, check_custom_nodes, require_known_folders


def test_location_ends_with_the_line() -> None:
    path = Path("/srv/extra_model_paths.yaml")
    assert StartBlocker(path, 3, "It is broken", "Repair it.").location == f"{path}, line 3"
    assert StartBlocker(path, None, "It is broken", "Repair it.").location == str(path)


def test_location_of_an_odd_name_is_printable() -> None:
    path = Path(os.fsdecode(b"/srv/\xff\n.yaml"))
    location = StartBlocker(path, None, "It is broken", "Repair it.").location
    assert location.isprintable()
    assert location.encode().startswith(b"/srv/")


def test_first_file_that_hides_folders_is_named() -> None:
    blockers = [
        StartBlocker(Path(name), line, f"Fault of {name}", f"Repair {name}.", hides_folders=hides)
        for name, line, hides in (("a", 1, False), ("b", 2, True), ("c", 3, True))
    ]
    with pytest.raises(Failure) as caught:
        require_known_folders(blockers)
    assert caught.value.hint == "Repair b."
    assert "b, line 2: Fault of b." in caught.value.message
    require_known_folders(blockers[:1])
    require_known_folders(())


def test_link_to_a_folder_can_be_listed(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "link").symlink_to("packs")
    (tmp_path / "broken").symlink_to("gone")
    assert check_custom_nodes(tmp_path / "link") is None
    assert check_custom_nodes(tmp_path / "broken") == "does not exist"


def test_error_of_the_system_is_the_reason(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert check_custom_nodes(tmp_path / "loop") == "cannot be listed: Too many levels of symbolic links"
    assert check_custom_nodes(tmp_path / ("x" * 300)) == "cannot be listed: File name too long"


def test_folder_below_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert check_custom_nodes(tmp_path / "file" / "custom_nodes") == "is not a folder"
