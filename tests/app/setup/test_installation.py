"""Settings that follow from ComfyUI's folder and process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.app.session import Session
from comfywatchman.app.setup.installation import (
    describe_gpu,
    propose_comfyui,
    propose_folders,
    propose_python,
    propose_server,
)
from comfywatchman.app.setup.proposal import SetupChoices
from comfywatchman.comfyui.server.running import ComfyUIProcess

SESSION = Session(None, None)


@pytest.fixture
def choices(tmp_path: Path) -> SetupChoices:
    return SetupChoices(tmp_path)


def add_environment(folder: Path) -> Path:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_folder_is_proposed(choices: SetupChoices) -> None:
    (finding,) = propose_comfyui(SESSION, choices)
    assert finding.settings == (("comfyui.root", str(choices.comfyui)),)


def test_environment_beside_main_needs_no_setting(choices: SetupChoices) -> None:
    python = add_environment(choices.comfyui / "venv")
    (finding,) = propose_python(SESSION, choices)
    assert (finding.text, finding.settings) == (f"{python} (found beside main.py)", ())
    process = ComfyUIProcess(7, choices.comfyui, python=python.with_name("python3"))
    (finding,) = propose_python(SESSION, replace(choices, process=process))
    assert finding.settings == ()


def test_environment_beside_the_folder_is_proposed(tmp_path: Path) -> None:
    choices = SetupChoices(tmp_path / "ComfyUI")
    choices.comfyui.mkdir()
    python = add_environment(tmp_path / "venv")
    python.chmod(0o755)
    (finding,) = propose_python(SESSION, choices)
    assert (finding.text, finding.settings) == (str(python), (("comfyui.python", str(python)),))


def test_interpreter_of_the_process_is_proposed(choices: SetupChoices, tmp_path: Path) -> None:
    add_environment(choices.comfyui / "venv")
    other = add_environment(tmp_path / "conda")
    process = ComfyUIProcess(7, choices.comfyui, python=other)
    (finding,) = propose_python(SESSION, replace(choices, process=process))
    assert finding.settings == (("comfyui.python", str(other)),)
    given = add_environment(tmp_path / "given")
    (finding,) = propose_python(SESSION, replace(choices, process=process, python=given))
    assert finding.settings == (("comfyui.python", str(given)),)


def test_unknown_interpreter_is_said_to_be_unknown(choices: SetupChoices) -> None:
    (finding,) = propose_python(SESSION, choices)
    assert finding.text.startswith("unknown")


@pytest.mark.parametrize(
    ("url", "settings"),
    [("http://127.0.0.1:8188", ()), ("http://127.0.0.1:8288", (("comfyui.url", "http://127.0.0.1:8288"),))],
)
def test_other_address_is_proposed(choices: SetupChoices, url: str, settings: tuple[tuple[str, str], ...]) -> None:
    process = ComfyUIProcess(7, choices.comfyui, url=url)
    (finding,) = propose_server(SESSION, replace(choices, process=process))
    assert finding.settings == settings
    assert "running" in finding.text


def test_silent_server_is_told_from_one_that_does_not_run(choices: SetupChoices) -> None:
    (finding,) = propose_server(SESSION, choices)
    assert finding.text.startswith("not running")
    (finding,) = propose_server(SESSION, replace(choices, process=ComfyUIProcess(7, choices.comfyui)))
    assert finding.text.startswith("runs, but does not listen")


def test_options_of_the_process_are_proposed(choices: SetupChoices) -> None:
    assert list(propose_folders(SESSION, choices)) == []
    process = ComfyUIProcess(
        7,
        choices.comfyui,
        base_directory=Path("/data"),
        extra_model_paths=(Path("/a.yaml"), Path('/b".yaml')),
    )
    (finding,) = propose_folders(SESSION, replace(choices, process=process))
    assert finding.settings == (
        ("comfyui.base_directory", "/data"),
        ("comfyui.extra_model_paths", '["/a.yaml", "/b\\".yaml"]'),
    )


def test_gpu_is_described(choices: SetupChoices) -> None:
    assert all(finding.settings == () and finding.text for finding in describe_gpu(SESSION, choices))
