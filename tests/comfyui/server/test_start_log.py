from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.start_log import parse_failure_reasons, parse_import_times, read_last_start

START = """\
[START] something
Import times for custom nodes:
   0.0 seconds: /opt/ComfyUI/custom_nodes/websocket_image_save.py
   0.1 seconds (IMPORT FAILED): /opt/ComfyUI/custom_nodes/Broken Pack
   1.2 seconds (PRESTARTUP FAILED): /opt/ComfyUI/custom_nodes/early

Starting server
   0.3 seconds: not a pack any more /custom_nodes/later
"""


def write_log(path: Path, text: str, *, seconds: float = 1000.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (seconds, seconds))
    return path


def test_last_start_lists_failed_and_imported_packs(tmp_path: Path) -> None:
    path = write_log(tmp_path / "user/comfyui.log", START)
    start = read_last_start(tmp_path)
    assert start is not None
    assert (start.path, start.logged_ns) == (path, 1000 * 10**9)
    assert start.failed == {"Broken Pack", "early"}
    assert start.imported == {"websocket_image_save"}


def test_last_start_of_a_log_counts(tmp_path: Path) -> None:
    write_log(tmp_path / "comfyui.log", START + START.replace("(IMPORT FAILED)", "").replace("(PRESTARTUP FAILED)", ""))
    start = read_last_start(tmp_path)
    assert start is not None
    assert start.failed == frozenset()


def test_newest_log_counts(tmp_path: Path) -> None:
    write_log(tmp_path / "user/comfyui.log", START, seconds=1000)
    newer = write_log(tmp_path / "user/comfyui_8188.log", START.replace("early", "late"), seconds=2000)
    start = read_last_start(tmp_path)
    assert start is not None
    assert start.path == newer
    assert "late" in start.failed


def test_colours_and_windows_paths_are_read(tmp_path: Path) -> None:
    line = "\x1b[32m[INFO]\x1b[0m   0.1 seconds (IMPORT FAILED): C:\\ComfyUI\\custom_nodes\\pack\n"
    write_log(tmp_path / "comfyui.log", f"Import times for custom nodes:\n{line}")
    start = read_last_start(tmp_path)
    assert start is not None
    assert start.failed == {"pack"}


@pytest.mark.parametrize(
    "text", ["", "Starting server\n", "Import times for custom nodes:\n\nnothing\n", "\x00\xff" * 50]
)
def test_log_without_import_times_is_not_a_start(tmp_path: Path, text: str) -> None:
    write_log(tmp_path / "comfyui.log", text)
    assert read_last_start(tmp_path) is None


def test_missing_log_gives_none(tmp_path: Path) -> None:
    assert read_last_start(tmp_path) is None


def test_fifo_in_place_of_the_log_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "comfyui.log")
    assert read_last_start(tmp_path) is None


REASONS = """\
Failed to execute startup-script: /c/custom_nodes/early/prestartup_script.py / no such thing

Prestartup times for custom nodes:
   0.0 seconds: /c/custom_nodes/fine
   0.0 seconds (PRESTARTUP FAILED): /c/custom_nodes/early

Traceback (most recent call last):
  File "/c/nodes.py", line 2150, in load_custom_node
\x1b[31mModuleNotFoundError: No module named 'tiny_ml'\x1b[0m

Cannot import /c/custom_nodes/broken module for custom nodes: No module named 'tiny_ml'
Skip /c/custom_nodes/empty module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).
Error while calling comfy_entrypoint in /c/custom_nodes/third: not today

Import times for custom nodes:
   0.0 seconds: /c/custom_nodes/fine
   0.0 seconds: /c/custom_nodes/early
   0.0 seconds (IMPORT FAILED): /c/custom_nodes/empty
   0.0 seconds (IMPORT FAILED): /c/custom_nodes/third
   0.0 seconds (IMPORT FAILED): /c/custom_nodes/broken
   0.0 seconds (IMPORT FAILED): /c/custom_nodes/silent

"""


def test_pack_with_a_failed_prestartup_script_is_imported() -> None:
    told = parse_import_times(REASONS)
    assert told is not None
    assert told.failed == {"empty", "third", "broken", "silent"}
    assert told.imported == {"fine", "early"}
    assert told.failed_prestartup == {"early"}


def test_each_failure_has_its_reason() -> None:
    assert parse_failure_reasons(REASONS, ["early", "empty", "third", "broken", "silent"]) == {
        "early": "no such thing",
        "empty": "the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).",
        "third": "not today",
        "broken": "ModuleNotFoundError: No module named 'tiny_ml'",
        "silent": "",
    }


def test_text_without_import_times_gives_none() -> None:
    assert parse_import_times("Starting server\n") is None


def test_prestartup_failure_of_an_earlier_start_is_ignored() -> None:
    told = parse_import_times(REASONS + "Import times for custom nodes:\n   0.0 seconds: /c/custom_nodes/early\n")
    assert told == (frozenset(), frozenset({"early"}), frozenset())
