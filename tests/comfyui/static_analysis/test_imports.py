from __future__ import annotations

from pathlib import Path

from comfywatchman.comfyui.static_analysis.values import UNKNOWN
from tests.comfyui.static_analysis.reading import value_of


def test_module_knows_its_package(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text("name = [__name__, __package__]", "utf-8")
    assert value_of(tmp_path, "from . import inner\nx = inner.name") == ["__pack__.inner", "__pack__"]


def test_star_import_takes_names_of_dunder_all(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text("__all__ = ['_a']\n_a = 1\nb = 2", "utf-8")
    assert value_of(tmp_path, "from .inner import *\nx = [_a, b]") == [1, UNKNOWN]


def test_import_without_a_new_name_binds_the_top_module(tmp_path: Path) -> None:
    assert value_of(tmp_path, "import folder_paths.inner\nx = folder_paths.get_filename_list('loras')") == [...]


def test_import_of_own_module_by_name(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text("a = 1", "utf-8")
    assert value_of(tmp_path, "from . import inner as other\nx = other.a") == 1


def test_relative_import_of_a_missing_module_is_unknown(tmp_path: Path) -> None:
    assert value_of(tmp_path, "from .gone import a\nx = a") is UNKNOWN


def test_import_module_is_relative_to_the_package_argument(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text("a = 1", "utf-8")
    source = "import importlib\nx = importlib.import_module('.inner', package=__package__).a"
    assert value_of(tmp_path, source) == 1
