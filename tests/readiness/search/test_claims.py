from __future__ import annotations

import pytest

from comfywatchman.readiness.search.claims import build_query

SHA256 = "ab" * 32


def test_names_are_the_base_names_that_the_server_tries_without_repetition() -> None:
    query = build_query("sd/a.safetensors", "loras", tries=("sd/a.safetensors", "a.safetensors", "b.safetensors"))
    assert query.names == ("a.safetensors", "b.safetensors")
    assert build_query("sd\\a.safetensors", "loras").names == ("a.safetensors",)


@pytest.mark.parametrize(
    ("declared", "kept"), [(SHA256, SHA256), (SHA256.upper(), SHA256), (SHA256[:-1], None), ("", None), (None, None)]
)
def test_declared_hash_is_lowered_and_ignored_when_malformed(declared: str | None, kept: str | None) -> None:
    assert build_query("a.safetensors", "loras", sha256=declared).sha256 == kept
