"""Which requirement lines the packages of an environment do not satisfy. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from packaging.markers import UndefinedEnvironmentName
from packaging.utils import canonicalize_name

from comfywatchman.governance.uv.requirement import parse_requirement

_OPENCV_CONTRIB: Final = ("opencv-contrib-python", "opencv-contrib-python-headless")
_REPLACEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "opencv-python": ("opencv-python-headless", *_OPENCV_CONTRIB),
    "opencv-python-headless": ("opencv-python", *_OPENCV_CONTRIB),
    # The packages without contrib lack its modules (`cv2.ximgproc`).
    "opencv-contrib-python": ("opencv-contrib-python-headless",),
    "opencv-contrib-python-headless": ("opencv-contrib-python",),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    # Without the requested device, sessions run on the CPU, which every build supports.
    "onnxruntime-gpu": ("onnxruntime", "onnxruntime-openvino", "onnxruntime-directml"),
    "onnxruntime-openvino": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"),
    "onnxruntime-directml": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "pillow": ("pillow-simd",),
    "pillow-simd": ("pillow",),
}
"""Packages that provide all modules of another one, under the same version numbers."""


@dataclass(frozen=True, slots=True)
class UnmetRequirement:
    """A requirement that an environment does not satisfy.

    Attributes:
        line: The requirement line.
        installed: The installed version; None when the package is not installed.
    """

    line: str
    installed: str | None

    def describe(self) -> str:
        """Return the line, and the installed version when there is one."""
        return self.line if self.installed is None else f"{self.line} (installed: {self.installed})"


def find_unmet_requirements(
    lines: Iterable[str], installed: Mapping[str, str], markers: Mapping[str, str], *, accept_replacements: bool = True
) -> tuple[UnmetRequirement, ...]:
    """Return the lines that the installed packages do not satisfy, in order.

    Args:
        lines: Requirement lines; invalid ones and those for other platforms are left out.
        installed: The installed versions by normalised name.
        markers: The values of environment markers (`build_marker_environment`).
        accept_replacements: Whether a package that provides the same modules satisfies a line for a package that is not
            installed; for uv it does not.
    """
    unmet = []
    for line in lines:
        requirement = parse_requirement(line)
        if requirement is None:
            continue
        try:
            applies = requirement.marker is None or requirement.marker.evaluate({**markers, "extra": ""})
        except UndefinedEnvironmentName:
            continue
        if not applies:
            continue
        name = canonicalize_name(requirement.name)
        version = installed.get(name)
        versions = [version] if version is not None else []
        if version is None and accept_replacements:
            versions = [installed[other] for other in _REPLACEMENTS.get(name, ()) if other in installed]
        # A local build of a pre-release is what the user has: it counts like any other version.
        if not any(requirement.specifier.contains(candidate, prereleases=True) for candidate in versions):
            unmet.append(UnmetRequirement(line, version))
    return tuple(unmet)
