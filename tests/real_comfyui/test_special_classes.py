"""Classes whose choices or names ComfyUI treats in a way of their own, beside a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from comfywatchman.comfyui.packs.replacements import EDITOR_RENAMES
from scripts.real_comfyui import start
from tests.real_comfyui.editor import Editor
from tests.real_comfyui.sandbox import write_model
from tests.real_comfyui.truth import HostKind, get_editor_renames, run_cycle, write_workflows
from tests.real_comfyui.validation_pack import ask_server, write_validation_pack

if TYPE_CHECKING:
    from scripts.real_comfyui import Installed

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

Json = dict[str, Any]

APPROXIMATIONS: Final = (
    *("taesd_encoder.safetensors", "taesd_decoder.safetensors", "taef1_encoder.safetensors"),
    *("taehv.safetensors", "lighttaew2_1.safetensors", "lighttae.safetensors", "taeltx_2.safetensors"),
    *("taesdxl_encoder.fp16.safetensors", "taesdxl_decoder.sft", "taesd3_encoders.sft", "taesd3_decoder.sft"),
    "other.safetensors",
)
VALUES: Final = (
    *APPROXIMATIONS,
    "plain.safetensors",
    "taesd",
    "taef1",
    "taef2",
    "taesdxl",
    "taesd3",
    "pixel_space",
    "gone.pt",
)
OWN_VAES: Final = ("taehv_own.safetensors", "taesd_encoder.sft")
"""Files of the folder vae that are called like approximations."""


def decode_with(loader: Json, output: int = 0) -> Json:
    return {
        "1": loader,
        "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "3": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 0], "vae": ["1", output]}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }


def build_file(class_type: str) -> Json:
    """Return a file of the editor with one node that nothing leads to, and an output."""
    values = ["plain.safetensors"] if class_type == "T2IAdapterLoader" else []
    nodes = [
        {"id": 1, "type": class_type, "mode": 0, "inputs": [], "outputs": [], "widgets_values": values},
        {"id": 2, "type": "EmptyImage", "mode": 0, "outputs": [{"links": [1]}], "widgets_values": [8, 8, 1, 0]},
        {"id": 3, "type": "PreviewImage", "mode": 0, "inputs": [{"name": "images", "type": "IMAGE", "link": 1}]},
    ]
    return {"nodes": nodes, "links": [[1, 2, 0, 3, 0, "IMAGE"]], "version": 0.4}


@pytest.fixture(scope="module")
def statuses(
    real_comfyui_installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[bool, str, str]]:
    """Whether the server accepts a workflow, and its status with the server asked and not asked, by file name."""
    base, home = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("home")
    for name in APPROXIMATIONS:
        write_model(base / "models" / "vae_approx" / name)
    for name in OWN_VAES:
        write_model(base / "models" / "vae" / name)
    for folder in ("vae", "controlnet"):
        write_model(base / "models" / folder / "plain.safetensors")
    (base / "user" / "default" / "workflows").mkdir(parents=True)
    write_validation_pack(base)
    server = start(real_comfyui_installed, base)
    try:
        editor = Editor(server.get("/object_info")[1], renames=get_editor_renames(server))
        vae_loaders = {name: {"class_type": "VAELoader", "inputs": {"vae_name": name}} for name in (*VALUES, *OWN_VAES)}
        prompts = {f"vae {name}.json": decode_with(loader) for name, loader in vae_loaders.items()}
        files = {f"file {old}.json": build_file(old) for old in EDITOR_RENAMES}
        picture = editor.build_prompt(build_file("Nothing"))
        for old in EDITOR_RENAMES:
            prompts[f"prompt {old}.json"] = {**picture, "1": {"class_type": old, "inputs": {}, "_meta": {}}}
        write_workflows(base, prompts | files)
        answers = ask_server(server, prompts | {name: editor.build_prompt(file) for name, file in files.items()})
        kind = HostKind(models=1.0)
        asked = run_cycle(real_comfyui_installed, base, home / "asked", kind, url=server.url)
        not_asked = run_cycle(real_comfyui_installed, base, home / "not_asked", kind, url="")
    finally:
        server.stop()
    return {
        name: (answer.is_accepted, asked[name]["status"], not_asked[name]["status"]) for name, answer in answers.items()
    }


@pytest.mark.parametrize("name", [*VALUES, *OWN_VAES])
def test_vae_is_ready_where_the_server_offers_it(statuses: dict[str, tuple[bool, str, str]], name: str) -> None:
    is_accepted, asked, not_asked = statuses[f"vae {name}.json"]
    assert (asked == "READY", not_asked == "READY") == (is_accepted, is_accepted)


@pytest.mark.parametrize("old", sorted(EDITOR_RENAMES))
@pytest.mark.parametrize("kind", ["file", "prompt"])
def test_old_class_is_ready_where_the_server_accepts_it(
    statuses: dict[str, tuple[bool, str, str]], kind: str, old: str
) -> None:
    is_accepted, asked, not_asked = statuses[f"{kind} {old}.json"]
    assert (asked == "READY", not_asked == "READY") == (is_accepted, is_accepted)
