from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.supervisor.process.launcher import (
    SESSION_VARIABLE,
    SUPERVISED_VARIABLE,
    ManagedEnvironment,
    build_start,
    extract_port,
    has_tls,
    take_reboot_marker,
)

OPTIONS = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=8188)
parser.add_argument("--disable-auto-launch", action="store_true")
"""


@pytest.fixture
def environment(tmp_path: Path) -> ManagedEnvironment:
    comfyui = tmp_path / "ComfyUI"
    (comfyui / "comfy").mkdir(parents=True)
    (comfyui / "comfy" / "cli_args.py").write_text(OPTIONS)
    return ManagedEnvironment(
        "main", tmp_path / "venv" / "bin" / "python", comfyui, ("--lowvram",), {"HF_HOME": "/models", "PATH": "/own"}
    )


def test_watched_port_comes_last(environment: ManagedEnvironment, metadata: Path) -> None:
    start = build_start(environment, metadata, port=8189, arguments=["--port", "9000"])
    main = str(environment.comfyui / "main.py")
    assert start.argv == (
        str(environment.python),
        main,
        "--lowvram",
        "--port",
        "9000",
        "--port=8189",
        "--disable-auto-launch",
    )
    assert (start.environment, start.folder, start.port) == ("main", environment.comfyui, 8189)
    assert extract_port(start.argv, 8188) == 8189


def test_unknown_option_is_not_given(environment: ManagedEnvironment, metadata: Path) -> None:
    (environment.comfyui / "comfy" / "cli_args.py").write_text(OPTIONS.replace("--disable-auto-launch", "--other"))
    assert build_start(environment, metadata, port=8189, arguments=()).argv[-1] == "--port=8189"


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ((), []),
        (("--listen",), []),
        (("--listen", "--lowvram"), []),
        (("--listen", "0.0.0.0"), []),  # noqa: S104 - an argument, not bound
        (("--listen=127.0.0.1,192.168.1.5",), []),
        (("--listen", "::"), ["--listen=::,127.0.0.1"]),
        (("--listen=127.0.0.1", "--listen", "192.168.1.5"), ["--listen=192.168.1.5,127.0.0.1"]),
    ],
)
def test_server_can_always_be_asked_at_the_loopback_address(
    environment: ManagedEnvironment, metadata: Path, given: tuple[str, ...], added: list[str]
) -> None:
    argv = build_start(environment, metadata, port=8189, arguments=given).argv
    assert [*argv[3:]] == [*given, *added, "--port=8189", "--disable-auto-launch"]


def test_key_file_makes_https() -> None:
    assert has_tls(["--tls-keyfile=key.pem"])
    assert not has_tls(["--tls-certfile=cert.pem"])


def test_variables_mark_the_supervised_process(environment: ManagedEnvironment, metadata: Path) -> None:
    variables = build_start(environment, metadata, port=8189, arguments=()).variables
    assert variables["HF_HOME"] == "/models"
    assert variables[SUPERVISED_VARIABLE] == "1"
    assert variables["PATH"].split(":")[0] in {str(environment.python.parent), "/own"}
    assert Path(variables[SESSION_VARIABLE]).parent == metadata


def test_reboot_marker_is_taken_once(environment: ManagedEnvironment, metadata: Path) -> None:
    session = build_start(environment, metadata, port=8189, arguments=()).variables[SESSION_VARIABLE]
    assert not take_reboot_marker(metadata)
    Path(f"{session}.reboot").touch()
    assert take_reboot_marker(metadata)
    assert not take_reboot_marker(metadata)


@pytest.mark.parametrize(
    ("arguments", "port"),
    [
        ((), 8188),
        (("--port", "9000"), 9000),
        (("--port=9000", "--port", "9001"), 9001),
        (("--port",), 8188),
        (("--port=x",), 8188),
        (("--port=0", "--port=65536"), 8188),
        (("--port=65535",), 65535),
    ],
)
def test_last_valid_port_is_extracted(arguments: tuple[str, ...], port: int) -> None:
    assert extract_port(arguments, 8188) == port
