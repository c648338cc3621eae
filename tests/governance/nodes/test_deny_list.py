from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.nodes.deny_list import DenyList, build_deny_list, enforce_deny_list

SHIPPED = build_deny_list()


def test_every_entry_has_a_reason_and_a_source() -> None:
    assert len(SHIPPED.entries) >= 9
    for entry in SHIPPED.entries:
        assert entry.reason.endswith(".")
        assert entry.source.startswith("https://")


@pytest.mark.parametrize("version", ["8.3.41", "8.3.42", "8.3.45", "8.3.46", "8.3.41+cu128"])
def test_compromised_releases_are_denied(version: str) -> None:
    entry = SHIPPED.find_package("Ultralytics", version)
    assert entry is not None
    assert entry.level == "blocked"


def test_other_releases_of_a_compromised_package_are_allowed() -> None:
    for version in ("8.3.40", "8.3.47", "8.3.4", "nonsense", None):
        assert SHIPPED.find_package("ultralytics", version) is None


def test_package_without_listed_versions_is_denied_entirely() -> None:
    assert SHIPPED.find_package("lolMiner", "1.0") is not None
    assert SHIPPED.find_package("lolminer") is not None


@pytest.mark.parametrize("node_id", ["ComfyUI_LLMVISION", "comfyui-llmvision", "COMFYUI.LLMVISION"])
def test_denied_pack_is_matched_by_normalized_id(node_id: str) -> None:
    assert SHIPPED.find_pack(node_id) is not None
    assert SHIPPED.find_pack("innocent", f"https://github.com/somebody/{node_id}.git") is not None
    assert SHIPPED.find_pack("innocent", "https://github.com/somebody/.git") is None


def test_blocked_entries_are_refused_and_flagged_ones_pass() -> None:
    with pytest.raises(Failure) as caught:
        enforce_deny_list(SHIPPED.find_pack("ComfyUI_LLMVISION"), "The pack ComfyUI_LLMVISION")
    assert caught.value.code == "gov-denied"
    assert "https://" in str(caught.value)
    assert "pack:ComfyUI_LLMVISION" in str(caught.value)
    enforce_deny_list(SHIPPED.find_pack("ComfyUI-Shell-Executor"), "The pack ComfyUI-Shell-Executor")
    enforce_deny_list(None, "anything")


def test_configuration_adds_entries() -> None:
    own = build_deny_list(deny=["left-pad", "numpy==1.0", "pack:my-pack"])
    assert own.find_package("left_pad", "3") is not None
    assert own.find_package("numpy", "1.0.0") is not None
    assert own.find_package("numpy", "1.0.1") is None
    assert own.find_pack("My_Pack") is not None
    assert own.find_package("my-pack", "1") is None


def test_configuration_allows_denied_entries() -> None:
    own = build_deny_list(allow=["ultralytics==8.3.41", "lolminer", "pack:ComfyUI_LLMVISION"])
    assert own.find_package("ultralytics", "8.3.41") is None
    assert own.find_package("ultralytics", "8.3.42") is not None
    assert own.find_package("lolminer", "1") is None
    assert own.find_pack("ComfyUI_LLMVISION") is None
    assert build_deny_list(allow=["ultralytics"]).find_package("ultralytics", "8.3.42") is None


def test_constraints_exclude_denied_releases() -> None:
    assert "ultralytics!=8.3.41,!=8.3.42,!=8.3.45,!=8.3.46" in SHIPPED.constraints()
    assert DenyList(()).constraints() == ()
