"""Runs a scenario while the sentences of some modules are reworded, to show that no decision reads a sentence.

A scenario is a function of a folder that returns plain facts (statuses, codes, counts, exit codes) without texts. It
runs in a child, in which an import hook rewords every sentence of the named modules before they are compiled:

    facts, _none = run("tests.x.test_y:scenario", tmp_path / "a")
    reworded_facts, count = run("tests.x.test_y:scenario", tmp_path / "b", MODULES)
    assert reworded_facts == facts
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import re
import string
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

_CHECKOUT: Final = Path(__file__).parents[1]
_SENTENCE: Final = re.compile(r"[A-Za-z]{2,}.* |^ .*[A-Za-z]{2,}|[A-Za-z]{2,}[.:,;!?]$", re.DOTALL)
_SQL: Final = re.compile(r"\b(SELECT|INSERT|DELETE|UPDATE|CREATE|DROP|WHERE|SET|AND|ORDER BY|PRAGMA|BEGIN|VACUUM)\b")
_ADDRESS: Final = re.compile(r"https?://\S+|:memory:")

TEXT_KEYS: Final = frozenset({"action", "evidence", "fix", "message", "reason", "problems", "because", "instruction"})
"""Keys of our JSON documents that hold texts for people."""


def run(scenario: str, folder: Path, reworded: Sequence[str] = (), *, seed: int = 0) -> Any:
    """Run a scenario in a child and return its facts.

    Args:
        scenario: `module:function`.
        folder: Where the scenario works.
        reworded: Modules whose sentences are reworded; a name that ends with `.` stands for all modules below it.
        seed: Runs with different seeds use different words.

    Returns:
        The facts, and how many sentences were reworded.
    """
    command = [sys.executable, "-m", "tests.rewording", scenario, str(folder), str(seed), *reworded]
    # Not in the checkout: a reworded path must leave no file there.
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(_CHECKOUT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=420, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return json.loads(done.stdout.splitlines()[-1])


def drop_texts(value: Any) -> Any:
    """Return a JSON value in which of each text for people only its presence is left."""
    if isinstance(value, dict):
        return {key: _hide(item) if key in TEXT_KEYS else drop_texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [drop_texts(item) for item in value]
    return value


def _hide(value: Any) -> Any:
    if isinstance(value, list):
        return [_hide(item) for item in value]
    return drop_texts(value) if isinstance(value, dict) else bool(value)


def is_sentence(text: str) -> bool:
    """Return whether a string constant is written for people: several words, and neither SQL nor an address
    of a page or database."""
    return bool(_SENTENCE.search(text)) and not _SQL.search(text) and not _ADDRESS.fullmatch(text)


def reword(text: str, shift: int) -> str:
    """Return other words of the same length: each letter is replaced by one further on in the alphabet.

    Fields of templates for `str.format`, such as `{name}`, stay.
    """
    letters = string.ascii_lowercase
    moved = letters[shift:] + letters[:shift]
    table = str.maketrans(letters + letters.upper(), moved + moved.upper())
    parts = re.split(r"(\{\w+\})", text)
    return "".join(part if part.startswith("{") else part.translate(table) for part in parts)


class Reworder(ast.NodeTransformer):
    """Rewords the sentences of a module, but for docstrings, patterns and values of enums.

    Each place gets other words, so that two places which hold the same sentence do not agree any more.

    Args:
        literals: Values of `Literal` types, which are left alone as well.
        seed: Changes all words.

    Attributes:
        count: How many sentences were reworded.
    """

    def __init__(self, literals: Collection[str] = (), *, seed: int = 0) -> None:
        self.count = 0
        self._literals = literals
        self._seed = seed

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        is_docstring = isinstance(node.value, ast.Constant)
        return node if is_docstring else self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        is_enum = any(ast.unparse(base).endswith("Enum") for base in node.bases)
        return node if is_enum else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = ast.unparse(node.func)
        return node if name.startswith("re.") else self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        is_literal = isinstance(node.value, ast.Name) and node.value.id == "Literal"
        return node if is_literal else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, str) or node.value in self._literals or not is_sentence(node.value):
            return node
        self.count += 1
        shift = 1 + (self._seed + 7 * self.count) % 25
        return ast.copy_location(ast.Constant(reword(node.value, shift)), node)


def literal_values(source: str) -> set[str]:
    """Return the values of all `Literal[...]` types of a module; these are facts, though some hold a space."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
            constants = [part.value for part in ast.walk(node.slice) if isinstance(part, ast.Constant)]
            found |= {value for value in constants if isinstance(value, str)}
    return found


class _RewordingLoader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, reworder: Reworder) -> None:
        super().__init__(name, path)
        self._reworder = reworder

    def get_code(self, fullname: str) -> CodeType:
        # Not `source_to_code`: that is not called while a compiled file with the old sentences lies in the cache.
        path = self.get_filename(fullname)
        tree = self._reworder.visit(ast.parse(self.get_data(path)))
        return compile(ast.fix_missing_locations(tree), path, "exec")


class _RewordingFinder(importlib.abc.MetaPathFinder):
    def __init__(self, modules: Sequence[str], reworder: Reworder) -> None:
        self._modules = modules
        self._reworder = reworder

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if not any(name == module or (module.endswith(".") and name.startswith(module)) for module in self._modules):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _RewordingLoader(name, spec.loader.path, self._reworder)
        return spec


def _read_literals() -> set[str]:
    sources = (path.read_text("utf-8") for path in (_CHECKOUT / "comfywatchman").rglob("*.py"))
    return set().union(*(literal_values(source) for source in sources if "Literal[" in source))


def _main(scenario: str, folder: str, seed: str, *modules: str) -> None:
    reworder = Reworder(_read_literals(), seed=int(seed))
    sys.meta_path.insert(0, _RewordingFinder(modules, reworder))
    module, _, function = scenario.partition(":")
    facts = getattr(importlib.import_module(module), function)(Path(folder))
    sys.stdout.write(f"\n{json.dumps([facts, reworder.count])}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
