"""The gates: may a cycle start, by GPU memory, sleep, ComfyUI's state and other cycles? Pure decisions on a reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from comfywatchman.base.gpu.query import GpuDevice, GpuReading
from comfywatchman.base.text import format_beside
from comfywatchman.readiness.host_summary import SupervisorSummary

GIB: Final = 1 << 30

SkipCode = Literal[
    "cycle-running",
    "going-to-sleep",
    "just-resumed",
    "comfyui-changing",
    "no-gpu",
    "gpu-unknown",
    "vram-low",
    "gpu-busy",
]

_REACHABLE_SHARE: Final = 0.9
"""Share of a card's memory that can be free while it is idle."""
_SMALL_CARD_SHARE: Final = 0.75
"""Share that must be free on a card that cannot have the configured limit free."""

TEMPORARY_SKIPS: Final[frozenset[str]] = frozenset({"going-to-sleep", "just-resumed", "comfyui-changing"})
"""Reasons that pass within minutes: the skipped cycle is retried soon, not an interval later."""


@dataclass(frozen=True, slots=True)
class HostState:
    """One reading of the host.

    Attributes:
        gpus: The GPU reading; None when no gate needs one (`GateSettings.needs_gpu`).
        seconds_since_resume: How long the machine has been awake after its last sleep; None when no sleep is known.
        going_to_sleep: Whether the machine is about to sleep; None when that is unknown.
        supervisor: What the supervisor of ComfyUI reports; None without one.
    """

    gpus: GpuReading | None
    seconds_since_resume: float | None = None
    going_to_sleep: bool | None = None
    supervisor: SupervisorSummary | None = None


@dataclass(frozen=True, slots=True)
class GateSettings:
    """The `[schedule]` keys that the gates read; "gb" in a key's name means GiB (2**30 bytes).

    Attributes:
        min_vram_gb: Minimum free GPU memory for a cycle, in GiB; 0 disables the gate.
        gpu_policy: Which GPUs the two memory gates check: `any` passes when one GPU passes, `all` when every GPU
            passes, `index` when GPU `gpu_index` passes (with MIG: any of its instances).
        gpu_index: The GPU that `index` checks, numbered as in nvidia-smi.
        no_gpu: What to do on a machine without an NVIDIA or AMD GPU.
        unknown_gpu: What to do when the driver does not respond or does not report free memory. The default is
            `skip`: unknown is neither 0 GiB nor enough, and every skip is recorded with a warning.
        max_gpu_memory_used_percent: Share of a GPU's memory in use above which it counts as busy; 0 disables the gate.
        resume_grace_seconds: How long the machine must have been awake after a sleep; 0 disables the gate.
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
        code: Stable code for programs.
        message: One sentence for people, with the measured values.
        details: The measured values by name.
    """

    code: SkipCode
    message: str
    details: dict[str, float | int | str] = field(default_factory=dict)


def find_skip_reason(host: HostState, settings: GateSettings) -> SkipReason | None:
    """Return why a cycle must not start now, by the first gate that fails; None when it may run.

    Order: the machine is about to sleep or has just woken up, ComfyUI is starting or stopping, there is no GPU, the GPU
    does not respond, too little memory is free, too much is in use. With several GPUs the policy is applied per device:
    the same GPU must pass both memory gates. A running cycle comes before all gates: its lock shows it, as in
    `build_lock_held_reason`.
    """
    return _check_sleep(host, settings) or _check_supervisor(host.supervisor) or _check_gpus(host.gpus, settings)


def build_lock_held_reason(message: str) -> SkipReason:
    """Return the skip reason for a cycle lock held by another process; the message names the holder."""
    return SkipReason("cycle-running", message)


def _check_sleep(host: HostState, settings: GateSettings) -> SkipReason | None:
    if host.going_to_sleep:
        return SkipReason("going-to-sleep", "The machine is about to sleep.")
    awake = host.seconds_since_resume
    grace = settings.resume_grace_seconds
    if awake is None or awake >= grace:
        return None
    awake_text = format_beside(awake, grace, digits=0)
    return SkipReason(
        "just-resumed",
        f"The machine woke up {awake_text} seconds ago; a cycle waits until it has been awake for {grace:g} seconds.",
        {"awake_seconds": round(awake, 1), "resume_grace_seconds": grace},
    )


def _check_supervisor(supervisor: SupervisorSummary | None) -> SkipReason | None:
    # A start needs the GPU and the CPU for itself, and a server that has only partly started gives no verdicts.
    if supervisor is None or not supervisor.is_changing:
        return None
    return SkipReason(
        "comfyui-changing",
        f"{supervisor.sentence} A cycle waits until that has ended.",
        {"state": supervisor.state},
    )


