"""Completion: the scripts, and what they are answered."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from comfywatchman.cli.main import main
from tests.hosts import Host


def complete(words: str, *, home: Path, **variables: str) -> list[str]:
    """Return the names that complete the last word, as the script of bash asks for them."""
    lines = [line.partition(",") for line in ask(words, home=home, **variables)]
    return [name for kind, _comma, name in lines if kind == "plain"]


def ask(words: str, *, home: Path, **variables: str) -> list[str]:
    """Return the completions of the last word, each with its kind before a comma."""
    environment = {
        "COMP_WORDS": f"comfywatchman {words}",
        "COMP_CWORD": str(len(words.split(" "))),
        "_COMFYWATCHMAN_COMPLETE": "bash_complete",
        "HOME": str(home),
        "XDG_CONFIG_HOME": None,
        **variables,
    }
    result = CliRunner().invoke(main, [], prog_name="comfywatchman", env=environment)
    return [line for line in result.output.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("sta", ["status"]),
        ("config se", ["set"]),
        ("jobs prio", []),
        ("config set schedule.min_v", ["schedule.min_vram_gb"]),
        ("completion z", ["zsh"]),
        ("status --js", ["--json"]),
        ("explain ", []),
        ("jobs show ", []),
        ("env tx inspect ", []),
        ("version show ", []),
    ],
)
def test_words_are_completed(tmp_path: Path, words: str, names: list[str]) -> None:
    assert complete(words, home=tmp_path) == names


def test_nothing_is_written_or_printed_beside_names(tmp_path: Path) -> None:
    config = tmp_path / ".config" / "comfywatchman" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[broken")
    before = sorted(tmp_path.rglob("*"))
    for words in ("explain ", "jobs show ", "env rollback ", "supervise switch "):
        assert complete(words, home=tmp_path) == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", ["explain flows/a", "scan flows/a", "scan one.json flows/a", "resolve flows/a"])
def test_paths_are_completed_where_no_name_matches(tmp_path: Path, words: str) -> None:
    assert ask(words, home=tmp_path) == ["file,flows/a"]


def test_paths_do_not_stand_for_other_names(tmp_path: Path) -> None:
    assert ask("version show x", home=tmp_path) == []


def test_versions_are_completed(tmp_path: Path) -> None:
    locks = tmp_path / "home" / "lockfiles"
    locks.mkdir(parents=True)
    (locks / "comfy-2026-11.lock.json").touch()
    assert complete("version show 2", home=tmp_path, COMFYWATCHMAN_HOME=str(tmp_path / "home")) == ["2026-11"]


@pytest.mark.slow
def test_workflows_and_models_of_the_report_are_completed(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.write("portrait.json", lora="absent.safetensors")
    host.cycle()
    variables = {**host.variables, "COMFYWATCHMAN_HOME": str(host.home)}
    assert complete("explain por", home=tmp_path, **variables) == ["portrait.json"]
    assert complete("download abs", home=tmp_path, **variables) == ["absent.safetensors"]


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_script_serves_all_programs(shell: str) -> None:
    output = CliRunner().invoke(main, ["completion", shell]).output
    for program in ("comfywatchman", "gov", "e3"):
        assert f"_{program.upper()}_COMPLETE={shell}_complete" in output


@pytest.mark.slow
def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    script = CliRunner().invoke(main, ["completion", "bash"]).output
    asks = "COMP_WORDS=(comfywatchman doc) COMP_CWORD=1; _comfywatchman_completion comfywatchman doc; echo $COMPREPLY"
    variables = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [bash, "-c", f"{script}\n{asks}"]
    result = subprocess.run(command, capture_output=True, text=True, env=variables, check=True)
    assert result.stdout.strip() == "doctor"


@pytest.mark.slow
@pytest.mark.parametrize(("word", "inserted"), [("my", r"my\ first\ \$HOME"), ('"my', "my first $HOME")])
def test_bash_quotes_names_with_spaces(tmp_path: Path, word: str, inserted: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    locks = tmp_path / "home" / "lockfiles"
    locks.mkdir(parents=True)
    (locks / "comfy-my first $HOME.lock.json").touch()
    script = CliRunner().invoke(main, ["completion", "bash"]).output
    asks = (
        f"COMP_WORDS=(comfywatchman version show '{word}') COMP_CWORD=3; _comfywatchman_completion comfywatchman;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    variables = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "COMFYWATCHMAN_HOME": str(tmp_path / "home"),
    }
    command = [bash, "-c", f"{script}\n{asks}"]
    result = subprocess.run(command, capture_output=True, text=True, env=variables, check=True)
    assert result.stdout.splitlines() == [inserted]
