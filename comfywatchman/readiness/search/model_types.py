"""Which model folders fit what Civitai calls a model or a file."""

from __future__ import annotations

from typing import Final

_DIFFUSION: Final = frozenset({"diffusion_models", "unet_gguf"})
_TEXT_ENCODERS: Final = frozenset({"text_encoders", "clip_gguf", "t5", "LLM", "llm"})
_DETECTORS: Final = frozenset(
    {"ultralytics", "ultralytics_bbox", "ultralytics_segm", "mmdets_bbox", "mmdets_segm", "yolo"}
)

FOLDERS_BY_MODEL_TYPE: Final = {
    "Checkpoint": frozenset({"checkpoints"}) | _DIFFUSION,
    "LORA": frozenset({"loras", "animatediff_motion_lora"}),
    "LoCon": frozenset({"loras"}),
    "DoRA": frozenset({"loras"}),
    "TextualInversion": frozenset({"embeddings"}),
    "Controlnet": frozenset({"controlnet", "model_patches", "ipadapter"}),
    "Upscaler": frozenset({"upscale_models", "latent_upscale_models"}),
    "VAE": frozenset({"vae", "vae_approx"}),
    "TextEncoder": _TEXT_ENCODERS,
    "CLIP": _TEXT_ENCODERS,
    "CLIPVision": frozenset({"clip_vision"}),
    "UNet": _DIFFUSION | {"checkpoints"},
    "MotionModule": frozenset({"animatediff_models", "animatediff_motion_lora"}),
    "Hypernetwork": frozenset({"hypernetworks"}),
    "Detection": _DETECTORS,
    "LLM": _TEXT_ENCODERS,
    "Poses": frozenset[str](),
    "Wildcards": frozenset[str](),
    "Workflows": frozenset[str](),
    "ComfyWorkflows": frozenset[str](),
    "AestheticGradient": frozenset[str](),
}
"""Model folders for each model type of Civitai; types that are not listed (`Other`) are ignored."""

FOLDERS_BY_FILE_TYPE: Final = {
    "UNet": _DIFFUSION | {"checkpoints"},
    "Diffusion Model": _DIFFUSION | {"checkpoints"},
    "VAE": frozenset({"vae", "vae_approx"}),
    "Text Encoder": _TEXT_ENCODERS,
    "Vision Encoder": frozenset({"clip_vision"}),
    "CLIPVision": frozenset({"clip_vision"}),
    "ControlNet": frozenset({"controlnet", "model_patches"}),
    "Upscaler": frozenset({"upscale_models", "latent_upscale_models"}),
    "Enhancement LoRA": frozenset({"loras"}),
    "Negative": frozenset({"embeddings"}),
    "Training Data": frozenset[str](),
    "Config": frozenset({"configs"}),
    "Archive": frozenset[str](),
    "Workflow": frozenset[str](),
}
"""Folders that fit one file, where its type says more than its model's."""


def check_type(model_type: str | None, file_type: str | None, folder: str | None) -> str | None:
    """Say how Civitai's types contradict the folder that the loader reads; None when they do not.

    Args:
        model_type: Of the model (`LORA`); unknown types are ignored.
        file_type: Of the file; where it names a kind of its own (`VAE`), it takes precedence over the model's.
        folder: The loader's; None contradicts nothing.
    """
    fitting = FOLDERS_BY_FILE_TYPE.get(file_type or "", FOLDERS_BY_MODEL_TYPE.get(model_type or ""))
    if folder is None or fitting is None or folder in fitting:
        return None
    told = file_type if file_type in FOLDERS_BY_FILE_TYPE else model_type
    return f"its type is {told}, but the loader reads {folder}"
