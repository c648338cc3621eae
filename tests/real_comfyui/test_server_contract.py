"""What the product assumes of a ComfyUI server, asked of a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from comfywatchman.comfyui.packs.definitions import read_core_definitions

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.real_comfyui import Installed, Server

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

EMPTY_SAFETENSORS = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"


def model(base: Path, name: str, content: bytes = EMPTY_SAFETENSORS) -> None:
    path = base / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def options(server: Server, class_type: str, name: str) -> list[Any]:
    """Return what a combo offers, in either of the two shapes that a server writes."""
    spec = server.get(f"/object_info/{class_type}")[1][class_type]["input"]["required"][name]
    return spec[0] if isinstance(spec[0], list) else spec[1]["options"]


def test_a_cpu_device_reports_the_memory_of_the_machine_as_its_own(real_comfyui: Server) -> None:
    device = real_comfyui.get("/system_stats")[1]["devices"][0]
    assert (device["type"], device["index"]) == ("cpu", None)
    assert device["vram_total"] == real_comfyui.get("/system_stats")[1]["system"]["ram_total"]


def test_aliases_of_folders_are_not_found_and_canonical_names_are(real_comfyui: Server) -> None:
    answers = {name: real_comfyui.get(f"/models/{name}")[0] for name in ("unet", "clip", "diffusion_models")}
    assert answers == {"unet": 404, "clip": 404, "diffusion_models": 200}


def test_an_unknown_class_is_an_empty_answer_not_an_error(real_comfyui: Server) -> None:
    assert real_comfyui.get("/object_info/NoSuchClass") == (200, {})


def test_a_new_file_is_offered_at_once_by_the_listing_and_by_the_combo(real_comfyui: Server) -> None:
    model(real_comfyui.base, "models/vae/contract/new.safetensors")
    assert "contract/new.safetensors" in real_comfyui.get("/models/vae")[1]
    assert "contract/new.safetensors" in options(real_comfyui, "VAELoader", "vae_name")


def test_a_file_in_the_legacy_folder_and_one_in_the_output_folder_are_offered(real_comfyui: Server) -> None:
    model(real_comfyui.base, "models/unet/contract_legacy.safetensors")
    model(real_comfyui.base, "output/diffusion_models/contract_output.safetensors")
    offered = options(real_comfyui, "UNETLoader", "unet_name")
    assert {"contract_legacy.safetensors", "contract_output.safetensors"} <= set(offered)


@pytest.mark.parametrize("spelling", ["sub\\style.safetensors", "Sub/style.safetensors", "style.safetensors"])
def test_another_separator_case_or_folder_is_refused(real_comfyui: Server, spelling: str) -> None:
    model(real_comfyui.base, "models/checkpoints/sub/style.safetensors")
    assert "sub/style.safetensors" in options(real_comfyui, "CheckpointLoaderSimple", "ckpt_name")
    assert spelling not in options(real_comfyui, "CheckpointLoaderSimple", "ckpt_name")


def test_an_empty_file_and_an_html_page_are_offered_although_they_cannot_be_loaded(real_comfyui: Server) -> None:
    model(real_comfyui.base, "models/loras/empty.safetensors", b"")
    model(real_comfyui.base, "models/loras/page.safetensors", b"<html>sign in</html>")
    offered = options(real_comfyui, "LoraLoader", "lora_name")
    assert {"empty.safetensors", "page.safetensors"} <= set(offered)


def test_the_source_of_the_core_gives_away_the_classes_that_the_server_lists(
    real_comfyui: Server, real_comfyui_installed: Installed
) -> None:
    theirs = real_comfyui.get("/object_info")[1].keys()
    ours = read_core_definitions(real_comfyui_installed.tree).classes
    assert set(theirs) <= set(ours)
    # Where a library of the system is missing, the server leaves out the classes of the module that needs it.
    if "IMPORT FAILED" not in real_comfyui.log.read_text():
        assert set(ours) == set(theirs)


def test_combos_come_in_two_shapes(real_comfyui: Server) -> None:
    classes = real_comfyui.get("/object_info")[1].values()
    specs = [spec for one in classes for group in one["input"].values() for spec in group.values() if spec]
    lists = [spec for spec in specs if isinstance(spec[0], list)]
    named = [spec for spec in specs if spec[0] == "COMBO" and isinstance(spec[1].get("options"), list)]
    assert lists
    assert named


def test_only_a_server_with_node_replacements_lists_them(
    real_comfyui: Server, real_comfyui_installed: Installed
) -> None:
    has_them = (real_comfyui_installed.tree / "app" / "node_replace_manager.py").exists()
    assert real_comfyui.get("/node_replacements")[0] == (200 if has_them else 404)


def test_the_arguments_tell_which_base_folder_a_server_works_with(real_comfyui: Server) -> None:
    system = real_comfyui.get("/system_stats")[1]["system"]
    assert f"--base-directory={real_comfyui.base}" in system["argv"]
    assert system["comfyui_version"].count(".") == 2
