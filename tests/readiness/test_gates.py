from __future__ import annotations

from itertools import product
from typing import Any, Literal

import pytest

from comfywatchman.base.gpu.query import GpuDevice, GpuReading
from comfywatchman.readiness.gates import (
    GIB,
    TEMPORARY_SKIPS,
    GateSettings,
    HostState,
    build_lock_held_reason,
    find_needed_gb,
    find_skip_reason,
)
from comfywatchman.readiness.host_summary import SupervisorSummary

Policy = Literal["any", "all", "index"]
Choice = Literal["run", "skip"]

# Each device is judged against at least 6 GiB free and at most 50 % in use.
GOOD, LOW, BUSY, UNKNOWN = "good", "vram-low", "gpu-busy", "gpu-unknown"
MEMORY = {GOOD: (24, 20), LOW: (10, 5), BUSY: (80, 7), UNKNOWN: (None, None)}


def device(kind: str = GOOD, *, index: int = 0, **other: Any) -> GpuDevice:
    total, free = MEMORY[kind]
    if total is None or free is None:
        return GpuDevice(index, "GPU-x", "", None, None, None, **other)
    return GpuDevice(index, "GPU-x", "", total * GIB, free * GIB, (total - free) * GIB, **other)


def host(*kinds: str) -> HostState:
    devices = tuple(device(kind, index=index) for index, kind in enumerate(kinds))
    return HostState(gpus=GpuReading(status="ok", devices=devices))


def settings(**keys: Any) -> GateSettings:
    return GateSettings(**{"min_vram_gb": 6.0, "max_gpu_memory_used_percent": 50.0, **keys})


def code(state: HostState, chosen: GateSettings) -> str | None:
    reason = find_skip_reason(state, chosen)
    return reason.code if reason else None


def expected_codes(kinds: tuple[str, ...], policy: Policy, index: int, unknown: Choice) -> set[str | None]:
    """Return the allowed skip codes, found by counting."""
    checked = (kinds[index],) if policy == "index" else kinds
    bad = {kind for kind in checked if kind in {LOW, BUSY}}
    has_unknown = UNKNOWN in checked
    verdict_on_doubt: set[str | None] = {UNKNOWN} if unknown == "skip" else {None}
    if policy == "all":
        if bad:
            return set(bad)
        return verdict_on_doubt if has_unknown else {None}
    if GOOD in checked:
        return {None}
    return verdict_on_doubt if has_unknown else set(bad)


def test_gpu_policies_match_a_brute_force_count() -> None:
    kinds = (GOOD, LOW, BUSY, UNKNOWN)
    policies: tuple[Policy, ...] = ("any", "all", "index")
    choices: tuple[Choice, ...] = ("run", "skip")
    cases = 0
    for count in (1, 2, 3):
        for devices, policy, unknown in product(product(kinds, repeat=count), policies, choices):
            for index in range(count):
                chosen = settings(gpu_policy=policy, gpu_index=index, unknown_gpu=unknown)
                right = expected_codes(devices, policy, index, unknown)
                assert code(host(*devices), chosen) in right, (devices, policy, index, unknown)
                cases += 1
    assert cases == (4 + 32 + 192) * 6


@pytest.mark.parametrize(
    ("status", "no_gpu", "unknown", "expected"),
    [
        ("none", "run", "skip", None),
        ("none", "run", "run", None),
        ("none", "skip", "skip", "no-gpu"),
        ("none", "skip", "run", "no-gpu"),
        ("unknown", "run", "skip", "gpu-unknown"),
        ("unknown", "skip", "skip", "gpu-unknown"),
        ("unknown", "run", "run", None),
        ("unknown", "skip", "run", None),
    ],
)
def test_no_gpu_and_unknown_gpu_differ(
    status: Literal["none", "unknown"], no_gpu: Choice, unknown: Choice, expected: str | None
) -> None:
    state = HostState(gpus=GpuReading(status=status))
    assert code(state, settings(no_gpu=no_gpu, unknown_gpu=unknown)) == expected


def test_skip_message_contains_the_reason_of_the_reading() -> None:
    state = HostState(gpus=GpuReading(status="unknown", reason="The driver is asleep."))
    reason = find_skip_reason(state, settings())
    assert reason is not None
    assert reason.message == "The driver is asleep."


