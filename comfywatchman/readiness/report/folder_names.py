"""Names for the models of each model folder, in the singular and the plural."""

from __future__ import annotations

from typing import Final

_NAMES: Final = {
    "checkpoints": "checkpoint",
    "clip_vision": "CLIP vision model",
    "controlnet": "ControlNet",
    "diffusion_models": "diffusion model",
    "embeddings": "embedding",
    "ipadapter": "IPAdapter model",
    "loras": "LoRA",
    "sams": "SAM model",
    "style_models": "style model",
    "text_encoders": "text encoder",
    "upscale_models": "upscale model",
    "vae": "VAE",
    "vae_approx": "preview VAE",
}


def name_model(folder: str | None) -> str:
    """Return the name of a model of a folder, in the singular."""
    if not folder:
        return "model"
    return _NAMES.get(folder, f"{folder} model")


def name_models(folder: str) -> str:
    """Return the name of the models of a folder, in the plural and with a capital letter."""
    plural = f"{name_model(folder)}s"
    return plural[0].upper() + plural[1:]
