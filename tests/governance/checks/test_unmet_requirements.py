from __future__ import annotations

import pytest

from comfywatchman.governance.checks.unmet_requirements import UnmetRequirement, find_unmet_requirements
from comfywatchman.governance.uv.requirement import build_marker_environment

MARKERS = build_marker_environment("3.11.7")
INSTALLED = {"numpy": "1.26.4", "torch": "2.9.0+cu126", "opencv-python-headless": "4.12", "alpha": "2.0rc1"}


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "NumPy>=1.26,<2",
        "torch==2.9.0",
        "opencv-python>=4",
        "alpha>=1",
        "pywin32; sys_platform == 'win32'",
        "tomli; python_version < '3.11'",
        "extra-only; extra == 'gpu'",
        "numpy @ git+https://host/numpy",
        "=== invalid",
    ],
)
def test_requirement_is_met(line: str) -> None:
    assert find_unmet_requirements([line], INSTALLED, MARKERS) == ()


@pytest.mark.parametrize(
    ("line", "installed"), [("scipy", None), ("numpy>=2", "1.26.4"), ("sam @ git+https://host/sam", None)]
)
def test_requirement_is_unmet(line: str, installed: str | None) -> None:
    assert find_unmet_requirements([line], INSTALLED, MARKERS) == (UnmetRequirement(line, installed),)


def test_description_shows_the_installed_version() -> None:
    assert UnmetRequirement("numpy>=2", "1.26.4").describe() == "numpy>=2 (installed: 1.26.4)"
    assert UnmetRequirement("scipy", None).describe() == "scipy"


def test_package_with_the_same_modules_does_not_count_for_uv() -> None:
    line = "opencv-python>=4"
    unmet = find_unmet_requirements([line], INSTALLED, MARKERS, accept_replacements=False)
    assert unmet == (UnmetRequirement(line, None),)


@pytest.mark.parametrize(
    ("line", "installed", "is_met"),
    [
        ("opencv-python>=4", {"opencv-contrib-python": "4.12.0.88"}, True),
        ("opencv-contrib-python>=4", {"opencv-python": "4.12.0.88"}, False),
        ("opencv-contrib-python>=4", {"opencv-contrib-python-headless": "4.12.0.88"}, True),
        ("opencv-python>=4.10", {"opencv-contrib-python": "4.5.5.64"}, False),
        ("opencv-python>=4.10", {"opencv-python": "4.5.5.64", "opencv-contrib-python": "4.12.0.88"}, False),
        ("pillow>=10", {"pillow-simd": "9.5.0.post2"}, False),
        ("onnxruntime>=1.17", {"onnxruntime-gpu": "1.23.2"}, True),
    ],
)
def test_replacement_has_the_modules_and_the_version(line: str, installed: dict[str, str], *, is_met: bool) -> None:
    assert (find_unmet_requirements([line], installed, MARKERS) == ()) == is_met


def test_wrong_version_is_shown_beside_a_replacement() -> None:
    installed = {"opencv-python": "4.5.5.64", "opencv-contrib-python": "4.12.0.88"}
    unmet = find_unmet_requirements(["opencv-python>=4.10"], installed, MARKERS)
    assert unmet == (UnmetRequirement("opencv-python>=4.10", "4.5.5.64"),)