def test_gate_set_to_zero_needs_no_reading() -> None:
    off = settings(min_vram_gb=0, max_gpu_memory_used_percent=0)
    assert not off.needs_gpu
    assert code(host(LOW), off) is None
    assert code(HostState(gpus=GpuReading(status="unknown")), off) is None


@pytest.mark.parametrize(
    "keys",
    [{"min_vram_gb": 1.0}, {"max_gpu_memory_used_percent": 1.0}, {"no_gpu": "skip"}],
    ids=lambda keys: next(iter(keys)),
)
def test_each_gpu_gate_needs_a_reading(keys: dict[str, Any]) -> None:
    assert settings(**{"min_vram_gb": 0, "max_gpu_memory_used_percent": 0, **keys}).needs_gpu


def test_each_memory_gate_works_without_the_other() -> None:
    assert code(host(LOW), settings(max_gpu_memory_used_percent=0)) == "vram-low"
    assert code(host(BUSY), settings(max_gpu_memory_used_percent=0)) is None
    assert code(host(BUSY), settings(min_vram_gb=0)) == "gpu-busy"
    assert code(host(LOW), settings(min_vram_gb=0)) is None


def test_exact_limits_pass() -> None:
    exact = GpuDevice(0, "GPU-x", "", 12 * GIB, 6 * GIB, 6 * GIB)
    state = HostState(gpus=GpuReading(status="ok", devices=(exact,)))
    assert code(state, settings()) is None


def test_one_byte_below_the_memory_limit_fails() -> None:
    short = GpuDevice(0, "GPU-x", "", 12 * GIB, 6 * GIB - 1, 6 * GIB)
    assert code(HostState(gpus=GpuReading(status="ok", devices=(short,))), settings()) == "vram-low"


def test_both_memory_gates_must_pass_on_the_same_gpu() -> None:
    assert code(host(LOW, BUSY), settings()) in {"vram-low", "gpu-busy"}


def test_skip_names_the_gpu_with_the_most_free_memory() -> None:
    poorer, nearer = (GpuDevice(index, "", "Card", 24 * GIB, free * GIB, 0) for index, free in ((0, 1), (1, 5)))
    state = HostState(gpus=GpuReading(status="ok", devices=(poorer, nearer)))
    reason = find_skip_reason(state, settings())
    assert reason is not None
    assert reason.message == "GPU 1 (Card) has 5.00 GiB of free memory; a cycle needs 6 GiB ([schedule] min_vram_gb)."
    assert reason.details == {"gpu": 1, "free_gb": 5.0, "min_vram_gb": 6.0}


def test_a_busy_gpu_is_named_with_its_share() -> None:
    reason = find_skip_reason(host(BUSY), settings())
    assert reason is not None
    assert reason.message == "GPU 0 has 91.2 % of its memory in use; a cycle starts at 50 % or less."
    assert reason.details["used_percent"] == 91.2


def test_gpu_without_a_total_has_no_usage_share() -> None:
    odd = GpuDevice(0, "", "", None, 8 * GIB, None)
    assert code(HostState(gpus=GpuReading(status="ok", devices=(odd,))), settings()) is None


def test_unknown_gpu_skip_contains_the_reason() -> None:
    lost = GpuReading(status="ok", devices=(device(UNKNOWN, problem="GPU is lost", mig=True),))
    reason = find_skip_reason(HostState(gpus=lost), settings())
    assert reason is not None
    assert reason.message == "GPU 0 MIG instance does not report its free memory: GPU is lost."


def test_absent_gpu_index_is_unknown_rather_than_no_gpu() -> None:
    assert code(host(GOOD), settings(gpu_policy="index", gpu_index=3)) == "gpu-unknown"


def test_any_instance_of_a_partitioned_gpu_may_pass_for_its_index() -> None:
    instances = (device(LOW, index=1, mig=True), device(GOOD, index=1, mig=True), device(LOW, index=0))
    state = HostState(gpus=GpuReading(status="ok", devices=instances))
    assert code(state, settings(gpu_policy="index", gpu_index=1)) is None


