from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.folders import ModelFolders, find_base_blockers, get_canonical_name, resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.start_blockers import StartBlocker, require_known_folders
from comfywatchman.comfyui.models.suffixes import SAFETENSORS_SUFFIXES, TORCH_SUFFIXES
from comfywatchman.comfyui.references.reference import MODEL_EXTENSIONS
from tests.model_files import put


def resolve_model_folders(root: Path, yaml: str = "", *extra: Path) -> ModelFolders:
    if yaml:
        put(root / "extra_model_paths.yaml", yaml.encode())
    folders, problems = resolve_folders(Installation(root, None, root, extra_model_paths=extra))
    assert problems == ()
    return folders


def get_directories(folders: ModelFolders, name: str) -> tuple[Path, ...]:
    folder = folders.get(name)
    assert folder is not None
    return folder.directories


def test_core_folders_have_the_directories_of_comfyui(tmp_path: Path) -> None:
    folders = resolve_model_folders(tmp_path)
    models, output = tmp_path / "models", tmp_path / "output"
    assert get_directories(folders, "diffusion_models") == (
        models / "unet",
        models / "diffusion_models",
        output / "diffusion_models",
    )
    assert get_directories(folders, "text_encoders") == (models / "text_encoders", models / "clip", output / "clip")
    assert get_directories(folders, "controlnet") == (models / "controlnet", models / "t2i_adapter")
    assert get_directories(folders, "embeddings") == (models / "embeddings",)


def test_legacy_names_are_aliases(tmp_path: Path) -> None:
    folders = resolve_model_folders(tmp_path)
    assert get_canonical_name("unet") == "diffusion_models"
    assert get_canonical_name("clip") == "text_encoders"
    assert get_canonical_name("nobody") == "nobody"
    assert folders.get("clip") is folders.get("text_encoders")
    assert folders.get("nobody") is None
    assert "unet" not in folders.names()
    assert folders.names() == tuple(sorted(folders.names()))


def test_extensions_are_those_of_comfyui(tmp_path: Path) -> None:
    folders = resolve_model_folders(tmp_path).folders
    torch = {".bin", ".ckpt", ".pkl", ".pt", ".pt2", ".pth", ".safetensors", ".sft"}
    assert folders["checkpoints"].extensions == torch
    assert folders["configs"].extensions == {".yaml"}
    assert folders["classifiers"].extensions == {""}
    assert folders["diffusers"].extensions == {"folder"}
    assert folders["unet_gguf"].extensions == {".gguf"}
    assert folders["sam2"].extensions == frozenset()


def test_configured_directories_move_only_their_folders(tmp_path: Path) -> None:
    installation = Installation(
        tmp_path / "root", None, tmp_path / "base", models=tmp_path / "m", output=tmp_path / "o"
    )
    folders, _ = resolve_folders(installation)
    assert get_directories(folders, "loras") == (tmp_path / "m/loras", tmp_path / "o/loras")
    assert folders.custom_nodes == (tmp_path / "base/custom_nodes",)
    base_only, _ = resolve_folders(Installation(tmp_path / "root", None, tmp_path / "base"))
    assert get_directories(base_only, "vae") == (tmp_path / "base/models/vae", tmp_path / "base/output/vae")


def test_extra_paths_come_between_own_and_output_directories(tmp_path: Path) -> None:
    folders = resolve_model_folders(tmp_path, "x:\n  unet: /x/u\n")
    assert get_directories(folders, "diffusion_models")[2:] == (Path("/x/u"), tmp_path / "output/diffusion_models")


def test_default_directory_comes_first_and_is_the_target(tmp_path: Path) -> None:
    folders = resolve_model_folders(tmp_path, "x:\n  is_default: true\n  loras: /x/l\n  clip: /x/c\n")
    assert get_directories(folders, "loras")[0] == Path("/x/l")
    assert folders.target_directory("loras") == Path("/x/l")
    assert folders.target_directory("clip") == Path("/x/c")


