"""AMD GPUs and their memory, from the files of the amdgpu driver in sysfs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_AMD_VENDOR: Final = "0x1002"
_MAX_DIGITS: Final = 20
_MAX_INTEGRATED_BYTES: Final = 2 << 30
"""A GPU with less memory of its own is part of a processor and computes in the memory of the machine (GTT)."""


@dataclass(frozen=True, slots=True)
class AmdGpu:
    """One AMD GPU.

    Attributes:
        name: The product's name; `AMD GPU` where the driver does not state it.
        uuid: Its place on the PCI bus.
        total_bytes: All memory that it can use; None when the driver reports nonsense.
        used_bytes: Memory in use.
        shares_system_memory: Whether that includes memory of the machine.
    """

    name: str
    uuid: str
    total_bytes: int | None
    used_bytes: int | None
    shares_system_memory: bool


def list_amd_gpus(system: Path) -> Iterator[AmdGpu]:
    """Yield the AMD GPUs in the order of their cards.

    The files are documented in https://docs.kernel.org/gpu/amdgpu/driver-misc.html.

    Args:
        system: The folder that holds `sys`.
    """
    cards = (system / "sys/class/drm").glob("card[0-9]*")
    # `card0-HDMI-A-1` is a connector of card 0.
    for card in sorted((card for card in cards if card.name[4:].isdigit()), key=lambda card: int(card.name[4:])):
        device = card / "device"
        if _read_line(device / "vendor") != _AMD_VENDOR:
            continue
        total, used = _read_memory(device, "vram")
        if total is None:
            # A display controller without memory, or a driver without these files.
            continue
        is_integrated = total < _MAX_INTEGRATED_BYTES
        if is_integrated:
            shared_total, shared_used = _read_memory(device, "gtt")
            total, used = total + (shared_total or 0), (used or 0) + (shared_used or 0)
        name = _read_line(device / "product_name") or "AMD GPU"
        if used is None or used > total:
            total = used = None
        yield AmdGpu(name, device.resolve().name, total, used, is_integrated)


def _read_memory(device: Path, kind: str) -> tuple[int | None, int | None]:
    return _read_bytes(device / f"mem_info_{kind}_total"), _read_bytes(device / f"mem_info_{kind}_used")


def _read_bytes(path: Path) -> int | None:
    text = _read_line(path)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


def _read_line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
