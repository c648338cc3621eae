from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.server.command import (
    build_command,
    build_environment,
    has_base_directory_option,
    read_known_options,
)

PYTHON = Path("/envs/one/bin/python")
CLI_ARGS = """
parser.add_argument("--listen", type=str)
parser.add_argument('--port', type=int)
group.add_argument("--cpu", action="store_true")
"""


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "cli_args.py").write_text(CLI_ARGS)
    return tmp_path


def test_options_are_read_from_source(comfyui: Path) -> None:
    assert read_known_options(comfyui) == frozenset({"--listen", "--port", "--cpu"})
    assert not has_base_directory_option(read_known_options(comfyui))


def test_unknown_options_are_all_passed(tmp_path: Path) -> None:
    assert read_known_options(tmp_path) is None
    assert has_base_directory_option(None)
    base = tmp_path / "base"
    assert build_command(PYTHON, tmp_path, base, 9000, use_cpu=True) == (
        "/envs/one/bin/python",
        f"{tmp_path}/main.py",
        "--listen=127.0.0.1",
        "--port=9000",
        f"--base-directory={base}",
        f"--output-directory={base}/output",
        f"--temp-directory={base}",
        f"--input-directory={base}/input",
        f"--user-directory={base}/user",
        f"--database-url=sqlite:///{base}/user/comfyui.db",
        "--disable-auto-launch",
        "--cpu",
    )


def test_options_missing_from_this_comfyui_are_left_out(comfyui: Path) -> None:
    command = build_command(PYTHON, comfyui, comfyui / "base", 9000, use_cpu=False)
    assert command[2:] == ("--listen=127.0.0.1", "--port=9000")


def test_user_arguments_stay_unless_reserved(comfyui: Path) -> None:
    extra = ("--listen", "0.0.0.0", "--fast", "fp16", "--port=8188", "--tls-keyfile", "k", "--auto-launch", "--lowvram")  # noqa: S104
    assert build_command(PYTHON, comfyui, comfyui, 9000, use_cpu=False, extra=extra)[2:] == (
        *("--fast", "fp16", "--lowvram"),
        *("--listen=127.0.0.1", "--port=9000"),
    )
    assert "--lowvram" not in build_command(PYTHON, comfyui, comfyui, 9000, use_cpu=True, extra=extra)


def test_environment_variables_point_at_the_environment() -> None:
    variables = build_environment(PYTHON, "/usr/bin:/bin", {"HTTP_PROXY": "http://proxy"})
    assert variables["PATH"] == "/envs/one/bin:/usr/bin:/bin"
    assert (variables["VIRTUAL_ENV"], variables["PYTHONNOUSERSITE"], variables["HTTP_PROXY"]) == (
        "/envs/one",
        "1",
        "http://proxy",
    )
    assert build_environment(PYTHON, "", {})["PATH"] == "/envs/one/bin"
