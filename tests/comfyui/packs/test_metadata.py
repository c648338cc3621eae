"""What a pack says of itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from comfywatchman.comfyui.packs.metadata import (
    GitState,
    NodePack,
    normalize_url,
    parse_repository,
    read_git_state,
    read_pack,
    refresh_pack,
)
from comfywatchman.comfyui.packs.scan import PackListing, find_packs

PROJECT = """
[project]
name = "comfyui-thing"
version = "1.2.3"
dependencies = ["scipy>=1.11"]
[project.urls]
Repository = "https://github.com/Someone/ComfyUI-Thing.git"
[tool.comfy]
PublisherId = "someone"
DisplayName = "Thing"
"""


def list_pack(tmp_path: Path, **files: str) -> PackListing:
    folder = tmp_path / "custom_nodes" / "Thing"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"__init__.py": "NODE_CLASS_MAPPINGS = {'T': None}", **files}.items():
        (folder / name).write_text(text, "utf-8")
    return find_packs([tmp_path / "custom_nodes"])[0]


def test_metadata_comes_from_pyproject_and_requirements(tmp_path: Path) -> None:
    text = "# comment\ntorch>=2  # why\n\ngit+https://token@github.com/a/b.git\nscipy>=1.11\n"
    pack = read_pack(list_pack(tmp_path, **{"pyproject.toml": PROJECT, "requirements.txt": text}), GitState())
    assert (pack.id, pack.version, pack.publisher, pack.display_name) == ("comfyui-thing", "1.2.3", "someone", "Thing")
    assert pack.requirements == ("torch>=2", "git+https://github.com/a/b", "scipy>=1.11")
    assert (pack.url, pack.repository) == ("https://github.com/Someone/ComfyUI-Thing", "someone/comfyui-thing")
    assert (pack.classes, pack.complete, pack.problems) == (frozenset({"T"}), True, ())


def test_pack_without_metadata_is_named_by_its_folder(tmp_path: Path) -> None:
    pack = read_pack(list_pack(tmp_path), GitState())
    assert (pack.id, pack.folder, pack.version, pack.url, pack.requirements) == ("Thing", "Thing", None, None, ())


@pytest.mark.parametrize("text", ["not [ toml", "project = 3\ntool = []", "[project]\nname = 5\ndependencies = 'x'"])
def test_broken_pyproject_is_ignored(text: str, tmp_path: Path) -> None:
    pack = read_pack(list_pack(tmp_path, **{"pyproject.toml": text}), GitState())
    assert pack.id == "Thing"
    assert bool(pack.problems) is text.startswith("not")


def test_pack_is_found_by_registry_id_folder_and_repository(tmp_path: Path) -> None:
    pack = read_pack(list_pack(tmp_path, **{"pyproject.toml": PROJECT}), GitState())
    assert all(pack.is_called(name) for name in ("ComfyUI-Thing", "thing", "someone/ComfyUI-Thing"))
    assert not any(pack.is_called(name) for name in ("", "other", "else/comfyui-thing"))


def test_git_state_comes_from_the_packs_own_repository(tmp_path: Path) -> None:
    listing = list_pack(tmp_path)
    assert read_git_state(listing) == GitState()
    run = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for arguments in (
        ["init", "-q"],
        ["remote", "add", "origin", "https://me:secret@github.com/Someone/Thing.git"],
        ["add", "."],
        ["commit", "-qm", "one"],
    ):
        subprocess.run([*run, *arguments], cwd=listing.path, check=True, capture_output=True)
    clean = read_pack(list_pack(tmp_path), read_git_state(list_pack(tmp_path)))
    assert (clean.url, clean.dirty) == ("https://github.com/Someone/Thing", False)
    assert clean.git_commit is not None
    changed = list_pack(tmp_path, **{"__init__.py": "changed = 1\n"})
    assert refresh_pack(clean, changed, read_git_state(changed)).dirty is True


def test_refreshed_pack_keeps_the_stated_url(tmp_path: Path) -> None:
    listing = list_pack(tmp_path, **{"pyproject.toml": PROJECT})
    pack = read_pack(listing, GitState())
    assert refresh_pack(pack, listing, GitState(commit="c")).url == pack.url


def test_pack_survives_serialisation(tmp_path: Path) -> None:
    text = (
        "import folder_paths\nclass T:\n    def INPUT_TYPES(s):\n"
        "        return {'required': {'l': (folder_paths.get_filename_list('loras'),)}}\n"
        "NODE_CLASS_MAPPINGS = {'T': T}"
    )
    pack = read_pack(list_pack(tmp_path, **{"__init__.py": text}), GitState())
    assert len(pack.loader_inputs) == 1
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(pack), type=NodePack) == pack


@pytest.mark.parametrize(
    ("url", "plain", "repository"),
    [
        ("https://u:p@github.com/A/B.git", "https://github.com/A/B", "a/b"),
        ("git@github.com:A/B.git", "https://github.com/A/B", "a/b"),
        ("https://github.com/A/B/", "https://github.com/A/B", "a/b"),
        ("ssh://git@host/A/B", "ssh://host/A/B", "a/b"),
        ("", None, None),
        (None, None, None),
    ],
)
def test_urls_are_shown_without_secrets(url: str | None, plain: str | None, repository: str | None) -> None:
    assert normalize_url(url) == plain
    assert (parse_repository(url) if url else None) == repository
