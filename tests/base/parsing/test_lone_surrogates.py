from __future__ import annotations

import json

import orjson

from comfywatchman.base.parsing.lone_surrogates import replace_lone_surrogates


def test_halves_of_pairs_are_replaced_in_names_and_values_at_every_depth() -> None:
    value = json.loads(r'{"a\ud800": [["b\udce9", "\ud83d\ude00"], {"c": "\udfff"}], "n": 1, "none": null}')
    replaced = replace_lone_surrogates(value)
    assert replaced == {"a�": [["b�", "😀"], {"c": "�"}], "n": 1, "none": None}
    assert orjson.dumps(replaced)


def test_deep_nesting_is_no_error() -> None:
    value: object = "\udce9"
    for _ in range(100_000):
        value = [value]
    replace_lone_surrogates(value)


def test_text_alone_is_replaced() -> None:
    assert replace_lone_surrogates("x\udce9") == "x�"
