"""The question that a page or a button asks, and the result of a button."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.jobs.records import Actor


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for a page.

    Attributes:
        host: The host to show.
        now: The present time.
        path: The values of `{name}` parts of the page's path.
        query: The query of the URL; of repeated names the last value.
        fragment: The only part of the page that is asked for; None for the whole page.
    """

    host: PageHost
    now: datetime
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    fragment: str | None = None


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """A press of a button, from a person whose session was checked.

    Attributes:
        host: The host to change.
        now: The present time.
        actor: Who pressed it, for the audit.
        path: The values of `{name}` parts of the action's path.
        form: The fields of the form; of repeated names the last value.
    """

    host: PageHost
    now: datetime
    actor: Actor
    path: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What a button did.

    Attributes:
        sentence: The result for the person, shown on the next page.
        next_page: Path of that page, with its query: `queue?status=failed`. Empty: the home page.
    """

    sentence: str
    next_page: str = ""