@pytest.mark.parametrize(
    ("awake", "going", "grace", "expected"),
    [
        (None, None, 120.0, None),
        (None, False, 120.0, None),
        (None, True, 120.0, "going-to-sleep"),
        (5.0, True, 120.0, "going-to-sleep"),
        (0.0, None, 120.0, "just-resumed"),
        (119.9, False, 120.0, "just-resumed"),
        (120.0, False, 120.0, None),
        (0.0, None, 0.0, None),
    ],
)
def test_sleeping_or_just_resumed_machine_skips(
    awake: float | None, going: Literal[True, False] | None, grace: float, expected: str | None
) -> None:
    state = HostState(gpus=None, seconds_since_resume=awake, going_to_sleep=going)
    assert code(state, settings(resume_grace_seconds=grace)) == expected


def test_sleep_is_checked_before_the_gpu() -> None:
    state = HostState(gpus=GpuReading(status="unknown"), seconds_since_resume=1.0)
    reason = find_skip_reason(state, settings())
    assert reason is not None
    assert reason.code == "just-resumed"
    assert reason.details == {"awake_seconds": 1.0, "resume_grace_seconds": 120.0}


def test_cycle_runs_without_a_gpu_reading() -> None:
    assert code(HostState(gpus=None), settings()) is None


def test_running_cycle_has_its_own_skip_code() -> None:
    assert build_lock_held_reason("cycle.lock is held by process 7.").code == "cycle-running"


def test_sleep_and_a_changing_comfyui_are_temporary() -> None:
    assert {"going-to-sleep", "just-resumed", "comfyui-changing"} == TEMPORARY_SKIPS


def test_cycle_waits_while_the_supervisor_starts_or_stops_comfyui() -> None:
    switching = SupervisorSummary("switching", "ComfyUI is moving to another environment.", "", is_changing=True)
    reason = find_skip_reason(HostState(gpus=GpuReading(status="unknown"), supervisor=switching), settings())
    assert reason is not None
    assert (reason.code, reason.details) == ("comfyui-changing", {"state": "switching"})
    assert reason.message.startswith("ComfyUI is moving to another environment.")


def test_cycle_does_not_wait_for_any_other_state_of_comfyui() -> None:
    stalled = SupervisorSummary("stalled", "ComfyUI runs, but nothing in it makes progress.", "")
    assert code(HostState(gpus=None, supervisor=stalled), settings()) is None


def test_message_shows_that_the_memory_is_below_the_limit() -> None:
    reading = GpuReading("ok", (GpuDevice(0, "", "", 8 * GIB, int(5.9999 * GIB), GIB),))
    reason = find_skip_reason(HostState(reading), GateSettings(min_vram_gb=6.0))
    assert reason is not None
    assert "5.9999 GiB of free memory; a cycle needs 6 GiB" in reason.message


@pytest.mark.parametrize(
    ("total", "needed"),
    [(6, 4.5), (4, 3.0), (6.6, 4.95), (7, 6.0), (24, 6.0), (None, 6.0)],
)
def test_limit_fits_a_card_that_can_never_meet_it(total: float | None, needed: float) -> None:
    total_bytes = None if total is None else int(total * GIB)
    card = GpuDevice(0, "GPU-x", "Card", total_bytes, 0, total_bytes)
    assert find_needed_gb(card, 6.0) == pytest.approx(needed)


def test_idle_small_card_runs_cycles() -> None:
    idle = GpuDevice(0, "GPU-x", "Card", 6 * GIB, int(5.6 * GIB), int(0.4 * GIB))
    busy = GpuDevice(0, "GPU-x", "Card", 6 * GIB, 2 * GIB, 4 * GIB)
    chosen = settings(max_gpu_memory_used_percent=0)
    assert find_skip_reason(HostState(GpuReading("ok", (idle,))), chosen) is None
    reason = find_skip_reason(HostState(GpuReading("ok", (busy,))), chosen)
    assert reason is not None
    assert reason.message == (
        "GPU 0 (Card) has 2.00 GiB of free memory; a cycle needs 4.5 GiB, because it can never have the 6 GiB of "
        "[schedule] min_vram_gb."
    )
