"""Rendering of the templates.

Templates get: `page` (its row in the registry), `pages` (those of the navigation), `head` (the status sentence), `view`
(what the page's view returned), `query`, `now`, `is_signed_in`, `theme`, `notice` (the result of the last button),
`url(path, name=value)`, `link(reference)`, `has_page(path)`, `command(argument, …)` for a call of this program,
`complete(text)` for a sentence that names commands,
`moment(time)` and `clock(time)` for times (`parse_time(text)` reads those of state files), `live(block, seconds=…)`,
the filters `size`, `duration`, `plural`, `job_name` and `outputs`, and the macros of `macros.html`. Everything is
escaped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import jinja2
from jinja2.runtime import Context
from markupsafe import Markup, escape

from comfywatchman.app.pages.outputs import list_outputs
from comfywatchman.base.clock import format_duration, format_future, format_utc, parse_utc
from comfywatchman.base.text import escape_unprintable, format_decimal_size, pluralize

TEMPLATES: Final = Path(__file__).parent / "templates"
COMMON_PARTS: Final = frozenset({"status_line"})
"""Parts of every page that refresh themselves; each is a template in `parts/`."""

NO_BREAK_SPACE: Final = "\u00a0"
_MINUTE_SECONDS: Final = 60.0
_SHORT_SECONDS: Final = 10.0


@cache
def load_templates() -> jinja2.Environment:
    """Return the templates, compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(size=format_size_words, duration=format_duration_words, plural=pluralize)
    environment.filters.update(outputs=list_outputs, job_name=lambda name: name.removesuffix(".yaml"))
    environment.globals.update(moment=moment, clock=clock, live=live, parse_time=parse_utc)
    # As globals, so that a block that is rendered alone has them too.
    macros: Any = environment.get_template("macros.html").module
    environment.globals.update({name: getattr(macros, name) for name in dir(macros) if name[0] != "_"})
    return environment


class PageRenderer:
    """The templates of the page.

    Args:
        base_path: The path below which the page is served: empty, or `/comfy`.
    """

    def __init__(self, base_path: str) -> None:
        self._base_path = base_path
        self._environment = load_templates()

    def build_url(self, path: str, /, **query: object) -> str:
        """Return the URL of a path below the base path, with a query; parts that are None or empty are left out."""
        text = urlencode({name: str(value) for name, value in query.items() if value not in {None, ""}})
        return f"{self._base_path}/{quote(path)}" + (f"?{text}" if text else "")

    def build_link(self, reference: str) -> str:
        """Return the URL of a reference below the base path, such as `queue?status=failed`; it is encoded already."""
        # Whatever it begins with, the result is a path of this site.
        relative = reference.lstrip("/\\")
        return f"{self._base_path}/{quote(relative, safe='/?=&%#+')}"

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """Return a whole page."""
        return self._environment.get_template(template).render(values, url=self.build_url, link=self.build_link)

    def render_block(self, template: str, block: str, values: Mapping[str, Any]) -> str | None:
        """Return one block of a page; None when the page has no such block."""
        source = self._environment.get_template(template)
        if block in source.blocks:
            return "".join(
                source.blocks[block](source.new_context({**values, "url": self.build_url, "link": self.build_link}))
            )
        return self.render(f"parts/{block}.html", values) if block in COMMON_PARTS else None


def compute_tag(content: str) -> str:
    """Return the entity tag of a page or block."""
    return hashlib.sha256(content.encode()).hexdigest()[:24]


@jinja2.pass_context
def live(context: Context, block: str, *, seconds: int = 5, **query: object) -> Markup:
    """Return a block of the page with the attributes that let it refresh itself.

    Args:
        context: The context of the template.
        block: The name of the block, or of a common part.
        seconds: How often the browser asks.
        query: More parts of the URL that it asks for.
    """
    if block in COMMON_PARTS:
        content = context.environment.get_template(f"parts/{block}.html").render(context.get_all())
    else:
        content = "".join(context.blocks[block][0](context))
    address = context["fragment_url"](block, query)
    attributes = (
        f'id="live-{block}" hx-get="{escape(address)}" hx-trigger="every {seconds}s" hx-swap="innerMorph" '
        f'hx-ptag="{compute_tag(content)}"'
    )
    return Markup(f"<div {attributes}>{content}</div>")  # noqa: S704 - a rendered block, and escaped values


@jinja2.pass_context
def moment(context: Context, time: datetime | None, *, ahead: bool = False) -> Markup:
    """Return a time as an element: how long ago, with the clock time as its title; the clock time of one to come."""
    if time is None:
        return Markup("—")
    now: datetime = context["now"]
    seconds = (now - time).total_seconds()
    if ahead or seconds < 0:
        text = format_future(time, now)
    elif seconds < 1:
        text = "just now"
    else:
        text = f"{format_duration_words(int(seconds))} ago"
    title = format_future(time, now)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(format_utc(time), title, text)


@jinja2.pass_context
def clock(context: Context, time: datetime) -> Markup:
    """Return a time as an element with the clock time: `12:41`, with the date unless it is today."""
    text = format_future(time, context["now"])
    return Markup('<time datetime="{}">{}</time>').format(format_utc(time), text)


def _finalize(value: object) -> object:
    """Escape what nobody could see: control characters, and those that turn the direction of the text around them."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return escape_unprintable(value, but="\n\t\u00a0")
    return value


def format_duration_words(seconds: float) -> str:
    """Return a duration with no-break spaces between numbers and units; ten seconds and more in whole seconds."""
    if 0 < seconds < _SHORT_SECONDS and seconds % 1:
        text = f"{seconds:.1f} s"
    else:
        text = f"{max(seconds, 0):.0f} s" if seconds < _MINUTE_SECONDS else format_duration(seconds)
    return text.replace(" ", NO_BREAK_SPACE)


def format_size_words(size_bytes: float) -> str:
    """Return a size with a no-break space before its unit."""
    return format_decimal_size(int(size_bytes)).replace(" ", NO_BREAK_SPACE)