def test_directory_named_twice_is_listed_once(tmp_path: Path) -> None:
    own = tmp_path / "models/diffusion_models"
    folders = resolve_model_folders(tmp_path, f"x:\n  unet: {own}\ny:\n  is_default: true\n  unet: {own}\n")
    assert get_directories(folders, "unet") == (
        own,
        tmp_path / "models/unet",
        tmp_path / "output/diffusion_models",
    )


def test_further_yaml_files_are_read_after_the_default_one(tmp_path: Path) -> None:
    first = put(tmp_path / "one.yaml", b"x:\n  vae: /one\n")
    second = put(tmp_path / "sub/two.yaml", b"x:\n  vae: two\n")
    folders = resolve_model_folders(tmp_path, "x:\n  vae: /zero\n", first, second)
    assert get_directories(folders, "vae")[1:4] == (Path("/zero"), Path("/one"), tmp_path / "sub/two")


def test_unknown_folder_accepts_every_file(tmp_path: Path) -> None:
    folder = resolve_model_folders(tmp_path, "x:\n  my_stuff: /s\n").get("my_stuff")
    assert folder is not None
    assert folder.extensions == frozenset()
    assert folder.directories == (Path("/s"),)


def test_gguf_folders_share_the_directories_of_their_owners(tmp_path: Path) -> None:
    folders = resolve_model_folders(tmp_path, "x:\n  unet: /x/u\n")
    assert get_directories(folders, "unet_gguf") == get_directories(folders, "diffusion_models")
    assert get_directories(folders, "clip_gguf") == get_directories(folders, "text_encoders")


def test_folders_without_models_are_not_model_folders(tmp_path: Path) -> None:
    folders = resolve_model_folders(tmp_path, "x:\n  custom_nodes: .\n  download_model_base: /x\n  datasets: /d\n")
    assert not {"custom_nodes", "download_model_base", "datasets"} & set(folders.names())
    assert folders.custom_nodes == (tmp_path / "custom_nodes", tmp_path)


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("unet", "diffusion_models"),
        ("clip", "text_encoders"),
        ("unet_gguf", "diffusion_models"),
        ("ultralytics_bbox", "ultralytics/bbox"),
        ("loras", "loras"),
    ],
)
def test_new_model_goes_to_the_directory_named_like_its_folder(tmp_path: Path, name: str, directory: str) -> None:
    assert resolve_model_folders(tmp_path).target_directory(name) == tmp_path / "models" / directory


def test_unknown_folder_has_no_target(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        resolve_model_folders(tmp_path).target_directory("nobody")


def test_broken_yaml_is_reported_and_the_rest_is_used(tmp_path: Path) -> None:
    put(tmp_path / "extra_model_paths.yaml", b"x: [")
    good = put(tmp_path / "good.yaml", b"x:\n  vae: /v\n")
    folders, blockers = resolve_folders(
        Installation(tmp_path, None, tmp_path, extra_model_paths=(tmp_path / "absent.yaml", good))
    )
    assert [(blocker.path.name, blocker.line, blocker.hides_folders) for blocker in blockers] == [
        ("extra_model_paths.yaml", 1, True),
        ("absent.yaml", None, True),
    ]
    assert Path("/v") in get_directories(folders, "vae")


def test_default_yaml_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "extra_model_paths.yaml").symlink_to("nowhere")
    assert resolve_folders(Installation(tmp_path, None, tmp_path))[1] == ()
    (tmp_path / "extra_model_paths.yaml").unlink()
    (tmp_path / "extra_model_paths.yaml").mkdir()
    assert resolve_folders(Installation(tmp_path, None, tmp_path))[1] == ()


def test_default_yaml_lies_beside_the_real_main(tmp_path: Path) -> None:
    root = tmp_path / "disk" / "ComfyUI"
    put(root / "extra_model_paths.yaml", b"x:\n  vae: ../vae\n")
    put(root / "main.py", b"")
    (tmp_path / "link").symlink_to(root)
    folders = resolve_folders(Installation(tmp_path / "link", None, tmp_path / "link"))[0]
    assert tmp_path / "disk" / "vae" in get_directories(folders, "vae")


