"""Model folders with everything that makes listing them hard, written for a ComfyUI and for our own reader alike."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

EMPTY_SAFETENSORS: Final = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"

FOLDERS: Final = (
    *(
        "audio_encoders",
        "checkpoints",
        "classifiers",
        "clip",
        "clip_vision",
        "configs",
        "controlnet",
        "diffusion_models",
    ),
    *("embeddings", "gligen", "hypernetworks", "latent_upscale_models", "loras", "model_patches", "photomaker"),
    *("style_models", "t2i_adapter", "text_encoders", "unet", "upscale_models", "vae", "vae_approx"),
)
NAMES: Final = (
    *(
        "plain.safetensors",
        "UPPER.SAFETENSORS",
        "old.ckpt",
        "old.pt",
        "new.pt2",
        "weights.bin",
        "w.pth",
        "w.pkl",
        "w.sft",
    ),
    *("quantised.gguf", "network.onnx", "settings.yaml", "notes.txt", "no_extension", ".safetensors", ".hidden.pt"),
    *("two.dots.safetensors", "ends with space .safetensors", "Ünïcödé ⚡.safetensors", "quote'\"s.safetensors"),
    *("new\nline.safetensors", "back\\slash.safetensors", "sub/inner.safetensors", "sub/sub/deep.safetensors"),
    *(".git/inside.safetensors", "Sub/inner.safetensors", ".dotfolder/x.safetensors", "half.safetensors.part"),
)


def write_model(path: Path, content: bytes = EMPTY_SAFETENSORS) -> None:
    """Write one model file with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def fill_model_folders(base: Path, elsewhere: Path, *, seed: int = 7) -> list[Path]:
    """Fill a base folder and one outside of it.

    Returns:
        Two extra_model_paths files that name places outside.
    """
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice, no secret
    for folder in FOLDERS:
        for name in NAMES:
            if chance.random() < 0.7:
                write_model(base / "models" / folder / name)
            if chance.random() < 0.2:
                write_model(base / "output" / folder / name)
            if chance.random() < 0.3:
                write_model(elsewhere / "shared" / folder / name)
    _link(base / "models", elsewhere)
    return [_absolute_paths(elsewhere), _relative_paths(elsewhere)]


def _link(models: Path, elsewhere: Path) -> None:
    write_model(elsewhere / "disk" / "linked" / "far.safetensors")
    (models / "loras" / "disk").symlink_to(elsewhere / "disk")
    (models / "vae" / "linked_file.safetensors").symlink_to(elsewhere / "disk" / "linked" / "far.safetensors")
    (models / "vae" / "nowhere.safetensors").symlink_to(elsewhere / "gone.safetensors")
    os.mkfifo(models / "vae" / "pipe.safetensors")
    for name in ("sd15", "family/sdxl"):
        write_model(models / "diffusers" / name / "model_index.json", b"{}")
        write_model(models / "diffusers" / name / "unet" / "diffusion_pytorch_model.safetensors")
    (models / "diffusers" / "empty").mkdir()


def _absolute_paths(elsewhere: Path) -> Path:
    path = elsewhere / "absolute.yaml"
    path.write_text(
        f"mine:\n  base_path: {elsewhere}/shared\n  is_default: true\n  checkpoints: checkpoints/\n"
        "  loras: |\n    loras\n    ../disk\n  unet: unet\n  my_own_folder: vae\n"
        "empty:\n"
    )
    return path


def _relative_paths(elsewhere: Path) -> Path:
    path = elsewhere / "relative.yaml"
    path.write_text(
        "below:\n  base_path: shared\n  clip: clip\n  text_encoders: text_encoders\n  vae: not/there\n"
        "variable:\n  base_path: $CW_TEST_SHARED\n  upscale_models: upscale_models\n  embeddings: embeddings\n"
        "bare:\n  controlnet: shared/controlnet\n"
    )
    return path
