from __future__ import annotations

import pytest

from comfywatchman.base.parsing import json_limits
from comfywatchman.base.parsing.json_limits import has_too_many_values


@pytest.fixture(autouse=True)
def _limit_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_limits, "MAX_JSON_VALUES", 10)


@pytest.mark.parametrize(
    ("content", "is_too_many"),
    [
        (b"[1,2,3,4,5,6,7,8,9,10]", False),
        (b"[1,2,3,4,5,6,7,8,9,10,11]", True),
        (b"[[],[],[],[],[],[]]", True),
        (b'{"a":{"b":{"c":{"d":{"e":{"f":{}}}}}}}', False),
        (b'"' + b"," * 11 + b'"', True),
        (b"[" * 10, False),
    ],
)
def test_values_are_counted_by_brackets_and_commas(content: bytes, is_too_many: bool) -> None:  # noqa: FBT001 - parametrized
    assert has_too_many_values(content) is is_too_many
