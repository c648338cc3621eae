from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.transactions.core_packages import find_core_changes, find_torch_mismatches
from tests.governance.contexts import DEFAULT_SETTINGS

CORE_PACKAGES = DEFAULT_SETTINGS.policy.core_packages
PRE = ["torch==2.8.0", "numpy==2.2.6", "tqdm==4.67", "nvidia-cublas-cu12==12.8.4.1"]


def _build_packages(**versions: str) -> list[InstalledPackage]:
    return [InstalledPackage(name.replace("_", "-"), version) for name, version in versions.items()]


def test_changed_core_package_is_listed_with_both_versions() -> None:
    assert find_core_changes(PRE, ["torch==2.7.0", *PRE[1:]], CORE_PACKAGES) == ("torch 2.8.0 -> 2.7.0",)


def test_core_package_from_a_url_is_detected() -> None:
    post = ["torch @ https://127.0.0.1/torch-2.8.0+cu121-cp311-cp311-linux_x86_64.whl", *PRE[1:]]
    impact = find_core_changes(PRE, post, CORE_PACKAGES)
    assert impact == ("torch 2.8.0 -> https://127.0.0.1/torch-2.8.0+cu121-cp311-cp311-linux_x86_64.whl",)


def test_core_package_from_a_folder_is_detected() -> None:
    assert find_core_changes(PRE, ["-e file:///home/me/torch", *PRE[1:]], CORE_PACKAGES) == (
        "torch 2.8.0 -> file:///home/me/torch",
    )


def test_added_and_removed_core_packages_are_listed() -> None:
    post = [*PRE[:3], "xformers==0.0.32"]
    assert find_core_changes(PRE, post, CORE_PACKAGES) == (
        "nvidia-cublas-cu12 12.8.4.1 -> none",
        "xformers none -> 0.0.32",
    )


@pytest.mark.parametrize("spelled", ["comfyui_frontend_package==1.2", "ComfyUI.Frontend-Package==1.2"])
@pytest.mark.parametrize("pattern", ["comfyui-*", "ComfyUI_*", "comfyui_frontend.package"])
def test_patterns_match_normalized_names(spelled: str, pattern: str) -> None:
    assert find_core_changes([], [spelled], [pattern]) == ("comfyui-frontend-package none -> 1.2",)


def test_other_packages_are_ignored() -> None:
    assert find_core_changes(PRE, [*PRE, "einops==0.8", "torchmetrics==1.0"], CORE_PACKAGES) == ()


def test_order_and_spelling_of_packages_are_ignored() -> None:
    assert find_core_changes(PRE, ["NumPy==2.2.6", *PRE[2:], PRE[0]], CORE_PACKAGES) == ()


@given(st.lists(st.text(max_size=20)), st.lists(st.text(max_size=20)))
@pytest.mark.slow
def test_arbitrary_lines_never_raise(pre: list[str], post: list[str]) -> None:
    assert find_core_changes(pre, post, ["*"]) == find_core_changes(list(dict.fromkeys(pre)), post, ["*"])
    assert find_core_changes(pre, pre, ["*"]) == ()


def test_different_cuda_builds_are_a_mismatch() -> None:
    found = find_torch_mismatches(
        _build_packages(torch="2.8.0+cu128", torchvision="0.23.0+cu121", torchaudio="2.8.0+cu128")
    )
    assert found == ("torchvision 0.23.0+cu121 is built for cu121, torch 2.8.0+cu128 for cu128.",)


def test_cpu_build_beside_a_cuda_build_is_a_mismatch() -> None:
    found = find_torch_mismatches(
        _build_packages(torch="2.8.0+cu128", torchaudio="2.8.0+cpu", torchvision="0.23.0+cpu")
    )
    assert [line.split()[0] for line in found] == ["torchaudio", "torchvision"]


def test_untagged_torch_is_identified_by_its_cuda_runtime() -> None:
    found = find_torch_mismatches(
        _build_packages(torch="2.8.0", nvidia_cuda_runtime_cu12="12.8.90", torchvision="0.23.0+cu126")
    )
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
        {"torch": "2.8", "torchvision": "0.23"},
        {"torch": "2.8.0", "torchvision": "1.0.0"},
        {"torch": "2.8.0", "torchvision": "0"},
        {"torch": "3.8.0", "torchvision": "0.1.0"},
    ],
)
def test_matching_or_unknown_builds_are_accepted(versions: dict[str, str]) -> None:
    assert find_torch_mismatches(_build_packages(**versions)) == ()


def test_torchvision_for_another_torch_is_a_mismatch() -> None:
    found = find_torch_mismatches(_build_packages(torch="2.8.0", torchvision="0.22.0"))
    assert found == ("torchvision 0.22.0 is not built for torch 2.8.0, which needs torchvision 0.23.",)
    assert find_torch_mismatches(_build_packages(torch="2.13.0", torchvision="0.29.2")) != ()


@pytest.mark.parametrize(
    ("torch", "torchvision", "needed"),
    [
        ("2.8", "0.22", "0.23"),
        ("2.8.0", "0.24.0", "0.23"),
        ("2.13.0", "0.29.2", "0.28"),
        ("2.14.0", "0.28.0", "0.29"),
    ],
)
def test_needed_torchvision_follows_the_minor_version_of_torch(torch: str, torchvision: str, needed: str) -> None:
    (mismatch,) = find_torch_mismatches(_build_packages(torch=torch, torchvision=torchvision))
    assert mismatch == f"torchvision {torchvision} is not built for torch {torch}, which needs torchvision {needed}."
