from __future__ import annotations

import ast

import pytest

from tests.rewording import Reworder, is_sentence, literal_values, reword


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is not there.", True),
        (" did not answer", True),
        ("Done.", True),
        ("not_offered", False),
        ("ok", False),
        ("SELECT path FROM pack", False),
        ("https://example.org/a", False),
        ("master_status.md.j2", False),
    ],
)
def test_sentences_are_told_from_codes(text: str, *, expected: bool) -> None:
    assert is_sentence(text) is expected


def test_everything_but_sentences_stays() -> None:
    source = (
        '"""A docstring stays."""\n'
        "import re\nfrom typing import Literal\n"
        'STATE = Literal["not governed"]\n'
        'PATTERN = re.compile("did not answer")\n'
        'class Confidence(StrEnum):\n    NAME = "exact name"\n'
        'a = "not governed"\n'
        'b = f"It has {a} files."\n'
    )
    reworder = Reworder(literal_values(source))
    tree = ast.fix_missing_locations(reworder.visit(ast.parse(source)))
    expected = source.replace("It has ", reword("It has ", 8)).replace(" files.", reword(" files.", 15))
    assert ast.unparse(tree) == ast.unparse(ast.parse(expected))
    assert reworder.count == 2


def test_fields_of_templates_stay() -> None:
    assert reword("Run: gov resolve {txid}", 1) == "Svo: hpw sftpmwf {txid}"


def test_equal_sentences_become_different() -> None:
    tree = Reworder().visit(ast.parse('a = "It is there."\nb = "It is there."'))
    first, second = (statement.value.value for statement in tree.body)
    assert len({first, second, "It is there."}) == 3
