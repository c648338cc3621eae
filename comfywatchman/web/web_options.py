"""What the web server was started with."""

from __future__ import annotations

from dataclasses import dataclass

from comfywatchman.web.security.request_guard import GuardPolicy


@dataclass(frozen=True, slots=True)
class WebOptions:
    """What the web server was started with.

    Attributes:
        policy: Who may ask.
        base_path: The path below which a reverse proxy serves the page: empty, or `/comfy` without a slash at the end.
    """

    policy: GuardPolicy
    base_path: str = ""
