from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.nodes.deny_list import DenyList, deny_list, refuse

SHIPPED = deny_list()


def test_every_entry_says_why_and_where_that_is_told() -> None:
    assert len(SHIPPED.entries) >= 9
    for entry in SHIPPED.entries:
        assert entry.reason.endswith(".")
        assert entry.source.startswith("https://")


@pytest.mark.parametrize("version", ["8.3.41", "8.3.42", "8.3.45", "8.3.46", "8.3.41+cu128"])
def test_the_compromised_releases_of_a_package_are_denied(version: str) -> None:
    entry = SHIPPED.package("Ultralytics", version)
    assert entry is not None
    assert entry.level == "blocked"


def test_the_other_releases_of_a_compromised_package_are_not_denied() -> None:
    for version in ("8.3.40", "8.3.47", "8.3.4", "nonsense", None):
        assert SHIPPED.package("ultralytics", version) is None


def test_a_package_that_is_harmful_as_a_whole_is_denied_in_every_version() -> None:
    assert SHIPPED.package("lolMiner", "1.0") is not None
    assert SHIPPED.package("lolminer") is not None


@pytest.mark.parametrize("node_id", ["ComfyUI_LLMVISION", "comfyui-llmvision", "COMFYUI.LLMVISION"])
def test_a_harmful_pack_is_denied_however_its_name_is_written(node_id: str) -> None:
    assert SHIPPED.pack(node_id) is not None
    assert SHIPPED.pack("innocent", f"https://github.com/somebody/{node_id}.git") is not None
    assert SHIPPED.pack("innocent", "https://github.com/somebody/.git") is None


def test_what_is_blocked_is_refused_with_reason_and_source_and_what_is_flagged_passes() -> None:
    with pytest.raises(Failure) as caught:
        refuse(SHIPPED.pack("ComfyUI_LLMVISION"), "The pack ComfyUI_LLMVISION")
    assert caught.value.code == "gov-denied"
    assert "https://" in str(caught.value)
    assert "pack:ComfyUI_LLMVISION" in str(caught.value)
    refuse(SHIPPED.pack("ComfyUI-Shell-Executor"), "The pack ComfyUI-Shell-Executor")
    refuse(None, "anything")


def test_the_configuration_denies_more() -> None:
    own = deny_list(deny=["left-pad", "numpy==1.0", "pack:my-pack"])
    assert own.package("left_pad", "3") is not None
    assert own.package("numpy", "1.0.0") is not None
    assert own.package("numpy", "1.0.1") is None
    assert own.pack("My_Pack") is not None
    assert own.package("my-pack", "1") is None


def test_the_configuration_allows_what_is_denied() -> None:
    own = deny_list(allow=["ultralytics==8.3.41", "lolminer", "pack:ComfyUI_LLMVISION"])
    assert own.package("ultralytics", "8.3.41") is None
    assert own.package("ultralytics", "8.3.42") is not None
    assert own.package("lolminer", "1") is None
    assert own.pack("ComfyUI_LLMVISION") is None
    assert deny_list(allow=["ultralytics"]).package("ultralytics", "8.3.42") is None


def test_a_resolver_is_kept_from_the_releases_that_do_harm() -> None:
    assert "ultralytics!=8.3.41,!=8.3.42,!=8.3.45,!=8.3.46" in SHIPPED.constraints()
    assert DenyList(()).constraints() == ()
