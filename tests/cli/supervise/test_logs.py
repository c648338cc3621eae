from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from comfywatchman.cli.supervise.logs import follow_log
from tests.cli.supervise.calls import SupervisedWorkspace


def write_log(site: SupervisedWorkspace, text: str) -> Path:
    path = site.metadata / "comfyui.log"
    path.write_text(text)
    return path


def test_last_lines_are_shown(idle: SupervisedWorkspace) -> None:
    write_log(idle, "one\n10%\r20%\n\x1b[31mred\tend\n")
    result = idle("logs", "-n", "2")
    assert result.stdout == "20%\n\\x1b[31mred        end\n"
    assert idle.json("logs", "--lines", "1")["lines"] == ["\x1b[31mred\tend"]
    assert idle("logs", "-n", "0").stdout == ""


def test_missing_log_is_reported(idle: SupervisedWorkspace) -> None:
    result = idle("logs")
    assert result.exit_code == 1
    assert "There is no log yet" in str(result.exception)
    assert idle.json("logs")["lines"] == []


@pytest.mark.slow
def test_log_is_followed_through_a_restart(idle: SupervisedWorkspace) -> None:
    log = write_log(idle, "old\nlast\n")
    lines = follow_log(log, 1)
    assert next(lines) == "last"
    with log.open("a") as file:
        file.write("half")
        file.flush()
        file.write(" a line\nnext\n")
    assert [next(lines), next(lines)] == ["half a line", "next"]
    os.rename(log, log.with_name("comfyui.1.log"))
    log.write_text("new start\n")
    assert next(lines) == "new start"


@pytest.mark.slow
def test_log_that_does_not_exist_yet_is_followed(idle: SupervisedWorkspace) -> None:
    lines = follow_log(idle.metadata / "comfyui.log", 5)
    write_log(idle, "first\n")
    assert next(lines) == "first"


@pytest.mark.slow
def test_followed_lines_are_json(running: SupervisedWorkspace) -> None:
    import subprocess

    with subprocess.Popen(
        running.command("logs", "--follow", "-n", "1", "--json"),
        env=running.child_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        first = json.loads(child.stdout.readline())
        child.terminate()
    assert first["schema_version"] == 1
    assert first["line"]
