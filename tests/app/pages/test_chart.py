from __future__ import annotations

import pytest

from comfywatchman.app.pages.chart import ChartUnit, build_chart


def test_chart_needs_two_samples() -> None:
    assert build_chart([]) is None
    assert build_chart([("2026-12-01T00:00:00Z", 5)]) is None


def test_line_spans_the_box() -> None:
    chart = build_chart([("a", 0), ("b", 10), ("c", 5)])
    assert chart is not None
    assert chart.line == "M0.0 40.0L90.0 1.0L180.0 20.5"
    assert chart.area == "M0.0 40.0L90.0 1.0L180.0 20.5V40H0Z"
    assert (chart.top, chart.lowest, chart.highest, chart.last, chart.begin, chart.end) == (10, 0, 10, 5, "a", "c")
    assert chart.sentence == "between 0 B and 10 B, 5 B at the end"


def test_peaks_survive_in_long_curves() -> None:
    samples = [(str(index), 1) for index in range(1000)]
    samples[501] = ("501", 100)
    chart = build_chart(samples)
    assert chart is not None
    assert chart.line.count("L") < 180
    assert " 1.0" in chart.line


def test_values_of_zero_are_drawn() -> None:
    chart = build_chart([("a", 0), ("b", 0)])
    assert chart is not None
    assert chart.line == "M0.0 40.0L180.0 40.0"


@pytest.mark.parametrize(
    ("unit", "scale", "sentence"),
    [
        (ChartUnit.BYTES, "90 B", "between 30 B and 90 B, 30 B at the end"),
        (ChartUnit.SECONDS, "2 min", "between 30 s and 2 min, 30 s at the end"),
        (ChartUnit.JOBS, "90", "between 30 and 90, 30 at the end"),
    ],
)
def test_values_have_the_unit_of_the_chart(unit: ChartUnit, scale: str, sentence: str) -> None:
    chart = build_chart([("a", 90), ("b", 30)], unit)
    assert chart is not None
    assert (chart.scale, chart.sentence) == (scale, sentence)
