from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfywatchman.comfyui.loaders.name_resolution import NameResolution
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.readiness.models.usage import find_users

MODELS = {"checkpoints": frozenset({"a.safetensors", "sub/b.safetensors"}), "loras": frozenset({"a.safetensors"})}


def refer(value: str, folder: str | None = "checkpoints", **changes: Any) -> Reference:
    facts: dict[str, Any] = {"active": True, "tries": (value,), **changes}
    return Reference("1", "Loader", "name", value, folder, kind="loader", evidence="", confidence="high", **facts)


def test_model_is_used_by_what_names_it() -> None:
    workflows = [("/w/1", [refer("a.safetensors")]), ("/w/2", [refer("a.safetensors"), refer("sub/b.safetensors")])]
    assert find_users(workflows, MODELS) == {
        ("checkpoints", "a.safetensors"): ("/w/1", "/w/2"),
        ("checkpoints", "sub/b.safetensors"): ("/w/2",),
    }


def test_muted_nodes_and_missing_models_count_for_nothing() -> None:
    workflows = [("/w", [refer("a.safetensors", active=False), refer("absent.safetensors"), refer("x", "unknown")])]
    assert find_users(workflows, MODELS) == {}


def test_further_names_and_folders_are_tried() -> None:
    renamed = refer("a", tries=("a.safetensors",))
    elsewhere = refer("a.safetensors", "vae", also_folders=("loras",))
    assert find_users([("/w", [renamed, elsewhere])], MODELS) == {
        ("checkpoints", "a.safetensors"): ("/w",),
        ("loras", "a.safetensors"): ("/w",),
    }
    assert find_users([("/w", [refer("sub/b.safetensors", None)])], MODELS) == {
        ("checkpoints", "sub/b.safetensors"): ("/w",)
    }


def test_model_that_a_pack_finds_in_its_own_way_is_used() -> None:
    bare = replace(refer("b", tries=("b.safetensors",)), resolution=NameResolution.BARE_NAME)
    assert find_users([("/w", [bare])], MODELS) == {("checkpoints", "sub/b.safetensors"): ("/w",)}
