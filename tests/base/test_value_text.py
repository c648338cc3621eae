from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from comfywatchman.base.settings import PathText
from comfywatchman.base.value_text import describe_expected


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (bool, "true or false"),
        (str, "a text in quotes"),
        (PathText, "a path in quotes"),
        (int, "a whole number"),
        (Annotated[float, Meta(gt=0)], "a number of more than 0"),
        (Annotated[int, Meta(ge=1, le=16)], "a whole number of at least 1 and at most 16"),
        (Annotated[float, Meta(lt=0.5)], "a number of less than 0.5"),
        (Annotated[float, Meta(ge=0, le=1e9)], "a number of at least 0"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (tuple[Literal["a", "b"], ...], "a list, each one of 'a', 'b'"),
        (tuple[PathText, ...], 'a list of paths such as ["/one", "/two"]'),
        (tuple[str, ...], 'a list of texts such as ["one", "two"]'),
    ],
)
def test_each_type_is_described(annotation: Any, text: str) -> None:
    assert describe_expected(annotation) == text
