"""Escaping, checked with a real Markdown parser: any text is shown literally and changes no structure."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from comfywatchman.readiness.report.markdown import (
    SafeMarkdown,
    capitalize_first,
    code_span,
    escape,
    escape_invisible,
    link,
)

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

HOSTILE = [
    "plain.json",
    "a|b",
    "a\\|b",
    "a\\\\|`b",
    "back\\",
    "`tick`",
    "``",
    "a``b`",
    " both ends ",
    "line\nbreak\r\n\n# heading",
    "<img src=x onerror=alert(1)>",
    "<!-- comment",
    "&lt;&#60;&amp",
    "[link](https://evil.example)",
    "![image](x)",
    "[a]: https://evil.example",
    "<https://evil.example>",
    "**bold** _it_ ~~gone~~",
    "# heading",
    "- item",
    "1. item",
    "1) item",
    "+ item",
    "> quote",
    "```",
    "~~~",
    "---",
    "===",
    "|---|---|",
    "\x1b[2J\x07",
    "\u202egnp.exe\u2066",
    "half\ud800\udcff",
    "tab\there",
    "{{ 7 * 7 }} {% raw %}",
    "$\\alpha$ @person #1 :smile: ^up^ ==mark==",
    "https://evil.example www.evil.example",
]
TEXTS = st.one_of(
    st.text(max_size=30),
    st.text("`|\\ *_[]()<>&#-+.!~\n\tab1\u202e", max_size=20),
    st.lists(st.sampled_from(HOSTILE), max_size=3).map("".join),
)


def inline(tokens: list[Token]) -> list[list[Token]]:
    """Return the inline tokens of each paragraph, heading and cell."""
    return [token.children or [] for token in tokens if token.type == "inline"]


def plain(children: list[Token]) -> str:
    """Return the text that a reader sees; fail for anything that is more than text."""
    assert {child.type for child in children} <= {"text", "text_special"}, children
    return "".join(child.content for child in children)


def is_one_line(text: str) -> bool:
    return escape_invisible(text).strip(" ") != ""


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_literally(text: str) -> None:
    check_escaped(text)
    check_code(text)


@given(TEXTS)
@example("\u00a0")
@example("\u3000")
@pytest.mark.slow
def test_any_text_is_shown_literally(text: str) -> None:
    check_escaped(text)


@given(TEXTS)
@pytest.mark.slow
def test_any_code_span_is_shown_literally(text: str) -> None:
    check_code(text)


def test_link_after_an_exclamation_mark_stays_a_link() -> None:
    (children,) = inline(PARSER.parse(f"{escape('look!')}{link('https://x.example', 'x')}"))
    assert [child.type for child in children if child.type in {"image", "link_open"}] == ["link_open"]


def test_automatic_links_and_emoji_are_escaped() -> None:
    assert escape("https://x.example") == "https\\://x.example"
    assert escape("www.x.example WWW.x") == "www\\.x.example WWW\\.x"
    assert escape(":-") == "\\:-"
    assert escape(":smile: @me #1 $x$") == "\\:smile: \\@me \\#1 \\$x\\$"


@given(TEXTS)
@example("===")
@example("---")
@example(":-")
@example("1. x")
@pytest.mark.slow
def test_text_below_another_line_stays_in_its_paragraph(text: str) -> None:
    trimmed = text.strip(" ")
    if trimmed:
        tokens = PARSER.parse(f"above\n{escape(trimmed)}\n")
        assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]


def check_escaped(text: str) -> None:
    shown = escape_invisible(text)
    for before, kind in (("", "paragraph"), ("x: ", "paragraph"), ("- ", "bullet_list"), ("### ", "heading")):
        trimmed = text.strip(" ")
        if not is_one_line(text):
            continue
        tokens = PARSER.parse(f"{before}{escape(trimmed)}\n")
        assert tokens[0].type == f"{kind}_open"
        (children,) = inline(tokens)
        assert plain(children) == before.lstrip("-# ") + escape_invisible(trimmed)
    first, second = cells(f"| {escape(text)} | second |")
    assert plain(first) == shown.strip(" ")
    assert plain(second) == "second"


def check_code(text: str) -> None:
    shown = escape_invisible(text)
    tokens = PARSER.parse(f"- a {code_span(text)} b\n")
    assert tokens[0].type == "bullet_list_open"
    (children,) = inline(tokens)
    if "|" in text:
        assert plain(children) == f"a {shown} b"
    else:
        assert [child.type for child in children] == ["text", "code_inline", "text"]
        assert same_code(children[1].content, shown)
    first, second = cells(f"| {code_span(text)} | second |")
    assert plain(second) == "second"
    if "|" in text:
        assert plain(first) == shown.strip(" ")
    else:
        (span,) = first
        assert span.type == "code_inline"
        assert same_code(span.content, shown)


def same_code(content: str, shown: str) -> bool:
    # The parser at hand takes spaces from both ends even when there is nothing else, against the specification.
    return content == shown or (shown.strip(" ") == "" and content.strip(" ") == "")


def cells(row: str) -> list[list[Token]]:
    tokens = PARSER.parse(f"| a | b |\n|---|---|\n{row}\n")
    assert tokens[0].type == "table_open"
    return inline(tokens)[2:]


@given(st.text(max_size=30))
@pytest.mark.slow
def test_no_invisible_character_is_left(text: str) -> None:
    assert escape_invisible(text).isprintable()
    assert escape_invisible(escape_invisible(text)) == escape_invisible(text)


def test_bidirectional_and_control_characters_become_escapes() -> None:
    assert escape_invisible("a\u202eb\x1b\u061c\u2028\ud800\U000e0041 é模") == (
        "a\\u202eb\\x1b\\u061c\\u2028\\ud800\\U000e0041 é模"
    )


def test_safe_markdown_is_not_escaped_again() -> None:
    own = escape("*")
    assert isinstance(own, SafeMarkdown)
    assert escape(own) is own
    assert escape(7.5) == "7.5"


@pytest.mark.parametrize(
    "text", ["2026-11-20T14:00:00Z", "my_lora-v1.2.safetensors", "missing node classes: A, B (2)", "a/b & c = d! e"]
)
def test_ordinary_text_is_not_escaped(text: str) -> None:
    assert escape(text) == text


def test_plain_https_url_is_a_link() -> None:
    (children,) = inline(PARSER.parse(link("https://huggingface.co/a/b?x=1&y=2%20", "a_b*")))
    assert (children[0].type, children[-1].type) == ("link_open", "link_close")
    assert children[0].attrs["href"] == "https://huggingface.co/a/b?x=1&y=2%20"
    assert plain(children[1:-1]) == "a_b*"


@pytest.mark.parametrize(
    "url",
    [
        "http://plain.example",
        "javascript:alert(1)",
        "https://x.example/a b",
        "https://x.example/)(",
        "https://x.example/\n",
        'https://x.example/"onx="',
        "https://x.example/<b>",
        "https://",
        "",
    ],
)
def test_any_other_url_is_not_a_link(url: str) -> None:
    for children in inline(PARSER.parse(f"a {link(url, 'words')} b")):
        assert {child.type for child in children} <= {"text", "text_special", "code_inline"}


@given(TEXTS, TEXTS)
@pytest.mark.slow
def test_link_is_one_link_or_plain_text(url: str, text: str) -> None:
    (children,) = inline(PARSER.parse(f"a {link('https://x.example/' + url, text)} b\n"))
    assert {child.type for child in children} <= {"text", "text_special", "code_inline", "link_open", "link_close"}
    assert sum(child.type == "link_open" for child in children) <= 1


def test_capitalize_keeps_the_case_of_names() -> None:
    assert capitalize_first("missing node classes: KSamplerX") == "Missing node classes: KSamplerX"
    assert capitalize_first("") == ""


def test_endless_names_are_cut() -> None:
    for text in (escape("a" * 100_000), code_span("a" * 100_000)):
        assert "… (100000 characters)" in text
        assert len(text) < 5_000
