from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.gpu.amd import list_amd_gpus
from comfywatchman.base.gpu.query import read_gpus
from tests.model_files import put

GIB = 1 << 30


def add_card(system: Path, number: int, **files: object) -> None:
    """Write the files of a card as the amdgpu driver shows them."""
    device = system / "sys/class/drm" / f"card{number}" / "device"
    for name, value in {"vendor": "0x1002", **files}.items():
        put(device / name, f"{value}\n".encode())


def test_memory_of_each_card_is_read(tmp_path: Path) -> None:
    add_card(tmp_path, 10, mem_info_vram_total=16 * GIB, mem_info_vram_used=GIB)
    add_card(tmp_path, 2, mem_info_vram_total=24 * GIB, mem_info_vram_used=4 * GIB, product_name="Radeon RX 7900 XTX")
    add_card(tmp_path, 0, vendor="0x8086")
    (tmp_path / "sys/class/drm/card2-HDMI-A-1").mkdir()
    reading = read_gpus(libraries=(), system=tmp_path)
    assert (reading.status, reading.reason) == ("ok", None)
    assert [(gpu.index, gpu.name, gpu.memory_free_bytes, gpu.memory_total_bytes) for gpu in reading.devices] == [
        (0, "Radeon RX 7900 XTX", 20 * GIB, 24 * GIB),
        (1, "AMD GPU", 15 * GIB, 16 * GIB),
    ]


def test_gpu_of_a_processor_computes_in_the_memory_of_the_machine(tmp_path: Path) -> None:
    add_card(
        tmp_path,
        0,
        mem_info_vram_total=GIB // 2,
        mem_info_vram_used=GIB // 4,
        mem_info_gtt_total=16 * GIB,
        mem_info_gtt_used=GIB,
    )
    (gpu,) = list_amd_gpus(tmp_path)
    assert (gpu.total_bytes, gpu.used_bytes, gpu.shares_system_memory) == (16 * GIB + GIB // 2, GIB + GIB // 4, True)


@pytest.mark.parametrize("used", [25 * GIB, "", "-5", "x", "9" * 30])
def test_figures_without_sense_are_unknown(tmp_path: Path, used: object) -> None:
    add_card(tmp_path, 0, mem_info_vram_total=24 * GIB, mem_info_vram_used=used)
    reading = read_gpus(libraries=(), system=tmp_path)
    assert reading.status == "unknown"
    assert "amdgpu" in (reading.reason or "")


def test_display_controller_without_memory_is_no_gpu(tmp_path: Path) -> None:
    add_card(tmp_path, 0)
    assert read_gpus(libraries=(), system=tmp_path).status == "none"
