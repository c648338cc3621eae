from __future__ import annotations

import pytest

from tests.cli.jobs.calls import JobsHome

pytestmark = pytest.mark.slow


def test_samples_are_written_once(home: JobsHome) -> None:
    (home.folder / "config" / "workflows.yaml").unlink()
    text = home("init").stdout
    assert f"created {home.folder / 'config' / 'workflows.yaml'}\n" in text
    assert home.format_command("run", "--once") in text
    assert (home.processing / "image").is_dir()
    again = home("init").stdout
    assert again.startswith("Everything is there already.\n")
    assert home.json("init")["written"] == []


def test_first_picture_is_made_from_an_empty_folder(home: JobsHome) -> None:
    (home.folder / "config" / "workflows.yaml").unlink()
    home("init")
    (example,) = (home.processing.parent / "examples").glob("*first-picture.yaml")
    (home.processing / "image" / example.name).write_bytes(example.read_bytes())
    assert home.json("run")["job"]["status"] == "done"
    assert [path.suffix for path in (home.finished / "image" / example.stem).iterdir() if path.suffix == ".png"]
