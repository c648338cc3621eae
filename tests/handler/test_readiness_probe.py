from __future__ import annotations

import queue
import threading
import time

import pytest

from comfywatchman.comfyui.server.canary import CanaryResult, CanaryStatus
from comfywatchman.handler.readiness_probe import ReadinessProbe

LIMIT_SECONDS = 60


class Canaries:
    """Canaries whose results a test gives one by one; a None ends them."""

    def __init__(self) -> None:
        self.results: queue.Queue[CanaryStatus] = queue.Queue()
        self.asked = threading.Semaphore(0)

    def run(self) -> CanaryResult:
        self.asked.release()
        return CanaryResult(self.results.get(timeout=LIMIT_SECONDS))


def wait_for_canary(canaries: Canaries) -> None:
    assert canaries.asked.acquire(timeout=LIMIT_SECONDS)


def test_probe_is_ready_after_a_canary_and_again_after_a_loss() -> None:
    canaries = Canaries()
    with ReadinessProbe(canaries.run, retry_seconds=0) as probe:
        for status in (CanaryStatus.LOST, CanaryStatus.BUSY, CanaryStatus.FAILED):
            wait_for_canary(canaries)
            assert not probe.is_ready
            canaries.results.put(status)
        wait_for_canary(canaries)
        assert probe.last == CanaryResult(CanaryStatus.FAILED)
        canaries.results.put(CanaryStatus.RAN)
        wait_until_ready(probe)
        probe.note_failure("handler-prompt-failed")
        assert probe.is_ready
        probe.note_failure("handler-server-lost")
        wait_for_canary(canaries)
        states = [probe.is_ready]
        probe.note_success()
        states.append(probe.is_ready)
        assert states == [False, True]
        canaries.results.put(CanaryStatus.BUSY)


def wait_until_ready(probe: ReadinessProbe) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not probe.is_ready:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("status", list(CanaryStatus))
def test_only_a_canary_that_ran_proves_readiness(status: CanaryStatus) -> None:
    canaries = Canaries()
    with ReadinessProbe(canaries.run, retry_seconds=0) as probe:
        wait_for_canary(canaries)
        canaries.results.put(status)
        if status not in {CanaryStatus.RAN, CanaryStatus.EVENTS_MISSING}:
            wait_for_canary(canaries)
            assert not probe.is_ready
            canaries.results.put(CanaryStatus.RAN)
        wait_until_ready(probe)
