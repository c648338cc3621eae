"""Pages of long lists. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

RowT = TypeVar("RowT")

PAGE_ROWS: Final = 50
_MAX_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class ListPage(Generic[RowT]):
    """The rows of one page of a list.

    Attributes:
        rows: The rows.
        matching: Number of rows that match the filter.
        number: Number of the page, from 1.
        pages: Number of pages; at least 1.
    """

    rows: tuple[RowT, ...]
    matching: int
    number: int
    pages: int


def cut_page(rows: Sequence[RowT], number: int, *, size: int = PAGE_ROWS) -> ListPage[RowT]:
    """Return one page of a list; a number that does not exist becomes the nearest one that does."""
    pages = max(1, -(-len(rows) // size))
    number = min(max(number, 1), pages)
    return ListPage(tuple(rows[(number - 1) * size : number * size]), len(rows), number, pages)


def read_page_number(query: Mapping[str, str]) -> int:
    """Return the number of the page in a query; 1 when there is none, or it is no number."""
    text = query.get("page", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else 1
