from __future__ import annotations

import pytest

from comfywatchman.app.pages.paging import ListPage, cut_page, read_page_number


@pytest.mark.parametrize(
    ("number", "page"),
    [
        (1, ListPage((0, 1), 5, 1, 3)),
        (3, ListPage((4,), 5, 3, 3)),
        (4, ListPage((4,), 5, 3, 3)),
        (-1, ListPage((0, 1), 5, 1, 3)),
    ],
)
def test_page_that_does_not_exist_becomes_the_nearest(number: int, page: ListPage[int]) -> None:
    assert cut_page(range(5), number, size=2) == page


def test_empty_list_has_one_page() -> None:
    assert cut_page((), 1) == ListPage((), 0, 1, 1)


@pytest.mark.parametrize(
    ("text", "number"), [("", 1), ("7", 7), ("-1", 1), ("x", 1), ("\u0663", 1), ("9" * 9, 1), ("0", 0)]
)
def test_number_of_the_page_is_read(text: str, number: int) -> None:
    assert read_page_number({"page": text}) == number
