"""Fields of forms, and values as arguments of commands. Pure."""

from __future__ import annotations

from comfywatchman.app.pages.page_request import ActionRequest
from comfywatchman.base.errors import Failure


def read_field(request: ActionRequest, name: str) -> str:
    """Return a field of the form that must not be empty.

    Raises:
        Failure: `web-form-invalid`.
    """
    value = request.form.get(name, "").strip()
    # No argument of a program can hold a zero byte.
    if not value or "\0" in value:
        raise Failure("web-form-invalid", f"The form has no {name}.", hint="Load the page again.")
    return value


def plan_changed_failure() -> Failure:
    """Return the failure of an approval for another plan than the newest one, which may hold other files."""
    return Failure("web-form-invalid", "The plan has changed since the page was shown.", hint="Look at it again.")


def protect(value: str) -> tuple[str, ...]:
    """Return a value as arguments, so that no command takes it for an option."""
    return ("--", value) if value.startswith("-") else (value,)
