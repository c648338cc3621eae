"""The packages of modules whose names differ from those of their packages. Pure.

A package with the name of such a module is on PyPI often somebody else's: it must not be suggested.
"""

from __future__ import annotations

from typing import Final

_PACKAGES: Final = {
    "bs4": "beautifulsoup4",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "git": "gitpython",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def describe_missing_module(module: str) -> str:
    """Return what adds the package of a missing module: a command, or, for an unknown package, how to go on."""
    package = _PACKAGES.get(module.partition(".")[0])
    if package is None:
        return f"Find the package of the module {module}, then: gov package add PACKAGE"
    return f"gov package add {package}"
