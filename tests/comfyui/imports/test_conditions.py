"""Conditions about versions and packages; what Python itself would say decides which answer is right."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys

import packaging.version
import pytest

from comfywatchman.comfyui.imports.conditions import ConditionReader


class Facts:
    """The Python of these tests, beside a ComfyUI 0.3.75."""

    python_version: tuple[int, int] | None = sys.version_info[:2]
    comfyui_version: str | None = "0.3.75"

    def has_module(self, dotted: str) -> bool | None:
        return None if dotted == "unknown" else importlib.util.find_spec(dotted) is not None

    def has_attribute(self, dotted: str) -> bool | None:
        return {"comfy.there": True, "comfy.gone": False}.get(dotted)

    def package_version(self, name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None


class Unknown(Facts):
    """A host of which nothing is known."""

    python_version = None
    comfyui_version = None

    def package_version(self, _name: str) -> str | None:
        return None


NAMES = {
    "importlib": importlib,
    "os": os,
    "packaging": packaging,
    "platform": platform,
    "sys": sys,
    "pytest": pytest,
    "__name__": "module",
}


@pytest.mark.parametrize(
    "test",
    [
        "sys.version_info >= (3, 9)",
        "sys.version_info[:2] == (3, 9)",
        "sys.version_info[0] == 3",
        "sys.version_info[1] < 99",
        "sys.version_info.major < 3",
        "sys.version_info.minor not in (7, 8)",
        "sys.version_info > (3, 99) or sys.platform == 'linux'",
        "sys.version_info < (3, 99) and not os.name == 'posix'",
        "platform.system() == 'Linux'",
        "importlib.util.find_spec('pytest') is not None",
        "importlib.util.find_spec('no_such_module') is None",
        "not importlib.util.find_spec('pytest')",
        "packaging.version.parse(importlib.metadata.version('pytest')) >= packaging.version.Version('9.0')",
        "tuple(map(int, pytest.__version__.split('.')[:2])) < (9, 0)",
        "tuple(int(part) for part in pytest.__version__.split('.')[:2]) >= (9, 0)",
        "[int(part) for part in ' 1.2 '.strip().split('.')] == [1, 2]",
        "'v1.2'.lstrip('v').startswith('1.') and 'A'.lower() == 'a'",
        "int('3') == 3 and str(3) == '3' and list((1,)) == [1]",
        "__name__ == '__main__'",
        "False or 0 or ''",
        "True and 1",
    ],
)
def test_conditions_agree_with_python(test: str) -> None:
    expected = bool(eval(test, NAMES))  # noqa: S307 - fixed texts above
    assert ConditionReader(Facts()).decide(test)[0] is expected


@pytest.mark.parametrize(
    "test",
    [
        "",
        "not a condition",
        "input()",
        "x",
        "a.b.c",
        "sys.version_info < (3, 11, 2)"[: len("sys.version_info")] + f" < {(*sys.version_info[:2], 2)}",
        "1 < 2 < 3",
        "-x",
        "'a' < 1",
        "'x.y'.split('.')[9]",
        "input()[0]",
        "'abc'[1:2]",
        "packaging.version.Version('not a version') > 1",
        "importlib.util.find_spec(3)",
        "importlib.util.find_spec('unknown')",
        "importlib.util.find_spec('pytest') == 1",
        "x is y",
        "hasattr(x)",
        "hasattr(input(), 'x')",
        "hasattr(comfy, name)",
        "hasattr(other, 'x')",
        "[f(x) for x in '1.2'.split('.')]",
        "[int(x) for x in y]",
        "map(int, y)",
        "'x'.unknown()",
        "input().strip()",
        "{1: 2}",
    ],
)
def test_anything_else_is_not_decided(test: str) -> None:
    assert ConditionReader(Facts()).decide(test)[0] is None


def test_names_of_comfyui_are_asked_for() -> None:
    reader = ConditionReader(Facts())
    assert reader.decide("hasattr(comfy, 'there')") == (True, True)
    assert reader.decide("hasattr(comfy, 'gone')") == (False, True)


@pytest.mark.parametrize(
    "test",
    [
        "sys.version_info < (3, 12)",
        "comfyui_version.__version__ < '1'",
        "torch.__version__ < '2'",
        "importlib.metadata.version('torch') < '2'",
        "importlib.util.find_spec('unknown') is None",
    ],
)
def test_unknown_host_leaves_them_open_but_they_ask_about_it(test: str) -> None:
    assert ConditionReader(Unknown()).decide(test) == (None, True)


@pytest.mark.parametrize("test", ["os.environ.get('X')", "URL.endswith('.svg')", "DEBUG"])
def test_other_conditions_do_not_ask_about_the_host(test: str) -> None:
    assert ConditionReader(Facts()).decide(test) == (None, False)
