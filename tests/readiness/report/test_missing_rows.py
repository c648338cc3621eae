from __future__ import annotations

import pytest

from comfywatchman.readiness.report.missing_rows import describe_missing_row
from comfywatchman.readiness.report.overview import MissingKind, MissingRow


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (MissingRow(MissingKind.FOLDER, 3, 2, "loras"), "LoRAs"),
        (MissingRow(MissingKind.OTHER_FOLDERS, 3, 2, "20"), "20 other kinds"),
        (MissingRow(MissingKind.COMFYUI, 1, 26), "Newer ComfyUI"),
    ],
)
def test_row_has_a_name(row: MissingRow, text: str) -> None:
    assert describe_missing_row(row) == text


def test_every_kind_has_a_name() -> None:
    assert all(describe_missing_row(MissingRow(kind, 1, 1, "vae")) for kind in MissingKind)
