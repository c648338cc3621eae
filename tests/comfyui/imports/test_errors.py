from __future__ import annotations

import pytest

from comfywatchman.comfyui.imports.errors import catches


@pytest.mark.parametrize(
    ("classes", "error", "expected"),
    [
        (("*",), "SystemExit", True),
        (("ImportError",), "ModuleNotFoundError", True),
        (("ModuleNotFoundError",), "ImportError", False),
        (("Exception",), "SystemExit", False),
        (("BaseException",), "SystemExit", True),
        (("ValueError", "ImportError"), "ImportError", True),
        (("pkg.Error",), "ImportError", False),
        (("pkg.Error",), "pkg.Error", True),
        (("Exception",), "pkg.Error", True),
        (("ValueError",), "pkg.Error", None),
        (("ValueError", "Exception"), "pkg.Error", True),
        ((), "ImportError", False),
    ],
)
def test_except_clauses(classes: tuple[str, ...], error: str, *, expected: bool | None) -> None:
    assert catches(classes, error) is expected
