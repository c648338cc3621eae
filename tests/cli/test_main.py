"""The command line as a person meets it: help, exit codes, errors in words, and how fast it starts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from comfywatchman import __version__
from comfywatchman.app.build_info import find_commit
from comfywatchman.base.errors import CODES, Failure
from comfywatchman.cli.main import COMMANDS, main
from comfywatchman.cli.render import exit_code, print_crash
from tests.children import measure_cpu_seconds
from tests.hosts import Host

CHECKOUT = Path(__file__).parents[2]


def comfywatchman(
    folder: Path, *arguments: str | bytes, stdout: int = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "comfywatchman", *arguments],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(CHECKOUT), **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        timeout=250,
        check=False,
    )


def test_help_is_shown_without_arguments() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0
    assert result.output.startswith("Usage:")
    for name in COMMANDS:
        assert f"\n  {name} " in result.output


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_options_and_exit_codes(flag: str) -> None:
    result = CliRunner().invoke(main, [flag], terminal_width=100)
    assert result.exit_code == 0
    for words in ("--run-cycle", "--scheduler", "--list-intake", "--home", "--config", "75 skipped by a gate"):
        assert words in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: main {name}")


def test_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.output) == (0, f"comfywatchman, version {__version__} ({find_commit()})\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["no-such-command"],
        ["--run-cycle", "--scheduler"],
        ["--run-cycle", "--list-intake"],
        ["--scheduler", "--list-intake", "3"],
        ["--list-intake", "0"],
        ["--list-intake", "many"],
        ["--config", "absent.toml", "--run-cycle"],
        ["--config", ".", "config"],
        ["--run-cycle", "--trigger", "moon"],
        ["history", "--limit", "0"],
    ],
)
@pytest.mark.slow
def test_wrong_usage_exits_with_2(tmp_path: Path, arguments: list[str]) -> None:
    ended = comfywatchman(tmp_path, *arguments)
    assert ended.returncode == 2
    assert ended.stdout == b""
    assert b"Traceback" not in ended.stderr
    assert ended.stderr.count(b"\n") >= 1


@pytest.mark.parametrize("arguments", [["config"], ["--run-cycle"]])
@pytest.mark.slow
def test_configuration_error_exits_with_2(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "config.toml").write_text("[schedule]\nmin_vram = 3\n")
    ended = comfywatchman(tmp_path, *arguments)
    assert ended.returncode == 2, ended.stderr
    assert b"Error (config-unknown-key): Unknown configuration key 'schedule.min_vram' in " in ended.stderr
    assert b"The closest known key is 'schedule.min_vram_gb'." in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.slow
def test_config_option_is_read(tmp_path: Path) -> None:
    (tmp_path / "given.toml").write_text('[schedule]\ngpu_policy = "some"\n')
    ended = comfywatchman(tmp_path, "--config", "given.toml", "config")
    assert ended.returncode == 2
    assert b"schedule.gpu_policy in given.toml is 'some'" in ended.stderr


@pytest.mark.slow
def test_error_has_no_control_characters(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('"\\u001b[2Jx" = 1\n')
    ended = comfywatchman(tmp_path, "config")
    assert ended.returncode == 2
    assert b"\x1b" not in ended.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.slow
def test_names_are_printed_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    root = os.fsdecode("/模".encode() + b"\xff")
    for arguments in (["config"], ["config", "--json"]):
        ended = comfywatchman(tmp_path, *arguments, COMFYUI_ROOT=root, PYTHONIOENCODING=encoding)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert b"udcff" in ended.stdout


@pytest.mark.slow
def test_closed_reader_of_the_output_exits_with_1(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = comfywatchman(tmp_path, "config", stdout=writer)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.slow
def test_closed_streams_are_replaced(tmp_path: Path) -> None:
    host = Host(tmp_path)
    closed = "exec 0<&- 1>&- 2>&-; exec " + shlex.join(map(os.fsdecode, host.command("--run-cycle")))
    ended = subprocess.run(["sh", "-c", closed], env=host.environment(), cwd=host.folder, timeout=100, check=False)
    assert ended.returncode == 0
    assert host.report()["cycle"]["success"]


@pytest.mark.slow
def test_full_disk_behind_the_output_exits_with_1(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        ended = comfywatchman(tmp_path, "config", stdout=full.fileno())
    assert ended.returncode == 1
    assert ended.stderr == b"The output could not be written: No space left on device. Free space on its disk.\n"


def test_interrupt_while_loading_exits_with_130(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    ended = comfywatchman(tmp_path, "status", PYTHONPATH=f"{tmp_path}:{CHECKOUT}")
    assert (ended.returncode, ended.stderr) == (130, b"Interrupted.\n")


@pytest.mark.parametrize("code", CODES)
def test_failure_codes_have_exit_codes(code: str) -> None:
    not_there = {f"gov-{what}-unknown" for what in ("node", "transaction", "snapshot", "operation")}
    not_there |= {"supervisor-environment-unknown", "supervisor-incident-unknown", "workflow-unknown"}
    not_there |= {
        "jobs-job-unknown",
        "jobs-priority-range",
        "version-lock-missing",
        "version-lock-invalid",
        "gov-bad-pin",
    }
    is_usage = code.startswith("config-") or code in not_there or code == "gov-needs-resolution"
    expected = 2 if is_usage else 75 if code == "lock-held" else 1
    assert exit_code(Failure(code, "words")) == expected


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
@pytest.mark.slow
def test_program_starts_fast(tmp_path: Path, arguments: list[str]) -> None:
    comfywatchman(tmp_path, *arguments)
    # The aim is 0.15 s. Slow or shared cores need more for Python and click alone, of which it is about twice the time.
    seconds, floor = measure_cpu_seconds(
        lambda: comfywatchman(tmp_path, *arguments),
        lambda: subprocess.run([sys.executable, "-c", "import click"], check=True),
    )
    assert seconds < max(0.15, 4 * floor)


def on_a_terminal(folder: Path, *arguments: str, **variables: str) -> bytes:
    """Return what the program shows on a terminal, standard error included."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "comfywatchman", *arguments],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(CHECKOUT), "TERM": "xterm", **variables},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        shown = b"".join(iter(lambda: read_terminal(ours), b""))
    os.close(ours)
    return shown


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""  # how Linux says that the other side is closed


