"""Names that Python and installed packages do not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.imports.host import PackEffects
from comfywatchman.comfyui.imports.package_names import was_removed
from tests.comfyui.imports.hosts import ImportCase

PACKAGES = {
    "pictures/__init__.py": "__version__ = '12'",
    "pictures/Image.py": "SHARP = 1  # the mirror of BOX\ndef open(): pass",
    "pictures/tools.py": "",
    "pictures/fast.cpython-311.so": "",
    "stars/__init__.py": "from .inner import *",
    "dynamic/__init__.py": "def __getattr__(name): return 1",
    "alone.py": "x = 1",
}


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("from pictures.Image import SMOOTH", "may fail"),
        ("from pictures.Image import SHARP, SMOOTH", "may fail"),
        ("from alone import y", "may fail"),
        ("from pictures import Gone", "may fail"),
        ("from pictures import Image, tools, fast, __version__", "ok"),
        ("from pictures.Image import BOX", "ok"),
        ("from stars import anything", "ok"),
        ("from dynamic import anything", "ok"),
        ("from pictures.fast import anything", "ok"),
        ("try:\n    from pictures.Image import SMOOTH\nexcept ImportError:\n    pass", "ok"),
    ],
)
def test_names_of_installed_packages(tmp_path: Path, source: str, verdict: str) -> None:
    assert ImportCase(tmp_path, {"__init__.py": source}, PACKAGES).verdict == verdict


@pytest.mark.parametrize(
    ("source", "python", "verdict"),
    [
        ("from collections import Mapping", "3.10.4", "fails"),
        ("from collections import Mapping", "3.9.1", "ok"),
        ("from collections import OrderedDict", "3.12.1", "ok"),
        ("from collections.abc import Mapping", "3.12.1", "ok"),
        ("from inspect import getargspec", "3.11.2", "fails"),
        ("from time import clock, time", "3.12.1", "fails"),
        ("try:\n    from collections import Set\nexcept ImportError:\n    Set = set", "3.12.1", "ok"),
    ],
)
def test_names_that_python_has_removed(tmp_path: Path, source: str, python: str, verdict: str) -> None:
    assert ImportCase(tmp_path, {"__init__.py": source}, python=python).verdict == verdict


def test_name_that_a_pack_sets_is_there(tmp_path: Path) -> None:
    effects = PackEffects(sets_names=frozenset({"SMOOTH"}))
    case = ImportCase(tmp_path, {"__init__.py": "from pictures.Image import SMOOTH"}, PACKAGES, effects=effects)
    assert case.verdict == "ok"


def test_without_a_known_python_no_name_is_missing(tmp_path: Path) -> None:
    assert ImportCase(tmp_path, {"__init__.py": "from collections import Set"}, environment=None).verdict == "ok"


@pytest.mark.parametrize("body", ["import cv2", "from cv2 import x", "from .gone import x"])
def test_import_in_the_body_of_a_class_counts(tmp_path: Path, body: str) -> None:
    assert ImportCase(tmp_path, {"__init__.py": f"class A:\n    {body}\n"}).verdict == "fails"


def test_python_has_what_is_not_known_to_be_removed() -> None:
    assert was_removed("collections", "Mapping", 10)
    assert not was_removed("collections", "Mapping", 9)
    assert not was_removed("json", "gone", 14)
