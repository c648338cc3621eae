"""The `extra_model_paths.yaml` that makes a ComfyUI use the models of its home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from comfywatchman.base.files import add_missing_lines, make_folder, unwritable_failure, write_atomic

FILE_NAME: Final = "extra_model_paths.yaml"
_FOLDERS: Final = (
    "audio_encoders",
    "checkpoints",
    "clip_vision",
    "controlnet",
    "diffusion_models",
    "embeddings",
    "gligen",
    "hypernetworks",
    "latent_upscale_models",
    "loras",
    "model_patches",
    "photomaker",
    "style_models",
    "text_encoders",
    "upscale_models",
    "vae",
    "vae_approx",
)
"""Folders of ComfyUI itself (`folder_paths.py` of 0.3.75). Those of packs are left to the packs: a name that is there
before a pack adds it would keep other file extensions."""

_MAX_BYTES: Final = 1 << 20


def write_model_paths(comfyui: Path, models: Path) -> None:
    """Make ComfyUI look for models in a folder first, and save new ones there.

    The folder gets a subfolder for each kind of model. git does not see the file: it is no change of ComfyUI's code.

    Raises:
        Failure: `state-unwritable`.
    """
    # A JSON string is a YAML string, whatever characters it has.
    lines = ["comfywatchman:", f"    base_path: {json.dumps(str(models))}", "    is_default: true"]
    lines += [f"    {name}: {name}/" for name in _FOLDERS]
    try:
        for name in _FOLDERS:
            make_folder(models / name)
        _hide_from_git(comfyui)
    except OSError as error:
        raise unwritable_failure(models, error, verb="created") from error
    write_atomic(comfyui / FILE_NAME, "".join(f"{line}\n" for line in lines).encode())


def _hide_from_git(comfyui: Path) -> None:
    # ComfyUI's own .gitignore has the file since 2023; forks and older refs may not.
    add_missing_lines(comfyui / ".git" / "info" / "exclude", [f"/{FILE_NAME}"], max_bytes=_MAX_BYTES)
