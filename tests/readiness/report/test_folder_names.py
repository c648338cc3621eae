from __future__ import annotations

import pytest

from comfywatchman.readiness.report.folder_names import name_model, name_models


@pytest.mark.parametrize(
    ("folder", "one", "many"),
    [
        ("vae", "VAE", "VAEs"),
        ("loras", "LoRA", "LoRAs"),
        ("diffusion_models", "diffusion model", "Diffusion models"),
        ("odd_folder", "odd_folder model", "Odd_folder models"),
    ],
)
def test_models_of_a_folder_have_a_name(folder: str, one: str, many: str) -> None:
    assert (name_model(folder), name_models(folder)) == (one, many)


def test_model_of_no_folder_is_a_model() -> None:
    assert name_model(None) == "model"