def _check_gpus(gpus: GpuReading | None, settings: GateSettings) -> SkipReason | None:
    # A driver that does not respond must not skip cycles when no gate uses its answer.
    if gpus is None or not settings.needs_gpu:
        return None
    if gpus.status == "none":
        return _check_no_gpu(gpus.reason or "There is no GPU.", settings)
    if gpus.status == "unknown":
        return _apply_unknown_policy(SkipReason("gpu-unknown", gpus.reason or "The GPU did not answer."), settings)
    devices = _select_gpus(gpus.devices, settings)
    if not devices:
        return _apply_unknown_policy(SkipReason("gpu-unknown", f"There is no GPU {settings.gpu_index}."), settings)
    return _apply_gpu_policy([_check_device(device, settings) for device in devices], settings)


def _select_gpus(devices: tuple[GpuDevice, ...], settings: GateSettings) -> tuple[GpuDevice, ...]:
    if settings.gpu_policy != "index":
        return devices
    # The MIG instances of a GPU have its index, so there may be several.
    return tuple(device for device in devices if device.index == settings.gpu_index)


def _check_no_gpu(message: str, settings: GateSettings) -> SkipReason | None:
    if settings.no_gpu == "run":
        return None
    return SkipReason("no-gpu", f'{message} Set [schedule] no_gpu = "run" to run cycles without a GPU.')


def _apply_unknown_policy(reason: SkipReason, settings: GateSettings) -> SkipReason | None:
    if settings.unknown_gpu == "run":
        return None
    return reason


def _apply_gpu_policy(results: list[SkipReason | None], settings: GateSettings) -> SkipReason | None:
    """Combine the results of the devices (None: passed); an unknown device counts only when no known one decides."""
    failed: list[SkipReason] = []
    unknown: list[SkipReason] = []
    for reason in results:
        if reason is None:
            continue
        if reason.code == "gpu-unknown":
            unknown.append(reason)
        else:
            failed.append(reason)
    if settings.gpu_policy == "all":
        if failed:
            return failed[0]
        if not unknown:
            return None
    elif None in results:
        return None
    # For `any`, an unknown GPU might be the one that passes; for `all`, every known one passed.
    if unknown:
        return _apply_unknown_policy(unknown[0], settings)
    return max(failed, key=_free_gb)


def _free_gb(reason: SkipReason) -> float:
    """Sort key by which the message names the GPU with the most free memory."""
    return float(reason.details["free_gb"])


def _check_device(device: GpuDevice, settings: GateSettings) -> SkipReason | None:
    """Return why one device fails the memory gates; None when it passes both."""
    if device.memory_free_bytes is None:
        why = f": {device.problem}" if device.problem else ""
        return SkipReason("gpu-unknown", f"{_format_device(device)} does not report its free memory{why}.")
    free_gb = device.memory_free_bytes / GIB
    figures: dict[str, float | int | str] = {"gpu": device.index, "free_gb": round(free_gb, 2)}
    needed_gb = find_needed_gb(device, settings.min_vram_gb)
    if free_gb < needed_gb:
        free_text = format_beside(free_gb, needed_gb, digits=2)
        return SkipReason(
            "vram-low",
            f"{_format_device(device)} has {free_text} GiB of free memory; a cycle needs "
            f"{_describe_limit(needed_gb, settings.min_vram_gb)}.",
            {**figures, "min_vram_gb": settings.min_vram_gb},
        )
    limit = settings.max_gpu_memory_used_percent
    used = _used_percent(device)
    if limit > 0 and used > limit:
        used_text = format_beside(used, limit, digits=1)
        return SkipReason(
            "gpu-busy",
            f"{_format_device(device)} has {used_text} % of its memory in use; a cycle starts at {limit:g} % or less.",
            {**figures, "used_percent": round(used, 1), "max_gpu_memory_used_percent": limit},
        )
    return None


def find_needed_gb(device: GpuDevice, min_vram_gb: float) -> float:
    """Return how much memory must be free on a device: the configured limit, or less where a card can never have that.

    The driver and the desktop keep some memory, so an idle card of 6 GiB never has 6 GiB free.
    """
    total_gb = (device.memory_total_bytes or 0) / GIB
    if total_gb and min_vram_gb > _REACHABLE_SHARE * total_gb:
        return _SMALL_CARD_SHARE * total_gb
    return min_vram_gb


def _describe_limit(needed_gb: float, min_vram_gb: float) -> str:
    if needed_gb == min_vram_gb:
        return f"{min_vram_gb:g} GiB ([schedule] min_vram_gb)"
    return f"{needed_gb:.3g} GiB, because it can never have the {min_vram_gb:g} GiB of [schedule] min_vram_gb"


def _used_percent(device: GpuDevice) -> float:
    # Without a total there is no share; the other gate still checks the free memory.
    return 100.0 * (device.memory_used_bytes or 0) / (device.memory_total_bytes or 1)


def _format_device(device: GpuDevice) -> str:
    text = f"GPU {device.index}"
    if device.name:
        text += f" ({device.name})"
    if device.mig:
        text += " MIG instance"
    return text
