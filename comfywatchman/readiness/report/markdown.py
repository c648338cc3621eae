"""Text that is safe inside Markdown, whatever a file name holds."""

from __future__ import annotations

import re
from typing import Final

# Escaped is only what means something where it stands, so that the report also reads well without a viewer: entities,
# an exclamation mark before a link of ours, addresses (`https://`, `www.`), emoji codes, an underscore that is not
# inside a word.
_INLINE: Final = re.compile(
    r"[\\`*\[\]<>|~$@#]|&(?=[#A-Za-z])|!$|:(?=[A-Za-z/])|(?<=[Ww]{3})\.|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
)
_AT_START: Final = re.compile(r"^([-+=:]|[0-9]{1,9}(?=[.)](?: |$)))")


class SafeMarkdown(str):
    """Markdown of our own making; not escaped again."""

    __slots__ = ()


def escape_invisible(text: str) -> str:
    """Replace what cannot be seen (control, bidirectional, zero-width characters, odd spaces) by its escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def capitalize_first(text: str) -> str:
    """Return text with its first letter as a capital and the rest as it is."""
    return text[:1].upper() + text[1:]


def escape(text: object) -> SafeMarkdown:
    """Return text that Markdown shows as it stands; `Safe` text is returned unchanged."""
    if isinstance(text, SafeMarkdown):
        return text
    escaped = _INLINE.sub(r"\\\g<0>", escape_invisible(str(text)))
    return SafeMarkdown(_AT_START.sub(lambda match: _escape_line_start(match.group()), escaped))


def code_span(text: object) -> SafeMarkdown:
    """Return a code span that holds the text, fit for a table cell as well.

    A table knows no way to write every text with a `|` inside a code span; such a text comes back escaped instead.
    """
    shown = escape_invisible(str(text))
    if "|" in shown:
        return escape(shown)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if _needs_padding(shown) else ""
    return SafeMarkdown(f"{fence}{pad}{shown}{pad}{fence}")


def link(url: str, text: str) -> SafeMarkdown:
    """Return a link when the address is plain https without anything that could end it, else the address as code."""
    if re.fullmatch(r"https://[A-Za-z0-9._~/?=&%+,@:-]+", url):
        return SafeMarkdown(f"[{escape(text)}]({url})")
    return code_span(url)


def _escape_line_start(found: str) -> str:
    # A backslash before a digit is shown; the full stop or bracket after the number is what makes it a list.
    return f"{found}\\" if found.isdigit() else f"\\{found}"


def _needs_padding(shown: str) -> bool:
    # CommonMark 0.31, section 6.1: one space is taken from both ends unless all is spaces; backticks join the fence.
    touches_fence = shown.startswith("`") or shown.endswith("`")
    return not shown or touches_fence or (shown.startswith(" ") and shown.endswith(" ") and shown.strip(" ") != "")
