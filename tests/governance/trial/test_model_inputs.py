from __future__ import annotations

import pytest

from comfywatchman.governance.trial.model_inputs import find_model_inputs

NAMES = {
    "vae": frozenset({"v1", "v2"}),
    "checkpoints": frozenset({"c1"}),
    "all_of_vae": frozenset({"v1", "v2", "v3"}),
    "vae_gguf": frozenset({"v2"}),
}


@pytest.mark.parametrize(
    ("choices", "folders"),
    [
        (("None", "v1", "v2"), "vae"),
        (("v1", "v2", "v3"), "all_of_vae"),
        (("v2",), "vae_gguf"),
        (("sub/c1", "sub\\v1", "v2"), "vae,checkpoints"),
        (("a", "b"), None),
        (("c1.txt",), None),
    ],
)
def test_best_explanation_of_a_list_is_chosen(choices: tuple[str, ...], folders: str | None) -> None:
    expected = {} if folders is None else {"Loader": {"name": folders}}
    assert find_model_inputs({"Loader": {"name": choices}}, NAMES) == expected
