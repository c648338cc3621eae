"""The scripts with the names of the original plan: what they pass to comfywatchman, and what they refuse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "scripts"
RECORDER = """#!{python}
import json, os, sys
names = ("COMFYWATCHMAN_COMFYUI__MODELS_DIRECTORY", "COMFYWATCHMAN_DOWNLOADS__STALL_SECONDS")
print(json.dumps([sys.argv[1:], {{name: os.environ[name] for name in names if name in os.environ}}]))
"""


@dataclass
class Called:
    status: int
    arguments: list[str]
    variables: dict[str, str]
    errors: str


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the scripts beside a program that prints its arguments."""
    folder = tmp_path / "checkout"
    shutil.copytree(SCRIPTS, folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    program = folder / ".venv" / "bin" / "comfywatchman"
    program.parent.mkdir(parents=True)
    program.write_text(RECORDER.format(python=sys.executable))
    program.chmod(0o755)
    return folder


def call(checkout: Path, name: str, *arguments: str) -> Called:
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [str(checkout / "scripts" / name), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    given, variables = json.loads(result.stdout) if result.stdout.startswith("[") else ([], {})
    return Called(result.returncode, given, variables, result.stderr)


def test_init_passes_its_options_on(checkout: Path) -> None:
    options = ["--path", "/a b", "--ref", "v1", "--install-torch", "cpu", "--yes"]
    called = call(checkout, "init_comfyui.sh", *options)
    assert called.arguments == ["version", "init", "--torch", "cpu", "--path", "/a b", "--ref", "v1", "--yes"]
    assert call(checkout, "init_comfyui.sh").arguments == ["version", "init", "--torch", "skip"]


def test_clone_passes_its_options_on(checkout: Path) -> None:
    options = ["--lock", "a.lock.json", "--target", "t", "--skip-models", "--offline", "--wheels-dir", "w"]
    called = call(checkout, "clone_version.sh", *options, "--pip-extra-args", "--index-url https://x/ -f /more")
    assert called.arguments == [
        *("version", "clone", "./a.lock.json", "t", "--skip-models", "--offline"),
        *("--find-links", "w", "--index", "https://x/", "--find-links", "/more"),
    ]


def test_remove_explains_options_that_are_not_needed(checkout: Path) -> None:
    called = call(checkout, "remove_version.sh", "--target", "t", "--yes", "--remove-models", "--remove-root")
    assert called.arguments == ["version", "remove", "t", "--yes"]
    assert called.errors.count("is not needed") == 2


def test_create_passes_its_options_on(checkout: Path) -> None:
    options = ["--name", "v1", "--comfy-path", "/c", "--venv", "/v", "--models-spec", "m.json", "--output", "o.json"]
    further = [
        "--models-dir",
        "/m",
        "--workflow",
        "w",
        "--offline",
        "--require-ready",
        "--pretty",
        "--custom-node",
        "a=b",
    ]
    called = call(checkout, "create_version.py", *options, *further)
    assert called.arguments == [
        *("--comfyui", "/c", "version", "create", "v1", "--venv", "/v", "--output", "o.json"),
        *("--models-spec", "m.json", "--workflow", "w", "--offline", "--require-ready"),
    ]
    assert called.variables == {"COMFYWATCHMAN_COMFYUI__MODELS_DIRECTORY": "/m"}
    assert called.errors.count("is not used") == 2


def test_verify_passes_its_options_on(checkout: Path) -> None:
    options = [
        "--lock",
        "/l.json",
        "--models-dir",
        "/m",
        "--overwrite",
        "--timeout",
        "5",
        "--verbose",
        "--cache-dir",
        "c",
    ]
    called = call(checkout, "verify_models.py", *options)
    assert called.arguments == ["version", "verify", "/l.json", "--models-only", "--restore", "--overwrite", "--all"]
    assert called.variables["COMFYWATCHMAN_DOWNLOADS__STALL_SECONDS"] == "5.0"
    assert "--cache-dir is not used" in called.errors


def test_pin_passes_its_options_on(checkout: Path) -> None:
    options = ["--requirements", "r.txt", "--python", "/p", "--offline", "--wheels-dir", "w", "--in-place", "--pretty"]
    called = call(checkout, "pin_requirements.py", *options, "--pip-extra-args=--index-url=https://x/")
    assert called.arguments == [
        *("version", "pin", "r.txt", "--output", "r.txt", "--python", "/p"),
        *("--find-links", "w", "--offline", "--index", "https://x/"),
    ]
    assert call(checkout, "pin_requirements.py", "--requirements", "r", "--output", "o").arguments[-1] == "o"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("init_comfyui.sh", ["--unknown"]),
        ("init_comfyui.sh", ["--path"]),
        ("clone_version.sh", ["--lock", "a"]),
        ("clone_version.sh", ["--target", "a"]),
        ("clone_version.sh", ["--lock", "a", "--target", "b", "--pip-extra-args", "--no-deps x"]),
        ("clone_version.sh", ["--lock", "a", "--target", "b", "--pip-extra-args", "--index-url"]),
        ("remove_version.sh", []),
        ("create_version.py", []),
        ("verify_models.py", []),
        ("pin_requirements.py", ["--requirements", "r", "--pip-extra-args=--pre"]),
    ],
)
def test_wrong_calls_end_with_2_and_start_nothing(checkout: Path, name: str, arguments: list[str]) -> None:
    called = call(checkout, name, *arguments)
    assert (called.status, called.arguments) == (2, [])
    assert called.errors


@pytest.mark.parametrize("name", ["init_comfyui.sh", "clone_version.sh", "remove_version.sh"])
def test_help_is_shown(checkout: Path, name: str) -> None:
    assert call(checkout, name, "--help").status == 0


@pytest.mark.parametrize("name", ["remove_version.sh", "pin_requirements.py"])
def test_missing_program_is_explained(checkout: Path, name: str) -> None:
    (checkout / ".venv" / "bin" / "comfywatchman").unlink()
    argument = "--target" if name.endswith(".sh") else "--requirements"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable] if name.endswith(".py") else []
    result = subprocess.run(
        [*program, str(checkout / "scripts" / name), argument, "x"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 127
    assert "make setup" in result.stderr


def test_error_in_a_script_ends_it_with_its_line(tmp_path: Path) -> None:
    script = tmp_path / "failing.sh"
    script.write_text(f". {SCRIPTS}/lib/strict.sh\necho one\nfalse\necho two\n")
    result = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "one\n")
    assert "ended with status 1" in result.stderr
    script.write_text(f". {SCRIPTS}/lib/strict.sh\necho $unset_variable\n")
    assert subprocess.run(["bash", str(script)], capture_output=True, check=False).returncode != 0
