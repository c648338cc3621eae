from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from comfywatchman.base.gpu.query import LIBRARIES, GpuReading, read_gpus, read_system_memory
from tests.nvml.library import write_nvml_state

pytestmark = pytest.mark.slow

MIB = 1 << 20
ASK = "from comfywatchman.base.gpu.query import read_gpus; r = read_gpus(); print(r.status, len(r.devices))"

Ask = Callable[..., GpuReading]


def hide_memory() -> tuple[int, int]:
    raise OSError


@pytest.fixture
def ask(library: Path, tmp_path: Path) -> Ask:
    def read(
        *lines: str,
        timeout_seconds: float = 60.0,
        system_memory: Callable[[], tuple[int, int]] = hide_memory,
    ) -> GpuReading:
        write_nvml_state(library, *lines)
        return read_gpus(
            libraries=(str(library),),
            system=tmp_path,
            timeout_seconds=timeout_seconds,
            system_memory=system_memory,
        )

    return read


@pytest.mark.slow
def test_all_gpus_are_read_with_their_memory(ask: Ask) -> None:
    reading = ask(
        "init 0",
        "driver 580.95.05",
        "cuda 13000",
        "utilisation 37",
        "gpu GPU-a 0 0 24576 20000 400 -1 NVIDIA RTX 4090",
        "gpu GPU-b 0 0 8192 1 9 0 Old",
    )
    assert (reading.status, reading.reason, reading.driver_version) == ("ok", None, "580.95.05")
    assert reading.cuda_version == (13, 0)
    first, second = reading.devices
    assert (first.index, first.uuid, first.name, first.mig) == (0, "GPU-a", "NVIDIA RTX 4090", False)
    assert (first.memory_total_bytes, first.memory_free_bytes) == (24576 * MIB, 20000 * MIB)
    assert first.memory_used_bytes == 4576 * MIB, "the driver's reserve counts as used"
    assert (second.index, second.memory_free_bytes) == (1, 1 * MIB)
    assert first.utilisation_percent == 37


@pytest.mark.slow
def test_version_1_of_the_memory_call_is_the_fallback(ask: Ask) -> None:
    reading = ask("init 0", "memory_v2 13", "gpu GPU-a 0 0 100 60 5 -1 Card")
    assert reading.devices[0].memory_free_bytes == 60 * MIB
    assert reading.devices[0].utilisation_percent is None


@pytest.mark.slow
def test_mig_instances_replace_their_gpu(ask: Ask) -> None:
    reading = ask("init 0", "gpu GPU-a 0 0 81920 80000 0 1 H100", "mig MIG-1 0 10000 9000", "mig MIG-2 0 20000 500")
    assert [(d.index, d.uuid, d.mig) for d in reading.devices] == [(0, "MIG-1", True), (0, "MIG-2", True)]
    assert [d.memory_free_bytes for d in reading.devices] == [9000 * MIB, 500 * MIB]


def test_mig_gpu_without_instances_gives_none(ask: Ask) -> None:
    reading = ask("init 0", "gpu GPU-a 0 0 81920 80000 0 1 H100")
    assert (reading.status, reading.reason) == ("none", "The GPU is in MIG mode without an instance.")


def test_mig_instance_never_gets_the_memory_of_the_machine(ask: Ask) -> None:
    lines = ("init 0", "gpu GPU-a 0 0 81920 80000 0 1 H100", "mig MIG-1 3 10000 9000")
    reading = ask(*lines, system_memory=lambda: (1000, 500))
    assert reading.status == "unknown"
    assert reading.devices[0].memory_free_bytes is None


def test_driver_without_gpu_gives_none(ask: Ask) -> None:
    assert ask("init 0").status == "none"


@pytest.mark.slow
def test_lost_gpu_does_not_affect_the_others(ask: Ask) -> None:
    reading = ask("init 0", "gpu GPU-a 15 0 100 60 5 -1 Lost", "gpu GPU-b 0 0 100 60 5 -1 Sound")
    assert reading.status == "ok"
    assert (reading.devices[0].memory_free_bytes, reading.devices[0].problem) == (None, "GPU is lost")
    assert reading.devices[1].memory_free_bytes == 60 * MIB


def test_gpu_lost_while_being_read_is_unknown(ask: Ask) -> None:
    reading = ask("init 0", "gpu GPU-a 0 15 100 60 5 -1 Lost")
    assert (reading.status, reading.devices[0].memory_free_bytes) == ("unknown", None)
    assert "GPU is lost" in (reading.reason or "")


