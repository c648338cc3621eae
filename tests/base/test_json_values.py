from __future__ import annotations

import pytest

from comfywatchman.base.json_values import as_list, as_mapping, as_text

OTHERS = [None, 5, 1.5, True, "", "text", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("value", OTHERS)
def test_values_of_other_types_become_empty(value: object) -> None:
    assert as_mapping(value) == (value if type(value) is dict else {})
    assert as_list(value) == (value if type(value) is list else [])
    assert as_text(value) == ("text" if value == "text" else None)