@pytest.mark.slow
def test_table_on_a_terminal_respects_no_color(tmp_path: Path) -> None:
    shown = on_a_terminal(tmp_path, "config", NO_COLOR="1", COLUMNS="160", COMFYUI_ROOT="/a\x1b[31m")
    assert "─".encode() in shown
    assert rb"/a\x1b[31m" in shown
    assert b"\x1b[3" not in shown


@pytest.mark.slow
def test_error_on_a_terminal_respects_no_color(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("x = 1\n")
    shown = on_a_terminal(tmp_path, "config", NO_COLOR="1")
    assert shown.startswith(b"Error (config-unknown-key)")
    assert b"\x1b" not in shown


def test_traceback_is_followed_by_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    print_crash(KeyError("x"))
    shown = capsys.readouterr().err
    assert shown.startswith("KeyError: 'x'\nError: comfywatchman failed unexpectedly (KeyError).")


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        (["duplicates", "--json"], "comfyui-not-found", 1),
        (["download", "x", "--json"], "comfyui-not-found", 1),
        (["--run-cycle", "--json", "--config", "wrong.toml"], "config-wrong-type", 2),
        (["config", "--json", "--no-such-option"], "usage", 2),
        (["resolve", "--json"], "usage", 2),
    ],
)
@pytest.mark.slow
def test_failure_is_printed_as_json(tmp_path: Path, arguments: list[str], code: str, status: int) -> None:
    (tmp_path / "wrong.toml").write_text("schedule = 3\n")
    ended = comfywatchman(tmp_path, *arguments)
    assert ended.returncode == status
    printed = json.loads(ended.stdout)
    assert set(printed) == {"schema_version", "error"}
    assert set(printed["error"]) == {"code", "message", "hint"}
    assert printed["error"]["code"] == code
    assert printed["error"]["message"].encode() in ended.stderr
    assert comfywatchman(tmp_path, *(one for one in arguments if one != "--json")).stdout == b""


@pytest.mark.slow
def test_argument_named_json_is_not_the_option(tmp_path: Path) -> None:
    assert comfywatchman(tmp_path, "download", "--", "--json").stdout == b""


@pytest.mark.slow
def test_closed_reader_of_a_json_failure_is_ignored(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = comfywatchman(tmp_path, "duplicates", "--json", stdout=writer)
    finally:
        os.close(writer)
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr


# The script of `completion` is for a shell, and `web` serves until it is stopped.
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"completion", "web"}))
def test_json_options_have_the_same_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    helps = [option.help for leaf in leaves for option in leaf.params if "--json" in option.opts]
    assert helps == ["Print the result as JSON."] * len(leaves)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["run", "run_gov", "run_e3"])
def test_windows_gets_one_sentence(tmp_path: Path, start: str) -> None:
    # Windows has none of these modules.
    code = (
        "import sys\n"
        "sys.platform = 'win32'\n"
        "for name in ('fcntl', 'pwd', 'grp', 'resource', 'termios'):\n"
        "    sys.modules[name] = None\n"
        f"from comfywatchman.__main__ import {start}\n"
        f"{start}()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, "status"], cwd=tmp_path, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode().startswith("comfywatchman needs Linux or macOS. On Windows, install it in WSL")
    assert ended.stderr.count(b"\n") == 1
