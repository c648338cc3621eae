"""What keeps a cycle from starting, decided from one reading of the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from comfywatchman.base.gpu.query import GpuDevice, GpuReading

GIB: Final = 1 << 30

SkipCode = Literal[
    "cycle-running",
    "going-to-sleep",
    "just-resumed",
    "no-gpu",
    "gpu-unknown",
    "vram-low",
    "gpu-busy",
]

TEMPORARY_SKIPS: Final[frozenset[str]] = frozenset({"going-to-sleep", "just-resumed"})
"""Reasons that end by themselves within minutes: the due cycle is tried again soon, not an interval later."""


@dataclass(frozen=True, slots=True)
class HostState:
    """One reading of the host.

    Attributes:
        gpus: What the GPUs said; None when nobody asked, because no gate wants to know (`GateSettings.asks_gpu`).
        seconds_since_resume: How long the machine has been awake after its last sleep; None when it is not known to
            have slept.
        going_to_sleep: Whether the machine is about to sleep; None when nobody can tell.
    """

    gpus: GpuReading | None
    seconds_since_resume: float | None = None
    going_to_sleep: bool | None = None


@dataclass(frozen=True, slots=True)
class GateSettings:
    """The `[schedule]` keys that the gates read; "gb" in a key's name means GiB (2**30 bytes).

    Attributes:
        min_vram_gb: Least free GPU memory for a cycle, in GiB; 0 turns the gate off.
        gpu_policy: Which GPUs the two memory gates ask: `any` passes when one of them passes, `all` when each does,
            `index` when GPU `gpu_index` does (with MIG: any of its instances).
        gpu_index: The GPU that `index` asks, as nvidia-smi counts.
        no_gpu: What to do on a machine without an NVIDIA GPU.
        unknown_gpu: What to do when the driver does not answer or does not say how much memory is free. `skip` by
            default: unknown is neither 0 GiB nor enough, and every skip is recorded and warned of.
        max_gpu_memory_used_percent: Share of a GPU's memory in use above which it counts as busy; 0 turns it off.
        resume_grace_seconds: How long the machine must have been awake after a sleep; 0 turns the gate off.
    """

    min_vram_gb: float = 6.0
    gpu_policy: Literal["any", "all", "index"] = "any"
    gpu_index: int = 0
    no_gpu: Literal["run", "skip"] = "run"
    unknown_gpu: Literal["run", "skip"] = "skip"
    max_gpu_memory_used_percent: float = 0.0
    resume_grace_seconds: float = 120.0

    @property
    def needs_gpu(self) -> bool:
        """Whether any gate needs a reading of the GPUs."""
        return self.min_vram_gb > 0 or self.max_gpu_memory_used_percent > 0 or self.no_gpu == "skip"


@dataclass(frozen=True, slots=True)
class SkipReason:
    """Why a cycle does not start.

    Attributes:
        code: Stable, for programs.
        message: One sentence for people, with the figures.
        details: The figures by name.
    """

    code: SkipCode
    message: str
    details: dict[str, float | int | str] = field(default_factory=dict)


def find_skip_reason(host: HostState, settings: GateSettings) -> SkipReason | None:
    """Name the first gate that keeps a cycle from starting, or None to let it run.

    Order: the machine sleeps or has just woken up, there is no GPU, the GPU does not answer, too little free memory,
    too much memory in use. With several GPUs the policy weighs them device by device: both memory gates must be
    passed by the same one. (`another_cycle` comes before all of them and is decided by the cycle's lock.)
    """
    return _check_sleep(host, settings) or _check_gpus(host.gpus, settings)


def build_lock_held_reason(message: str) -> SkipReason:
    """Return the reason for a cycle that finds the cycle lock held; the message names the holder."""
    return SkipReason("cycle-running", message)


def _check_sleep(host: HostState, settings: GateSettings) -> SkipReason | None:
    if host.going_to_sleep:
        return SkipReason("going-to-sleep", "The machine is about to sleep.")
    awake, grace = host.seconds_since_resume, settings.resume_grace_seconds
    if awake is None or awake >= grace:
        return None
    return SkipReason(
        "just-resumed",
        f"The machine woke up {awake:.0f} seconds ago; a cycle waits until it has been awake for {grace:g} seconds.",
        {"awake_seconds": round(awake, 1), "resume_grace_seconds": grace},
    )


def _check_gpus(gpus: GpuReading | None, settings: GateSettings) -> SkipReason | None:
    if gpus is None or not settings.needs_gpu:
        return None
    if gpus.status == "none":
        return _check_no_gpu(gpus.reason or "There is no NVIDIA GPU.", settings)
    if gpus.status == "unknown":
        return _apply_unknown_policy(SkipReason("gpu-unknown", gpus.reason or "The GPU did not answer."), settings)
    asked = _select_gpus(gpus.devices, settings)
    if not asked:
        return _apply_unknown_policy(SkipReason("gpu-unknown", f"There is no GPU {settings.gpu_index}."), settings)
    return _apply_gpu_policy([_check_device(device, settings) for device in asked], settings)


def _select_gpus(devices: tuple[GpuDevice, ...], settings: GateSettings) -> tuple[GpuDevice, ...]:
    if settings.gpu_policy != "index":
        return devices
    return tuple(device for device in devices if device.index == settings.gpu_index)


def _check_no_gpu(message: str, settings: GateSettings) -> SkipReason | None:
    advice = 'Set [schedule] no_gpu = "run" to have cycles without one.'
    return SkipReason("no-gpu", f"{message} {advice}") if settings.no_gpu == "skip" else None


def _apply_unknown_policy(reason: SkipReason | None, settings: GateSettings) -> SkipReason | None:
    return reason if settings.unknown_gpu == "skip" else None


def _apply_gpu_policy(objections: list[SkipReason | None], settings: GateSettings) -> SkipReason | None:
    """Choose the objection that counts; an unknown device decides only where no known one settles it."""
    known = [reason for reason in objections if reason is not None and reason.code != "gpu-unknown"]
    unknown = next((reason for reason in objections if reason is not None and reason.code == "gpu-unknown"), None)
    if settings.gpu_policy == "all":
        return known[0] if known else _apply_unknown_policy(unknown, settings)
    if None in objections:
        return None
    return _apply_unknown_policy(unknown, settings) if unknown else max(known, key=_free_gb)


def _free_gb(reason: SkipReason) -> float:
    """Rank objections of several GPUs, so that the one with the most free memory is the one that is named."""
    return float(reason.details["free_gb"])


def _check_device(device: GpuDevice, settings: GateSettings) -> SkipReason | None:
    """Return what speaks against one device; both memory gates must be passed by the same one."""
    if device.memory_free_bytes is None:
        why = f": {device.problem}" if device.problem else ""
        return SkipReason("gpu-unknown", f"{_format_device(device)} does not say how much memory is free{why}.")
    free_gb = device.memory_free_bytes / GIB
    figures: dict[str, float | int | str] = {"gpu": device.index, "free_gb": round(free_gb, 2)}
    if free_gb < settings.min_vram_gb:
        return SkipReason(
            "vram-low",
            f"{_format_device(device)} has {free_gb:.2f} GiB of free memory; a cycle needs "
            f"{settings.min_vram_gb:g} GiB.",
            {**figures, "min_vram_gb": settings.min_vram_gb},
        )
    most, used = settings.max_gpu_memory_used_percent, _used_percent(device)
    if most > 0 and used > most:
        return SkipReason(
            "gpu-busy",
            f"{_format_device(device)} has {used:.1f} % of its memory in use; a cycle starts at {most:g} % or less.",
            {**figures, "used_percent": round(used, 1), "max_gpu_memory_used_percent": most},
        )
    return None


def _used_percent(device: GpuDevice) -> float:
    return 100.0 * (device.memory_used_bytes or 0) / (device.memory_total_bytes or 1)


def _format_device(device: GpuDevice) -> str:
    name = f" ({device.name})" if device.name else ""
    return f"GPU {device.index}{name}{' MIG instance' if device.mig else ''}"
