"""The recipes of docs/architecture.md ("To add …, start here"), followed on a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[1]
ARCHITECTURE = CHECKOUT / "docs" / "architecture.md"


class Copy:
    """A copy of the package that a test may edit and run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "comfywatchman"
        shutil.copytree(
            CHECKOUT / "comfywatchman", self.package, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True
        )

    def add_file(self, name: str, content: str) -> None:
        (self.package / name).write_text(content)

    def add_after(self, name: str, line: str, addition: str) -> None:
        """Insert text after a line of a file; the line must occur once."""
        path = self.package / name
        lines = path.read_text("utf-8").splitlines(keepends=True)
        assert lines.count(f"{line}\n") == 1, f"{name} has no single line {line!r}"
        lines.insert(lines.index(f"{line}\n") + 1, addition)
        path.write_text("".join(lines))

    def edit_json(self, name: str, change: Callable[[Any], object]) -> None:
        path = self.package / name
        content = json.loads(path.read_bytes())
        change(content)
        path.write_text(json.dumps(content))

    def run(self, *arguments: str, **variables: str) -> str:
        """Run the program of the copy; return its output."""
        return self._run(["-m", "comfywatchman", *arguments], variables=variables)

    def evaluate(self, code: str) -> str:
        """Run code that imports the copy; return its output."""
        return self._run(["-c", code], variables={}).strip()

    def _run(self, arguments: list[str], *, variables: dict[str, str]) -> str:
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            # No byte code: a file may be edited and run again within the resolution of its mtime.
            env={
                "PATH": os.defpath,
                "HOME": str(self.folder),
                "PYTHONPATH": str(self.folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


COMMAND = '''"""`comfywatchman hello`."""

import click


@click.command()
def hello() -> None:
    """Say hello to the host."""
    click.echo("Hello.")
'''


@pytest.mark.slow
def test_command_needs_its_file_and_one_entry(copy: Copy) -> None:
    copy.add_file("cli/hello.py", COMMAND)
    copy.add_after("cli/main.py", "COMMANDS: Final = {", '    "hello": "comfywatchman.cli.hello:hello",\n')
    assert "hello            Say hello to the host." in copy.run("--help")
    assert copy.run("hello") == "Hello.\n"


@pytest.mark.slow
def test_gov_command_needs_its_file_and_one_entry(copy: Copy) -> None:
    copy.add_file("cli/gov/hello.py", COMMAND)
    copy.add_after("cli/gov/main.py", "COMMANDS: Final = {", '    "hello": "comfywatchman.cli.gov.hello:hello",\n')
    assert re.search("hello +Say hello to the host.", copy.run("env", "--help"))
    assert copy.run("env", "hello") == "Hello.\n"


@pytest.mark.slow
def test_command_without_docstring_does_not_break_the_help(copy: Copy) -> None:
    copy.add_file("cli/hello.py", COMMAND.replace('    """Say hello to the host."""\n', ""))
    copy.add_after("cli/main.py", "COMMANDS: Final = {", '    "hello": "comfywatchman.cli.hello:hello",\n')
    assert "\n  hello" in copy.run("--help")


@pytest.mark.slow
def test_configuration_key_needs_its_type_and_its_default(copy: Copy) -> None:
    copy.add_after("base/settings.py", "    hash_budget_seconds: NotNegative", "    hash_threads: Count\n")
    copy.add_after("base/default.toml", "[models]", "# Number of threads that hash models.\nhash_threads = 2\n")
    assert "models.hash_threads\t2\tdefault" in copy.run("config")
    changed = copy.run("config", COMFYWATCHMAN_MODELS__HASH_THREADS="4")
    assert "models.hash_threads\t4\tenvironment COMFYWATCHMAN_MODELS__HASH_THREADS" in changed


def test_failure_code_needs_one_entry(copy: Copy) -> None:
    copy.add_after("base/errors.py", "CODES: Final[dict[str, str]] = {", '    "tea-cold": "The tea is cold.",\n')
    code = "from comfywatchman.base.errors import Failure; print(Failure('tea-cold', 'Cold.').code)"
    assert copy.evaluate(code) == "tea-cold"


@pytest.mark.slow
def test_model_folder_needs_one_entry(copy: Copy) -> None:
    copy.edit_json(
        "comfyui/install/folder_table.json",
        lambda table: table["folders"].update({"teapots": {"directories": ["teapots"]}}),
    )
    root = copy.folder / "ComfyUI"
    (root / "models" / "teapots").mkdir(parents=True)
    (root / "main.py").touch()
    code = f"""
from pathlib import Path
from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
root = Path({str(root)!r})
folders, _failures = resolve_folders(Installation(root=root, version=None, base=root))
print(folders.folders["teapots"].directories[0])
"""
    assert copy.evaluate(code) == str(root / "models" / "teapots")


@pytest.mark.slow
def test_model_loader_needs_one_entry(copy: Copy) -> None:
    copy.edit_json(
        "comfyui/loaders/loader_table.json",
        lambda table: table["classes"].update({"TeapotLoader": [0, [["lora_name", 0, "loras"]]]}),
    )
    code = """
from comfywatchman.comfyui.loaders.table import load_builtin_table
print([(found.name, found.folder) for found in load_builtin_table().inputs("TeapotLoader")])
"""
    assert copy.evaluate(code) == "[('lora_name', 'loras')]"


CHECK = '''"""Check `teapot`: is the tea hot?"""

from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult


def _run(context: CheckContext) -> CheckResult:
    return CheckResult(name=CHECK.name, status="fail", evidence="The tea is cold.")


CHECK = Check("teapot", _run)
'''


@pytest.mark.slow
def test_check_of_the_environment_needs_its_file_and_one_entry(copy: Copy) -> None:
    copy.add_file("governance/checks/teapot.py", CHECK)
    copy.add_after("governance/checks/runner.py", "    conflicts,", "    teapot,\n")
    copy.add_after("governance/checks/runner.py", "    conflicts.CHECK,", "    teapot.CHECK,\n")
    code = """
from comfywatchman.governance.checks.runner import CHECKS
print([check.run(None).evidence for check in CHECKS if check.name == "teapot"])
"""
    assert copy.evaluate(code) == "['The tea is cold.']"


@pytest.mark.slow
def test_table_of_the_database_needs_one_script(copy: Copy) -> None:
    path = copy.package / "readiness" / "database.py"
    text = path.read_text("utf-8")
    start = text.index("MIGRATIONS: Final")
    end = text.index("\n)\n", start)
    path.write_text(f'{text[:end]}\n    "CREATE TABLE teapots (name TEXT)",{text[end:]}')
    code = """
from pathlib import Path
from comfywatchman.readiness.database import open_database
database = open_database(Path("index.sqlite"))
print(database.connection.execute("SELECT count(*) FROM teapots").fetchone()[0])
"""
    assert copy.evaluate(code) == "0"


@pytest.mark.slow
def test_harmful_package_needs_one_entry(copy: Copy) -> None:
    entry = {
        "kind": "package",
        "name": "teapot",
        "versions": ["4.18"],
        "level": "blocked",
        "reason": "It boils over.",
        "source": "https://example.org/teapot",
    }
    copy.edit_json("governance/nodes/deny_list.json", lambda table: table["entries"].append(entry))
    code = """
from comfywatchman.governance.nodes.deny_list import build_deny_list
print(build_deny_list().find_package("teapot", "4.18").reason)
"""
    assert copy.evaluate(code) == "It boils over."


def test_every_recipe_names_existing_files_and_symbols() -> None:
    recipes = ARCHITECTURE.read_text("utf-8").split("## To add", 1)[1].split("\n## ", 1)[0]
    for path in re.findall(r"`((?:[a-z_]+/)+[a-z_.]*)`", recipes):
        assert (CHECKOUT / "comfywatchman" / path).exists() or (CHECKOUT / path).exists(), path
    for symbol, path in re.findall(r"`([A-Za-z_]+)` (?:in|of) `([a-z_/]+\.py)`", recipes):
        text = (CHECKOUT / "comfywatchman" / path).read_text("utf-8")
        assert re.search(rf"^(class |def |){symbol}\b", text, re.MULTILINE), f"{symbol} in {path}"
