from __future__ import annotations

import pytest

from comfywatchman.readiness.search.model_types import check_type


@pytest.mark.parametrize(
    ("model_type", "file_type", "folder"),
    [
        ("LORA", None, "loras"),
        ("Checkpoint", "Model", "diffusion_models"),
        # The type of a file takes precedence: a checkpoint's page may hold a VAE.
        ("Checkpoint", "VAE", "vae"),
        ("Other", None, "loras"),
        (None, None, "loras"),
        ("LORA", None, None),
    ],
)
def test_fitting_or_unknown_types_are_no_objection(
    model_type: str | None, file_type: str | None, folder: str | None
) -> None:
    assert check_type(model_type, file_type, folder) is None


@pytest.mark.parametrize(
    ("model_type", "file_type", "folder", "named"),
    [
        ("LORA", None, "checkpoints", "LORA"),
        ("Checkpoint", "VAE", "checkpoints", "VAE"),
        ("LORA", "Training Data", "loras", "Training Data"),
        ("Workflows", None, "loras", "Workflows"),
    ],
)
def test_contradicting_type_is_named_with_the_folder(
    model_type: str, file_type: str | None, folder: str, named: str
) -> None:
    objection = check_type(model_type, file_type, folder)
    assert objection is not None
    assert named in objection
    assert folder in objection
