from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.folders import ModelFolder, ModelFolders
from comfywatchman.readiness.downloads.target import Target, decide_target, open_folder, reason_to_refuse_name

SAFE = frozenset({".safetensors", ".ckpt"})


def folders(models: Path) -> ModelFolders:
    known = {
        "loras": ModelFolder("loras", (models / "loras",), SAFE),
        "diffusion_models": ModelFolder("diffusion_models", (models / "unet", models / "diffusion_models"), SAFE),
        "anything": ModelFolder("anything", (models / "anything",), frozenset()),
        "classifiers": ModelFolder("classifiers", (models / "classifiers",), frozenset({""})),
        "diffusers": ModelFolder("diffusers", (models / "diffusers",), frozenset({"folder"})),
        "homeless": ModelFolder("homeless", (), frozenset()),
    }
    return ModelFolders(models, known, {"loras": Path("/mnt/big/loras")})


MODELS = Path("/comfy/models")


@pytest.mark.parametrize(
    ("name", "folder", "path"),
    [
        ("a.safetensors", "diffusion_models", "/comfy/models/diffusion_models/a.safetensors"),
        ("a.safetensors", "unet", "/comfy/models/diffusion_models/a.safetensors"),
        ("wan\\high/a.safetensors", "loras", "/mnt/big/loras/wan/high/a.safetensors"),
        ("x.gguf", "anything", "/comfy/models/anything/x.gguf"),
        ("Größe 2.0 (v2).safetensors", "loras", "/mnt/big/loras/Größe 2.0 (v2).safetensors"),
    ],
)
def test_a_model_goes_where_this_comfyui_reads_it_under_the_workflows_name(name: str, folder: str, path: str) -> None:
    assert decide_target(name, folder, folders(MODELS)).path == Path(path)


EVIL = (
    "../a.safetensors", "a/../../b.safetensors", "..\\a.safetensors", "/etc/a.safetensors", "\\a.safetensors",
    "C:\\a.safetensors", "c:a.safetensors", "a//b.safetensors", "./a.safetensors", "a/./b.safetensors", "",
    "a\0.safetensors", "a\n.safetensors", "a\x1b.safetensors", "\u202egnp.safetensors", "a\u200b.safetensors",
    "\ud800.safetensors", "nul.safetensors", "CON/a.safetensors", "com1.x.safetensors", "a./b.safetensors",
    "a /b.safetensors", " a.safetensors", "-rf.safetensors", "-a/b.safetensors", "x" * 256 + ".safetensors",
    "é" * 130 + ".safetensors", ".hidden.safetensors", ".a/b.safetensors", "~/a.safetensors", "a.py",
    "a.safetensors.sh", "a", ".safetensors", "a:b.safetensors", "a|b.safetensors",
    "https://evil/a.safetensors", "a.safetensors/", "a.gguf",
)  # fmt: skip


@pytest.mark.parametrize("name", EVIL, ids=range(len(EVIL)))
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(Failure) as raised:
        decide_target(name, "loras", folders(MODELS))
    assert raised.value.code == "download-name-unsafe"
    assert raised.value.message.isprintable()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a.safetensors", "nobody"),
        ("a.safetensors", None),
        ("a.safetensors", "homeless"),
        ("flux.safetensors", "diffusers"),
        ("a.txt", "anything"),
        ("a.exe", "anything"),
        ("a.exe", "classifiers"),
    ],
)
def test_a_folder_that_takes_no_such_file_is_refused(name: str, folder: str | None) -> None:
    with pytest.raises(Failure) as raised:
        decide_target(name, folder, folders(MODELS))
    assert raised.value.code == "download-name-unsafe"


@given(st.text(st.sampled_from("ab.-/\\:~ \0\n\u202eé%"), max_size=12), st.booleans())
@pytest.mark.slow
def test_no_name_leaves_its_folder(name: str, with_suffix: bool) -> None:  # noqa: FBT001 - drawn
    name += ".safetensors" * with_suffix
    if reason_to_refuse_name(name, SAFE) is None:
        target = decide_target(name, "loras", folders(MODELS))
        assert os.path.normpath(target.path) == str(target.path)
        assert target.path.is_relative_to("/mnt/big/loras")
        assert target.name.endswith(".safetensors")


def test_folders_are_made_as_needed(tmp_path: Path) -> None:
    with open_folder(Target(tmp_path / "models" / "loras", ("a", "b"), "c.safetensors")) as folder:
        os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    assert (tmp_path / "models" / "loras" / "a" / "b" / "x").exists()


def test_the_configured_directory_may_be_a_link_and_nothing_below_it(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "loras").symlink_to(tmp_path / "disk")
    with open_folder(Target(tmp_path / "loras", (), "c")):
        pass
    (tmp_path / "outside").mkdir()
    (tmp_path / "disk" / "a").symlink_to(tmp_path / "outside")
    for below in (("a",), ("a", "b")):
        with pytest.raises(Failure) as raised, open_folder(Target(tmp_path / "loras", below, "c")):
            pass
        assert raised.value.code == "download-name-unsafe"
        assert "extra_model_paths" in (raised.value.hint or "")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_where_a_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for directory, below in ((tmp_path, ("a",)), (tmp_path / "a", ())):
        with pytest.raises(Failure), open_folder(Target(directory, below, "c")):
            pass
    with pytest.raises(Failure) as raised, open_folder(Target(tmp_path / ("x" * 300), (), "c")):
        pass
    assert raised.value.code == "state-unwritable"


@pytest.mark.slow
def test_a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere_else(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "loras"
    for path in (outside, inside / "a"):
        path.mkdir(parents=True)
    (inside / "link").symlink_to(outside)
    stop = threading.Event()
    exchange = ctypes.CDLL(None).renameat2
    names = os.fsencode(inside / "a"), os.fsencode(inside / "link")

    def swap() -> None:
        while not stop.is_set():
            assert exchange(-100, names[0], -100, names[1], 2) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    written = 0
    try:
        for _ in range(20_000):
            try:
                with open_folder(Target(inside, ("a",), "c")) as folder:
                    os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
                written += 1
            except Failure:
                continue
    finally:
        stop.set()
        thread.join()
    assert written
    assert list(outside.iterdir()) == []
