from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.governance.foreground import build_folder_arguments, run_in_foreground
from comfywatchman.governance.store.layout import GovLayout
from tests.governance.contexts import DEFAULT_SETTINGS

RUN = """
import sys
from pathlib import Path
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.governance.foreground import run_in_foreground
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.settings import RunTable
from tests.governance.contexts import DEFAULT_SETTINGS
root, comfyui = map(Path, sys.argv[1:3])
settings = RunTable(extra_args=("--lowvram",), environment=("MINE",))
run_in_foreground(GovLayout(root), Installation(root=comfyui, version=None, base=comfyui), settings, sys.argv[3:])
"""
MAIN = """
import os, sys
print(sys.executable, *sys.argv[1:])
print(os.getcwd(), os.environ.get("MINE"), os.environ.get("HF_TOKEN"), os.environ["VIRTUAL_ENV"], os.getpid())
"""


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "main.py").write_text(MAIN)
    return folder


@pytest.fixture
def layout(tmp_path: Path) -> GovLayout:
    layout = GovLayout(tmp_path / "env")
    (layout.generations / "one" / "bin").mkdir(parents=True)
    (layout.generations / "one" / "bin" / "python").symlink_to(sys.executable)
    layout.production.symlink_to("envs/one")
    return layout


def started(layout: GovLayout, comfyui: Path, *given: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(layout.root), str(comfyui), *given],
        env={**os.environ, "MINE": "yes", "HF_TOKEN": "hf_secret"},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_comfyui_replaces_the_process_with_the_real_interpreter(layout: GovLayout, comfyui: Path) -> None:
    with started(layout, comfyui, "--port", "9000") as process:
        output = process.communicate(timeout=60)[0].splitlines()
    environment = layout.generations / "one"
    assert output[0] == f"{environment}/bin/python --lowvram --port 9000"
    assert output[1] == f"{comfyui} yes None {environment} {process.pid}"


@pytest.mark.slow
def test_exit_code_is_that_of_comfyui(layout: GovLayout, comfyui: Path) -> None:
    (comfyui / "main.py").write_text("raise SystemExit(3)")
    with started(layout, comfyui) as process:
        assert process.wait(60) == 3


@pytest.mark.slow
def test_signals_reach_comfyui(layout: GovLayout, comfyui: Path) -> None:
    (comfyui / "main.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(7))\n"
        "print('up', flush=True)\ntime.sleep(600)\n"
    )
    with started(layout, comfyui) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 7


def refused(layout: GovLayout, comfyui: Path) -> str:
    with pytest.raises(Failure) as caught:
        run_in_foreground(layout, Installation(root=comfyui, version=None, base=comfyui), DEFAULT_SETTINGS.run)
    return caught.value.code


def test_missing_parts_are_reported(layout: GovLayout, comfyui: Path, tmp_path: Path) -> None:
    assert refused(layout, tmp_path) == "comfyui-not-found"
    python = layout.generations / "one" / "bin" / "python"
    python.unlink()
    assert refused(layout, comfyui) == "gov-not-initialised"
    layout.production.unlink()
    assert refused(layout, comfyui) == "gov-not-initialised"


def test_damaged_interpreter_is_reported(layout: GovLayout, comfyui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(comfyui)
    python = layout.generations / "one" / "bin" / "python"
    python.unlink()
    python.write_text("no program")
    assert refused(layout, comfyui) == "child-failed"


def test_folders_of_the_installation_are_arguments() -> None:
    root = Path("/opt/ComfyUI")
    assert build_folder_arguments(Installation(root=root, version=None, base=root)) == ()
    installation = Installation(
        root=root,
        version=None,
        base=Path("/data"),
        models=Path("/models"),
        output=Path("/out"),
        input=Path("/pictures"),
        extra_model_paths=(Path("/a.yaml"),),
    )
    assert build_folder_arguments(installation) == (
        "--base-directory=/data",
        "--models-directory=/models",
        "--output-directory=/out",
        "--input-directory=/pictures",
        "--extra-model-paths-config=/a.yaml",
    )
