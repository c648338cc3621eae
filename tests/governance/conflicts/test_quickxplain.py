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
@pytest.mark.slow
def test_result_is_a_minimal_conflict(find: Callable[..., tuple[int, ...]], clashes: list[set[int]]) -> None:
    fails = _find_conflict(clashes, [])
    found = find(range(12), fails)
    assert fails(found)
    assert not any(fails([one for one in found if one != left]) for left in found)


def test_pair_among_many_takes_few_tests() -> None:
    questions: list[Sequence[int]] = []
    assert minimal_conflict(range(64), _find_conflict([{7, 50}], questions)) == (7, 50)
    assert len(questions) <= 20


def test_first_of_several_conflicts_is_found() -> None:
    assert minimal_conflict(range(10), _find_conflict([{8, 9}, {0, 1}], [])) == (0, 1)


def test_exception_of_the_test_is_propagated() -> None:
    def fails(_part: Sequence[int]) -> bool:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        minimal_conflict(range(4), fails)
