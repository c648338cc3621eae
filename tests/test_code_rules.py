"""What import-linter cannot see: doors that are attributes, and the measures of docs and CONTRIBUTING."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "comfywatchman"
DOORS = {
    "os.environ": {"base/config.py", "base/process.py", "base/failpoints.py"},
    "os.getenv": set(),
    "datetime.now": {"base/clock.py"},
    "time.time": {"base/clock.py"},
    "http.client": {"base/stream.py"},
    "urllib.request": {"base/stream.py"},
}
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
BROAD_EXCEPTS = 6


@cache
def _modules() -> tuple[tuple[str, str, ast.Module], ...]:
    texts = {path: path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    return tuple((path.relative_to(PACKAGE).as_posix(), text, ast.parse(text)) for path, text in texts.items())


def test_each_outside_thing_has_its_one_door() -> None:
    users: dict[str, set[str]] = {door: set() for door in DOORS}
    for name, _text, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                users.get(f"{node.value.id}.{node.attr}", set()).add(name)
    assert {door: names - DOORS[door] for door, names in users.items() if names - DOORS[door]} == {}


def test_files_and_functions_stay_short() -> None:
    long = []
    for name, text, tree in _modules():
        if text.count("\n") > LONGEST_FILE:
            long.append(name)
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        too_long = [node for node in functions if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION]
        long += [f"{name}:{node.lineno} {node.name}" for node in too_long]
    assert long == []


def test_broad_excepts_stand_only_at_the_edges() -> None:
    broad = [
        f"{name}:{node.lineno}"
        for name, _text, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and not any(isinstance(one, ast.Raise) and one.exc is None for one in ast.walk(node))
    ]
    assert len(broad) <= BROAD_EXCEPTS, broad
