from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.governance.conflicts.quickxplain import find_needed, minimal_conflict


def _find_conflict(clashes: list[set[int]], questions: list[Sequence[int]]) -> Callable[[Sequence[int]], bool]:
    def fails(part: Sequence[int]) -> bool:
        questions.append(part)
        return any(clash <= set(part) for clash in clashes)

    return fails


@pytest.mark.parametrize("find", [minimal_conflict, find_needed])
@given(st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1))
def test_what_is_found_fails_and_nothing_of_it_can_be_left_out(
    find: Callable[..., tuple[int, ...]], clashes: list[set[int]]
) -> None:
    fails = _find_conflict(clashes, [])
    found = find(range(12), fails)
    assert fails(found)
    assert not any(fails([one for one in found if one != left]) for left in found)


def test_a_pair_among_many_takes_few_questions() -> None:
    questions: list[Sequence[int]] = []
    assert minimal_conflict(range(64), _find_conflict([{7, 50}], questions)) == (7, 50)
    assert len(questions) <= 20


def test_of_several_clashes_the_first_is_found() -> None:
    assert minimal_conflict(range(10), _find_conflict([{8, 9}, {0, 1}], [])) == (0, 1)


def test_what_the_question_raises_ends_the_search() -> None:
    def fails(_part: Sequence[int]) -> bool:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        minimal_conflict(range(4), fails)
