"""Rules about the code that import-linter and ruff cannot check."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

pytestmark = pytest.mark.slow

PACKAGE: Final = Path(__file__).parents[1] / "comfywatchman"

PANEL: Final = "supervisor/panel/pack"
"""Loaded by ComfyUI, where nothing else of ours can be imported."""

OWNERS: Final = {
    "os.environ": {
        "base/config.py",
        "base/process.py",
        "base/failpoints.py",
        f"{PANEL}/workspace_files.py",
        f"{PANEL}/spawning.py",
    },
    "os.getenv": set(),
    "datetime.now": {"base/clock.py"},
    "time.time": {"base/clock.py", f"{PANEL}/workspace_files.py", f"{PANEL}/spawning.py"},
    "http.client": {"base/stream.py", "base/network/tunnel.py"},
    "urllib.request": set(),
}
"""The modules that may use an attribute of a module."""

MAX_FILE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 60
MAX_FOLDER_FILES: Final = 24
MAX_BROAD_EXCEPTS: Final = 6


class Module(NamedTuple):
    name: str
    text: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]


@cache
def read_modules() -> tuple[Module, ...]:
    modules = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        modules.append(Module(path.relative_to(PACKAGE).as_posix(), text, tree, tuple(ast.walk(tree))))
    return tuple(modules)


def find_long_functions(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES:
            yield f"{module.name}:{node.lineno} {node.name}"


def find_broad_excepts(module: Module) -> Iterator[str]:
    """Yield the handlers that catch every exception and do not raise it again."""
    for node in module.nodes:
        if not isinstance(node, ast.ExceptHandler):
            continue
        is_broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
        raises_again = any(isinstance(child, ast.Raise) and child.exc is None for child in ast.walk(node))
        if is_broad and not raises_again:
            yield f"{module.name}:{node.lineno}"


def test_external_resources_are_used_by_their_owners_only() -> None:
    others = []
    for module in read_modules():
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                attribute = f"{node.value.id}.{node.attr}"
                if attribute in OWNERS and module.name not in OWNERS[attribute]:
                    others.append(f"{module.name}:{node.lineno} {attribute}")
    assert others == []


def test_json_is_decoded_by_the_function_that_reports_every_damage() -> None:
    """`msgspec.json.decode` raises other errors than its own for bad UTF-8 and for deep nesting."""
    users = {
        module.name
        for module in read_modules()
        for node in module.nodes
        if isinstance(node, ast.Attribute) and node.attr == "decode" and ast.unparse(node.value) == "msgspec.json"
    }
    assert users == {"base/json_values.py"}


def test_import_contracts_hold_for_all_modules() -> None:
    """With `as_packages = false` a contract of the package would check `comfywatchman/__init__.py` alone."""
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    assert [contract["name"] for contract in contracts if not contract.get("as_packages", True)] == []
    owned = {name for contract in contracts for name in contract.get("forbidden_modules", ())}
    assert owned >= {"httpx", "sqlite3", "starlette", "fastapi", "uvicorn"}


def test_files_are_short() -> None:
    assert [module.name for module in read_modules() if module.text.count("\n") > MAX_FILE_LINES] == []


def test_functions_are_short() -> None:
    assert [name for module in read_modules() for name in find_long_functions(module)] == []


def test_folders_have_few_files() -> None:
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MAX_FOLDER_FILES, folder


def test_class_names_are_unique() -> None:
    modules: dict[str, set[str]] = {}
    for module in read_modules():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                modules.setdefault(node.name, set()).add(module.name)
    assert {name: places for name, places in modules.items() if len(places) > 1} == {}


def test_broad_excepts_are_rare() -> None:
    broad = [place for module in read_modules() for place in find_broad_excepts(module)]
    assert len(broad) <= MAX_BROAD_EXCEPTS, broad


def test_each_listed_decider_exists() -> None:
    checkout = PACKAGE.parent
    deciders = (checkout / "scripts" / "deciders.txt").read_text("utf-8").split()
    assert [path for path in deciders if not (checkout / path).is_file()] == []