def test_gpu_with_unified_memory_has_the_available_memory_of_the_machine(ask: Ask) -> None:
    reading = ask("init 0", "gpu GPU-a 0 3 0 0 0 -1 GB10", system_memory=lambda: (128 << 30, 100 << 30))
    device = reading.devices[0]
    assert (reading.status, device.shares_system_memory) == ("ok", True)
    assert (device.memory_total_bytes, device.memory_free_bytes) == (128 << 30, 100 << 30)
    assert device.memory_used_bytes == 28 << 30


def test_memory_of_the_machine_is_read() -> None:
    total, available = read_system_memory()
    assert 0 < available < total


@pytest.mark.slow
def test_unified_memory_is_unknown_without_system_memory(ask: Ask) -> None:
    assert ask("init 0", "gpu GPU-a 0 3 0 0 0 -1 GB10").status == "unknown"


def test_unloaded_driver_without_card_gives_none(ask: Ask) -> None:
    reading = ask("init 9")
    assert (reading.status, reading.reason) == ("none", "The NVIDIA library is installed, but there is no NVIDIA GPU.")


def write_pci_device(system: Path, *, vendor: str, kind: str) -> None:
    device = system / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")


@pytest.mark.parametrize(
    ("vendor", "kind", "status"),
    [
        ("0x10de", "0x030000", "unknown"),
        ("0x10de", "0x030200", "unknown"),
        ("0x10de", "0x040300", "none"),
        ("0x8086", "0x030000", "none"),
    ],
)
def test_unloaded_driver_is_unknown_only_with_an_nvidia_card(
    ask: Ask, tmp_path: Path, vendor: str, kind: str, status: str
) -> None:
    write_pci_device(tmp_path, vendor=vendor, kind=kind)
    assert ask("init 9").status == status


def test_unreadable_pci_device_is_not_a_card(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "sys/bus/pci/devices/0000:00:00.0").mkdir(parents=True)
    assert ask("init 9").status == "none"


def test_version_mismatch_of_driver_and_library_is_unknown(ask: Ask) -> None:
    reading = ask("init 18")
    assert (reading.status, reading.devices) == ("unknown", ())
    assert "version mismatch" in (reading.reason or "")


@pytest.mark.slow
def test_hanging_driver_is_unknown_after_the_time_limit(ask: Ask) -> None:
    began = time.monotonic()
    reading = ask("init hang", timeout_seconds=0.5)
    assert reading.status == "unknown"
    assert "within 0.5 seconds" in (reading.reason or "")
    assert time.monotonic() - began < 60


def test_crashing_driver_is_unknown(ask: Ask) -> None:
    reading = ask("init crash")
    assert (reading.status, "signal 11" in (reading.reason or "")) == ("unknown", True)


def test_output_of_the_driver_is_ignored(ask: Ask) -> None:
    assert ask("init chatter", "gpu GPU-a 0 0 100 60 5 -1 Card").status == "ok"


def test_invalid_library_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"<html>")
    reading = read_gpus(libraries=(str(tmp_path / "libnvidia-ml.so.1"),), timeout_seconds=60)
    assert (reading.status, "status 1" in (reading.reason or "")) == ("unknown", True)


def test_library_that_exits_is_unknown(tmp_path: Path) -> None:
    silent = tmp_path / "silent.c"
    silent.write_text("#include <unistd.h>\n__attribute__((constructor)) void f(void){ _exit(0); }\n")
    made = tmp_path / "libsilent.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, silent], check=True)
    reading = read_gpus(libraries=(str(made),), timeout_seconds=60)
    assert (reading.status, reading.reason) == ("unknown", "The NVIDIA driver's answer could not be understood.")


def test_missing_library_starts_no_child(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    reading = read_gpus(libraries=("libno-such-driver.so.1", "/no/such/libnvidia-ml.so.1"), system=tmp_path)
    assert (reading.status, reading.reason) == ("none", "No NVIDIA driver library was found.")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt == before


def test_device_without_library_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    reading = read_gpus(libraries=("libno-such-driver.so.1",), system=tmp_path)
    assert (reading.status, "was not found" in (reading.reason or "")) == ("unknown", True)


@pytest.mark.slow
def test_library_is_found_on_the_loader_path(library: Path) -> None:
    write_nvml_state(library, "init 0", "gpu GPU-a 0 0 100 60 5 -1 Card")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    ended = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == "ok 1\n"
    assert LIBRARIES[0] == library.name


@pytest.mark.slow
def test_more_free_memory_than_there_is_is_refused(ask: Ask) -> None:
    reading = ask("init 0", "gpu GPU-a 0 0 8192 24576 0 -1 Card")
    assert reading.status == "unknown"
    assert reading.devices[0].memory_free_bytes is None
    assert reading.devices[0].problem == "the driver reports 24.00 GiB free of 8.00 GiB"
