from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.governance.store.records import Package
from comfywatchman.governance.store.settings import CORE_PACKAGES
from comfywatchman.governance.transactions.core_packages import core_impact, torch_builds

PRE = ["torch==2.8.0", "numpy==2.2.6", "tqdm==4.67", "nvidia-cublas-cu12==12.8.4.1"]


def _installed(**versions: str) -> list[Package]:
    return [Package(name.replace("_", "-"), version) for name, version in versions.items()]


def test_a_changed_core_package_is_named_with_both_versions() -> None:
    assert core_impact(PRE, ["torch==2.7.0", *PRE[1:]], CORE_PACKAGES) == ("torch 2.8.0 -> 2.7.0",)


def test_a_core_package_that_comes_from_an_address_is_seen() -> None:
    post = ["torch @ https://127.0.0.1/torch-2.8.0+cu121-cp311-cp311-linux_x86_64.whl", *PRE[1:]]
    impact = core_impact(PRE, post, CORE_PACKAGES)
    assert impact == ("torch 2.8.0 -> https://127.0.0.1/torch-2.8.0+cu121-cp311-cp311-linux_x86_64.whl",)


def test_a_core_package_that_is_installed_from_a_folder_is_seen() -> None:
    assert core_impact(PRE, ["-e file:///home/me/torch", *PRE[1:]], CORE_PACKAGES) == (
        "torch 2.8.0 -> file:///home/me/torch",
    )


def test_core_packages_that_come_and_go_are_named() -> None:
    post = [*PRE[:3], "xformers==0.0.32"]
    assert core_impact(PRE, post, CORE_PACKAGES) == (
        "nvidia-cublas-cu12 12.8.4.1 -> none",
        "xformers none -> 0.0.32",
    )


@pytest.mark.parametrize("spelled", ["comfyui_frontend_package==1.2", "ComfyUI.Frontend-Package==1.2"])
@pytest.mark.parametrize("pattern", ["comfyui-*", "ComfyUI_*", "comfyui_frontend.package"])
def test_names_are_compared_as_package_names_are(spelled: str, pattern: str) -> None:
    assert core_impact([], [spelled], [pattern]) == ("comfyui-frontend-package none -> 1.2",)


def test_other_packages_are_free() -> None:
    assert core_impact(PRE, [*PRE, "einops==0.8", "torchmetrics==1.0"], CORE_PACKAGES) == ()


def test_the_same_packages_in_another_order_and_spelling_change_nothing() -> None:
    assert core_impact(PRE, ["NumPy==2.2.6", *PRE[2:], PRE[0]], CORE_PACKAGES) == ()


@given(st.lists(st.text(max_size=20)), st.lists(st.text(max_size=20)))
def test_any_lines_have_an_answer(pre: list[str], post: list[str]) -> None:
    assert core_impact(pre, post, ["*"]) == core_impact(list(dict.fromkeys(pre)), post, ["*"])
    assert core_impact(pre, pre, ["*"]) == ()


def test_builds_for_different_cuda_versions_disagree() -> None:
    found = torch_builds(_installed(torch="2.8.0+cu128", torchvision="0.23.0+cu121", torchaudio="2.8.0+cu128"))
    assert found == ("torchvision 0.23.0+cu121 is built for cu121, torch 2.8.0+cu128 for cu128.",)


def test_a_processor_build_beside_a_cuda_build_disagrees() -> None:
    found = torch_builds(_installed(torch="2.8.0+cu128", torchaudio="2.8.0+cpu", torchvision="0.23.0+cpu"))
    assert [line.split()[0] for line in found] == ["torchaudio", "torchvision"]


def test_a_torch_without_a_build_tag_is_known_by_the_runtime_that_it_brought() -> None:
    found = torch_builds(_installed(torch="2.8.0", nvidia_cuda_runtime_cu12="12.8.90", torchvision="0.23.0+cu126"))
    assert found == ("torchvision 0.23.0+cu126 is built for cu126, torch 2.8.0 for cu128.",)


@pytest.mark.parametrize(
    "versions",
    [
        {"torch": "2.8.0+cu128", "torchvision": "0.23.0+cu128", "torchaudio": "2.8.0+cu128"},
        {"torch": "2.8.0", "torchvision": "0.23.0", "nvidia_cuda_runtime_cu12": "12.8.90"},
        {"torch": "2.8.0", "torchvision": "0.23.0+cpu"},
        {"torch": "2.8.0+git1234", "torchvision": "0.23.0+cu128"},
        {"torch": "2.10.0", "torchvision": "0.25.0"},
        {"torch": "2.15.0", "torchvision": "0.29.2"},
        {"torch": "1.13.1", "torchvision": "0.14.1"},
        {"torch": "2", "torchvision": "0.23.0"},
        {"torch": "2.8.0"},
        {"torchvision": "0.23.0+cu121"},
        {"torch": "strange", "torchvision": "0.23.0"},
    ],
)
def test_what_agrees_or_cannot_be_told_is_no_error(versions: dict[str, str]) -> None:
    assert torch_builds(_installed(**versions)) == ()


def test_a_torchvision_of_another_torch_is_an_error() -> None:
    found = torch_builds(_installed(torch="2.8.0", torchvision="0.22.0"))
    assert found == ("torchvision 0.22.0 is not built for torch 2.8.0, which needs torchvision 0.23.",)
    assert torch_builds(_installed(torch="2.13.0", torchvision="0.29.2")) != ()
