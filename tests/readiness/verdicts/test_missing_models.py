from __future__ import annotations

from dataclasses import replace

import pytest

from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import DeclaredModel
from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.verdicts.findings import ModelFinding
from comfywatchman.readiness.verdicts.missing_models import (
    build_missing_models,
    find_declared_candidates,
    find_inactive_models,
)
from tests.readiness.verdicts.proofs import build_finding

LORA = Reference(
    node_path="3",
    node_type="LoraLoader",
    input="lora_name",
    value="a.safetensors",
    folder="loras",
    active=True,
    kind="loader",
    evidence="loader table",
    confidence="high",
    tries=("a.safetensors",),
)


def declared(name: str = "a.safetensors", **changes: str | None) -> DeclaredModel:
    facts: dict[str, str | None] = {"directory": "loras", "url": "https://x.example/a", "hash": None, "hash_type": None}
    return DeclaredModel(name=name, node_path=None, **{**facts, **changes})


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (declared(), 1),
        (declared(directory=None), 1),
        (declared(directory=""), 1),
        (declared(directory="vae"), 0),
        (declared(name="other.safetensors"), 0),
        (declared(url=None), 0),
        (declared(url=""), 0),
    ],
)
def test_declaration_must_match_name_and_folder(model: DeclaredModel, count: int) -> None:
    assert len(find_declared_candidates(replace(LORA, value="sub\\a.safetensors"), [model, model])) == count


def test_only_a_sha256_hash_is_used() -> None:
    (candidate,) = find_declared_candidates(LORA, [declared(hash="F" * 64, hash_type="SHA256")])
    assert candidate.sha256 == "F" * 64
    (candidate,) = find_declared_candidates(LORA, [declared(hash="abc", hash_type="CRC32")])
    assert candidate.sha256 is None


def test_model_of_active_nodes_is_not_inactive() -> None:
    muted = replace(LORA, active=False)
    active = build_finding(LORA, ModelState.MISSING)
    inactive = build_finding(replace(muted, node_path="4"), ModelState.MISSING)
    other = ModelFinding(replace(muted, value="b.safetensors"), ModelState.EXACT)
    assert find_inactive_models([active, inactive]) == ()
    assert [(model.name, model.status) for model in find_inactive_models([active, inactive, other])] == [
        ("b.safetensors", ModelState.EXACT)
    ]


@pytest.mark.parametrize("state", [state for state in ModelState if state is not ModelState.EXACT])
def test_only_a_missing_model_has_declared_candidates(state: ModelState) -> None:
    (model,) = build_missing_models(
        [replace(build_finding(LORA, state), fix="Do it.")], [declared()], "models/{}".format
    )
    assert (model.name, model.status, model.fix, model.node_path) == ("a.safetensors", state, "Do it.", "3")
    assert bool(model.candidates) is (state is ModelState.MISSING)
