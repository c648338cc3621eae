"""Escapes text for Markdown, whatever a file name holds."""

from __future__ import annotations

import re
from typing import Final

from comfywatchman.base.text import shorten_text

# Only characters that mean something at their place are escaped, so that the report also reads well without a viewer:
# entities, an exclamation mark before one of our links (it would become an image), addresses that viewers link
# (`https://`, `www.`), emoji codes (`:smile:`), and underscores that are not inside a word.
_INLINE: Final = re.compile(
    r"[\\`*\[\]<>|~$@#]|&(?=[#A-Za-z])|!$|:(?=[A-Za-z/])|(?<=[Ww]{3})\.|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
)
_AT_START: Final = re.compile(r"^([-+=:]|[0-9]{1,9}(?=[.)](?: |$)))")


class SafeMarkdown(str):
    """Markdown that is escaped already, or that we wrote ourselves."""

    __slots__ = ()


def escape_invisible(text: str) -> str:
    """Replace invisible characters (control, bidirectional, zero-width, odd spaces) by their escape sequences.

    A text that is longer than any path is cut: a workflow may call a node by a name of a million characters.
    """
    text = shorten_text(text)
    if text.isprintable():
        return text
    return "".join(map(_escape_unprintable, text))


def capitalize_first(text: str) -> str:
    """Return text with a capital first letter; `str.capitalize` would lower the rest."""
    return text[:1].upper() + text[1:]


def escape(text: object) -> SafeMarkdown:
    """Return text that Markdown shows as it stands; `Safe` text is returned unchanged."""
    if isinstance(text, SafeMarkdown):
        return text
    escaped = _INLINE.sub(r"\\\g<0>", escape_invisible(str(text)))
    return SafeMarkdown(_AT_START.sub(lambda match: _escape_line_start(match.group()), escaped))


def code_span(text: object) -> SafeMarkdown:
    """Return the text as a code span that is valid in a table cell as well.

    Text with a `|` is returned escaped instead: inside a table, not every such text can be written as a code span.
    """
    shown = escape_invisible(str(text))
    if "|" in shown:
        return escape(shown)
    # A code span ends at a run of as many backticks as it begins with, so the fence is longer than any run inside.
    longest_run = max(map(len, re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest_run + 1)
    pad = " " if _needs_padding(shown) else ""
    return SafeMarkdown(f"{fence}{pad}{shown}{pad}{fence}")


def link(url: str, text: str) -> SafeMarkdown:
    """Return a link for a plain https URL that cannot end the link early; any other URL is returned as code."""
    if re.fullmatch(r"https://[A-Za-z0-9._~/?=&%+,@:-]+", url):
        return SafeMarkdown(f"[{escape(text)}]({url})")
    return code_span(url)


def _escape_unprintable(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def _escape_line_start(start: str) -> str:
    # A number is made a list by the full stop or bracket after it; a backslash before a digit would be shown.
    return f"{start}\\" if start.isdigit() else f"\\{start}"


def _needs_padding(shown: str) -> bool:
    # CommonMark 0.31, section 6.1: a backtick at an end would join the fence, and one space is stripped from both ends
    # unless the text is all spaces.
    touches_fence = shown.startswith("`") or shown.endswith("`")
    loses_spaces = shown.startswith(" ") and shown.endswith(" ") and shown.strip(" ") != ""
    return not shown or touches_fence or loses_spaces
