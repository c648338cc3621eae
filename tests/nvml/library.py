"""Build a libnvidia-ml.so.1 whose answers a test writes into a text file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("libnvidia_ml.c")
NAME = "libnvidia-ml.so.1"


def build_nvml(folder: Path) -> Path:
    """Compile the library into a folder and return its path; skip the test where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the stand-in for NVML")
    library = folder / NAME
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{NAME}", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    return library


def write_nvml_state(library: Path, *lines: str) -> None:
    """Say what the library answers from now on; the lines are explained in its source."""
    library.with_name("nvml-state.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
