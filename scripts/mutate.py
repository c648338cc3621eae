"""Sample mutants of given modules and report the ones that no test kills.

Usage: python scripts/mutate.py MODULE.py... [--count N] [--seed N] [--tests PATH...] [--timeout SECONDS]

Each mutant changes one expression or statement of a randomly chosen function, in a private copy of the checkout, and
runs the mirrored tests (`tests/a/test_b*.py` for `comfywatchman/a/b.py`, else all of `tests/a`). The exit status is 1
when a mutant survives. A survivor is a place to look: some mutants change nothing that anybody can observe.
"""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
NOT_COPIED = (".venv", ".tools", ".git", "__pycache__", "state", "output", "log")
QUICK = "not slow and not real_comfyui and not torture"
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


@dataclass(frozen=True)
class Mutant:
    """One changed module: the function it lies in, and both texts without comments."""

    function: str
    original: str
    mutated: str

    def diff(self) -> str:
        """Return the changed lines."""
        lines = difflib.unified_diff(self.original.splitlines(), self.mutated.splitlines(), lineterm="", n=1)
        return "\n".join(line for line in lines if not line.startswith(("---", "+++")))


def find_functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """Return the functions that hold more than a docstring or a bare `...`."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return [function for function in functions if list(find_places(function))]


def find_places(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function that a mutation can change."""
    docstrings = {id(node.value) for node in ast.walk(function) if isinstance(node, ast.Expr)}
    annotations: set[int] = set()
    for node in ast.walk(function):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if annotation is not None:
            annotations.update(id(inner) for inner in ast.walk(annotation))
    for node in ast.walk(function):
        if id(node) in docstrings or id(node) in annotations:
            continue
        if is_mutable(node):
            yield node


def is_mutable(node: ast.AST) -> bool:
    """Say whether `mutate_node` knows how to change a node."""
    match node:
        case ast.Compare() | ast.BoolOp() | ast.IfExp() | ast.If() | ast.Break() | ast.Continue():
            return True
        case ast.UnaryOp(op=ast.Not()) | ast.Constant(value=bool() | int() | float() | str()):
            return True
        case ast.Return(value=ast.AST()):
            return True
        case _:
            return False


def mutate_node(node: ast.AST, rng: random.Random) -> None:
    """Change one node in place."""
    match node:
        case ast.Compare(ops=operators):
            position = rng.randrange(len(operators))
            operators[position] = COMPARISONS[type(operators[position])]()
        case ast.BoolOp(op=operator):
            node.op = ast.Or() if isinstance(operator, ast.And) else ast.And()
        case ast.IfExp() | ast.If():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.UnaryOp():
            node.op = ast.UAdd()
            node.operand = ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])
        case ast.Constant(value=value):
            node.value = change_constant(value)
        case ast.Return():
            node.value = ast.Constant(None)
        case ast.Break() | ast.Continue():
            # The two have the same fields, so that one turns into the other in its place.
            node.__class__ = ast.Continue if isinstance(node, ast.Break) else ast.Break


def change_constant(value: object) -> str | float:
    """Return another constant of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}mutant"


def sample_mutant(source: str, rng: random.Random) -> Mutant | None:
    """Return a random mutant of a module; None when it holds nothing that can be changed."""
    tree = ast.parse(source)
    functions = find_functions(tree)
    if not functions:
        return None
    original = ast.unparse(tree)
    mutated_tree = copy.deepcopy(tree)
    function = rng.choice(find_functions(mutated_tree))
    mutate_node(rng.choice(list(find_places(function))), rng)
    return Mutant(function.name, original, ast.unparse(ast.fix_missing_locations(mutated_tree)))


def find_mirrored_tests(module: Path) -> list[str]:
    """Return the test files of a module, `comfywatchman/a/b.py`, or the folder they would be in."""
    folder = Path("tests", *module.parts[1:-1])
    files = sorted((CHECKOUT / folder).glob(f"test_{module.stem}*.py"))
    return [str(file.relative_to(CHECKOUT)) for file in files] or [str(folder)]


def is_killed(copy_of_checkout: Path, tests: list[str], timeout_seconds: float) -> bool:
    """Run the tests in the copy; a test that hangs has noticed the mutant too."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", QUICK, *tests]
    try:
        finished = subprocess.run(
            command,
            cwd=copy_of_checkout,
            env={**os.environ, "PYTHONPATH": str(copy_of_checkout), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=False,
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired:
        return True
    return finished.returncode != 0


def main() -> int:
    """Sample, run and report; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="+", type=Path, help="files below comfywatchman/")
    parser.add_argument("--count", type=int, default=20, help="mutants in all (default: 20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tests", nargs="*", help="tests to run instead of the mirrored ones")
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="for each mutant (default: 120)")
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - a repeatable sample
    killed = survived = 0
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        private = Path(folder, "checkout")
        shutil.copytree(
            CHECKOUT, private, ignore=shutil.ignore_patterns(".venv", ".tools", ".git", "__pycache__", "state")
        )
        for _ in range(options.count):
            module: Path = rng.choice(options.modules)
            source = (CHECKOUT / module).read_text("utf-8")
            mutant = sample_mutant(source, rng)
            if mutant is None or mutant.original == mutant.mutated:
                continue
            (private / module).write_text(mutant.mutated, "utf-8")
            if is_killed(private, options.tests or find_mirrored_tests(module), options.timeout):
                killed += 1
            else:
                survived += 1
                print(f"SURVIVED {module}: {mutant.function}\n{mutant.diff()}\n", flush=True)
            (private / module).write_text(source, "utf-8")
    print(f"{killed} killed, {survived} survived")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
