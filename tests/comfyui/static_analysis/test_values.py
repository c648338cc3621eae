from __future__ import annotations

from comfywatchman.comfyui.static_analysis.values import (
    MAX_ITEMS,
    UNKNOWN,
    AbstractDict,
    AbstractList,
    join_values,
)


def test_equal_constants_join_to_themselves() -> None:
    assert join_values(["a", "a"]) == "a"
    assert join_values(["a", "b"]) is UNKNOWN
    assert join_values(["a", UNKNOWN]) is UNKNOWN


def test_lists_join_to_their_union() -> None:
    joined = join_values([AbstractList(["a"], folders=frozenset({"loras"})), AbstractList(["b"])])
    assert (joined.values, joined.is_open, joined.folders) == (["a", "b"], False, frozenset({"loras"}))
    assert join_values([AbstractList(["a"]), UNKNOWN]).is_open


def test_dicts_join_with_possible_keys() -> None:
    joined = join_values([AbstractDict({"a": 1, "b": 2}), AbstractDict({"a": 1})])
    assert (joined.entries, joined.possible_keys, joined.is_open) == ({"a": 1, "b": 2}, {"b"}, True)
    same = join_values([AbstractDict({"a": 1}), AbstractDict({"a": 2})])
    assert (same.entries, same.possible_keys, same.is_open) == ({"a": UNKNOWN}, set(), False)


def test_long_lists_are_cut_and_open() -> None:
    elements = AbstractList()
    elements.extend(AbstractList(["a"] * (MAX_ITEMS + 1)))
    assert (len(elements.values), elements.is_open) == (MAX_ITEMS, True)


def test_full_dict_takes_no_new_keys() -> None:
    table = AbstractDict(dict.fromkeys(range(MAX_ITEMS)))
    table.put("new", 1, is_certain=True)
    assert "new" not in table.entries
    assert table.is_open


def test_uncertain_key_becomes_certain() -> None:
    table = AbstractDict()
    table.put("a", 1, is_certain=False)
    assert table.possible_keys == {"a"}
    table.put("a", 2, is_certain=False)
    assert table.possible_keys == {"a"}
    table.put("a", 3, is_certain=True)
    assert table.possible_keys == set()


def test_update_keeps_possible_keys_of_the_other_dict() -> None:
    table, other = AbstractDict(), AbstractDict({"a": 1}, {"a"}, is_open=True)
    table.update(other, is_certain=True)
    assert (table.possible_keys, table.is_open) == ({"a"}, True)
