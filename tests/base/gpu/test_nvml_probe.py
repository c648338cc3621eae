from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.gpu import nvml_probe
from tests.nvml.library import write_nvml_state


def probe_under_coverage(library: Path, *lines: str) -> dict[str, Any]:
    write_nvml_state(library, *lines)
    command = [sys.executable, nvml_probe.__file__, "", str(library)]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer


@pytest.mark.slow
def test_probe_prints_json(library: Path) -> None:
    sound = "gpu GPU-b 0 0 100 60 5 0 Sound"
    partitioned = ("gpu GPU-c 0 0 100 60 5 1 Big", "mig MIG-1 0 10 9")
    answer = probe_under_coverage(library, "init 0", "gpu GPU-a 15 0 1 1 1 -1 Lost", sound, *partitioned)
    assert (answer["driver"], answer["cuda"], answer["count"]) == (None, None, 3)
    assert [device.get("uuid") for device in answer["devices"]] == [None, "GPU-b", "MIG-1"]
    assert answer["devices"][0]["code"] == 15


@pytest.mark.slow
def test_probe_reports_a_failed_initialisation(library: Path) -> None:
    assert probe_under_coverage(library, "init 18") == {
        "code": 18,
        "problem": "RM has detected an NVML/RM version mismatch.",
    }


@pytest.mark.slow
def test_probe_reports_a_device_without_memory(library: Path) -> None:
    answer = probe_under_coverage(
        library, "init 0", "driver 1", "cuda 12080", "memory_v2 3", "gpu GPU-a 0 4 1 1 1 -1 Shy"
    )
    assert (answer["driver"], answer["cuda"]) == ("1", 12080)
    assert answer["devices"][0]["problem"] == "Insufficient Permissions"
