from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.loaders.tiny_vaes import TinyVaes, read_tiny_vaes

SOURCE = """
import torch
class Other:
    video_taes = ["no"]
    image_taes = ["no"]
class VAELoader:
    video_taes = ["taehv", "taenew"]
    image_taes = ("taesd", 3, name)
    other: int = 1
    @staticmethod
    def vae_list(s): return []
"""


def read(folder: Path, source: str) -> TinyVaes | None:
    (folder / "nodes.py").write_text(source)
    return read_tiny_vaes(folder)


def test_lists_of_the_loader_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, SOURCE) == TinyVaes(("taesd",), ("taehv", "taenew"))


@pytest.mark.parametrize(
    "source",
    [
        "",
        "class VAELoader: pass",
        "def (",
        SOURCE.replace("image_taes", "images"),
        SOURCE.replace('["taehv", "taenew"]', "list_taes()"),
    ],
)
def test_other_sources_do_not_show_them(tmp_path: Path, source: str) -> None:
    assert read(tmp_path, source) is None


def test_missing_source_does_not_show_them(tmp_path: Path) -> None:
    assert read_tiny_vaes(tmp_path) is None
