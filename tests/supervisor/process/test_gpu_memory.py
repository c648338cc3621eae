from __future__ import annotations

from dataclasses import dataclass

from comfywatchman.base.gpu.query import GpuDevice, GpuReading
from comfywatchman.supervisor.process.gpu_memory import GpuMemoryReader
from tests.fakes import FakeClock

GIB = 1 << 30


@dataclass
class Driver:
    """A driver that answers a prepared reading and counts the questions."""

    reading: GpuReading
    asked: int = 0

    def read(self) -> GpuReading:
        self.asked += 1
        return self.reading


def device(used_gib: int | None) -> GpuDevice:
    used = None if used_gib is None else used_gib * GIB
    return GpuDevice(0, "GPU-a", "Card", 24 * GIB, None, used)


def test_memory_of_all_gpus_is_added_and_read_seldom() -> None:
    clock, driver = FakeClock(), Driver(GpuReading("ok", (device(3), device(None), device(4))))
    reader = GpuMemoryReader(clock, driver.read)
    assert (reader.read(), reader.read(), driver.asked) == (7 * GIB, 7 * GIB, 1)
    driver.reading = GpuReading("ok", (device(9),))
    clock.advance(awake=10)
    assert (reader.read(), driver.asked) == (9 * GIB, 2)


def test_driver_that_does_not_answer_is_unknown_and_asked_again() -> None:
    clock, driver = FakeClock(), Driver(GpuReading("unknown"))
    reader = GpuMemoryReader(clock, driver.read)
    assert reader.read() is None
    clock.advance(awake=10)
    assert (reader.read(), driver.asked) == (None, 2)


def test_machine_without_a_gpu_is_asked_once() -> None:
    clock, driver = FakeClock(), Driver(GpuReading("none"))
    reader = GpuMemoryReader(clock, driver.read)
    for _ in range(3):
        assert reader.read() is None
        clock.advance(awake=60)
    assert driver.asked == 1
