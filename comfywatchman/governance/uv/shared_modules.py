"""Packages that install the same module: only one of them can be there as it was published. Pure.

pip and uv install both and let the later one overwrite the files of the other, without a word. Which one is later is a
matter of chance, as uv installs in parallel; when either is removed, files of the other go with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

_FAMILIES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    # From the most to the least complete. The builds without a window system lack `imshow` and its like.
    (
        "cv2",
        (
            "opencv-contrib-python",
            "opencv-python",
            "opencv-contrib-python-headless",
            "opencv-python-headless",
        ),
    ),
    # Every build has the provider for the CPU.
    (
        "onnxruntime",
        ("onnxruntime-gpu", "onnxruntime-rocm", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime"),
    ),
    ("tensorflow", ("tensorflow", "tensorflow-gpu", "tensorflow-cpu")),
    ("faiss", ("faiss-gpu", "faiss-cpu")),
    ("mmcv", ("mmcv", "mmcv-full", "mmcv-lite")),
    ("paddle", ("paddlepaddle-gpu", "paddlepaddle")),
    ("cupy", ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy")),
    ("PIL", ("pillow", "pillow-simd")),
    ("Crypto", ("pycryptodome", "pycrypto")),
    ("jwt", ("pyjwt", "jwt")),
    ("fitz", ("pymupdf", "fitz")),
    ("docx", ("python-docx", "docx")),
    ("dotenv", ("python-dotenv", "dotenv")),
    ("psycopg2", ("psycopg2", "psycopg2-binary")),
)
_NOT_COVERED: Final = {frozenset({"opencv-python", "opencv-contrib-python-headless"}): "opencv-contrib-python"}
"""Pairs of which neither has all that the other has, and the package that has."""


@dataclass(frozen=True, slots=True)
class SharedModule:
    """A module that several packages install.

    Attributes:
        module: The module.
        packages: The packages, by normalised name, the most complete one first.
        keep: The package that provides what all of them do; it need not be one of them.
    """

    module: str
    packages: tuple[str, ...]
    keep: str


def find_shared_modules(names: Collection[str]) -> tuple[SharedModule, ...]:
    """Return the modules that several of these packages are known to install.

    Args:
        names: Normalised names of packages that would be installed together.
    """
    shared = []
    for module, family in _FAMILIES:
        present = tuple(name for name in family if name in names)
        if len(present) > 1:
            shared.append(SharedModule(module, present, _find_superset(present)))
    return tuple(shared)


def describe_packages(module: str, packages: Iterable[str]) -> str:
    """Return the subject of a message: `a and b (module m)`."""
    return f"{' and '.join(packages)} (module {module})"


def _find_superset(present: tuple[str, ...]) -> str:
    if present[0] == "opencv-python":
        for pair, superset in _NOT_COVERED.items():
            if pair <= set(present):
                return superset
    return present[0]