def test_folder_for_packs_that_cannot_be_listed_blocks_the_start(tmp_path: Path) -> None:
    put(tmp_path / "file", b"")
    text = f'x:\n  custom_nodes: |\n    {tmp_path}\n    {tmp_path}/nope\n    {tmp_path}/file\n  vae: "a\\0b"\n'
    path = put(tmp_path / "extra_model_paths.yaml", text.encode() + b'y:\n  custom_nodes: "a\\0b"\n')
    folders, blockers = resolve_folders(Installation(tmp_path, None, tmp_path))
    assert [(blocker.path, blocker.line, blocker.hides_folders) for blocker in blockers] == [
        (path, 2, False),
        (path, 2, False),
        (path, 8, False),
    ]
    reasons = [blocker.reason.rpartition(", which ")[2] for blocker in blockers]
    assert reasons == ["does not exist", "is not a folder", "is not a possible path"]
    assert not any("\0" in str(directory) for directory in [*folders.custom_nodes, *get_directories(folders, "vae")])


def test_base_directory_needs_a_folder_for_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = Installation(tmp_path, None, tmp_path)
    (blocker,) = find_base_blockers(installation)
    assert (blocker.location, blocker.reason) == (f"{tmp_path}/custom_nodes", "The folder does not exist")
    (tmp_path / "custom_nodes").mkdir()
    assert find_base_blockers(installation) == ()

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    (blocker,) = find_base_blockers(installation)
    assert blocker.reason == "The folder cannot be listed: Permission denied"


def test_added_names_become_folders_unless_they_leave_the_model_folder(tmp_path: Path) -> None:
    folders = resolve_model_folders(tmp_path)
    more = folders.with_names(["depthanything", "loras", "unet", "../x", "a/../b", "", "/etc", "c\\d", "ok/sub"])
    assert set(more.names()) - set(folders.names()) == {"depthanything", "ok/sub"}
    assert get_directories(more, "depthanything") == (tmp_path / "models/depthanything",)
    assert more.folders["loras"] is folders.folders["loras"]


def test_model_suffixes_are_the_same_everywhere(tmp_path: Path) -> None:
    checkpoints = resolve_model_folders(tmp_path).get("checkpoints")
    assert checkpoints is not None
    assert checkpoints.extensions == TORCH_SUFFIXES | SAFETENSORS_SUFFIXES == frozenset(MODEL_EXTENSIONS)


def test_folders_of_packs_do_not_keep_models_from_being_downloaded(tmp_path: Path) -> None:
    blocker = StartBlocker(tmp_path / "custom_nodes", None, "The folder does not exist", "Create the folder.")
    require_known_folders([blocker])
    with pytest.raises(Failure) as caught:
        require_known_folders([blocker, replace(blocker, hides_folders=True)])
    assert (caught.value.code, caught.value.hint) == ("comfyui-config-invalid", "Create the folder.")


def test_folder_inside_a_pack_belongs_to_the_folder_that_the_pack_registers(tmp_path: Path) -> None:
    folders = resolve_model_folders(tmp_path)
    pack = tmp_path / "custom_nodes/pack"
    more = folders.with_shipped([("kjnodes_fonts", pack), ("kjnodes_fonts", pack), ("loras", pack)])
    more = more.with_shipped([("animatediff_models", pack)]).with_names(["kjnodes_fonts"])
    assert get_directories(more, "kjnodes_fonts") == (pack / "fonts",)
    assert get_directories(more, "animatediff_models") == (tmp_path / "models/animatediff_models", pack / "models")
    assert more.folders["loras"] is folders.folders["loras"]
    assert more.target_directory("kjnodes_fonts") == pack / "fonts"
    assert more.target_directory("animatediff_models") == tmp_path / "models/animatediff_models"
