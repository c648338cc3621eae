"""Charts over time that the server draws itself: the line, and the chart in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from comfywatchman.base.clock import format_duration
from comfywatchman.base.text import format_size

WIDTH: Final = 180
HEIGHT: Final = 40
_MAX_POINTS: Final = 180


class ChartUnit(StrEnum):
    """What a chart counts."""

    BYTES = "bytes"
    SECONDS = "seconds"
    JOBS = "jobs"

    def format_value(self, value: int) -> str:
        """Return a value with its unit."""
        if self is ChartUnit.BYTES:
            return format_size(value, digits=1)
        return format_duration(value) if self is ChartUnit.SECONDS else str(value)


@dataclass(frozen=True, slots=True)
class LineChart:
    """A chart of numbers over time.

    Attributes:
        line: The line as an SVG path, in a box of 180 by 40.
        top: The upper end of the scale.
        lowest: The lowest value.
        highest: The highest value.
        last: The last value.
        begin: When it begins, UTC.
        end: When it ends, UTC.
        unit: What is counted.
    """

    line: str
    top: int
    lowest: int
    highest: int
    last: int
    begin: str
    end: str
    unit: ChartUnit = ChartUnit.BYTES

    @property
    def scale(self) -> str:
        """The upper end of the scale with its unit."""
        return self.unit.format_value(self.top)

    @property
    def area(self) -> str:
        """The area below the line as an SVG path."""
        return f"{self.line}V{HEIGHT}H0Z"

    @property
    def sentence(self) -> str:
        """The chart in words."""
        span = f"between {self.unit.format_value(self.lowest)} and {self.unit.format_value(self.highest)}"
        return f"{span}, {self.unit.format_value(self.last)} at the end"


def build_chart(samples: Sequence[tuple[str, int]], unit: ChartUnit = ChartUnit.BYTES) -> LineChart | None:
    """Return the chart of samples with their times, oldest first; None for fewer than two.

    Args:
        samples: Times (UTC) and values, in equal distances.
        unit: What is counted.
    """
    if len(samples) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    values = [value for _at, value in samples]
    # More points than pixels would only make the page larger; the peak of each group is what matters.
    group = -(-len(values) // _MAX_POINTS)
    peaks = [max(values[begin : begin + group]) for begin in range(0, len(values), group)]
    top = max(*values, 1)
    points = []
    for index, value in enumerate(peaks):
        x = WIDTH * index / max(len(peaks) - 1, 1)
        points.append(f"{x:.1f} {HEIGHT - (HEIGHT - 1) * value / top:.1f}")
    return LineChart(
        line="M" + "L".join(points),
        top=top,
        lowest=min(values),
        highest=max(values),
        last=values[-1],
        begin=samples[0][0],
        end=samples[-1][0],
        unit=unit,
    )
