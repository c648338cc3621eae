"""Which `except` clauses catch which errors."""

from __future__ import annotations

import builtins
from collections.abc import Iterable

from comfywatchman.comfyui.static_analysis.import_steps import ANY_ERROR

_ROOTS = frozenset({"Exception", "BaseException"})


def catches(classes: Iterable[str], error: str) -> bool | None:
    """Return whether an `except` clause catches an error; None when the source does not show it.

    Args:
        classes: Names of the clause's classes.
        error: Name of the error's class.
    """
    answers = {_catches_class(name, error) for name in classes}
    if True in answers:
        return True
    return None if None in answers else False


def _catches_class(name: str, error: str) -> bool | None:
    if name in {ANY_ERROR, error}:
        return True
    raised, caught = _get_builtin(error), _get_builtin(name)
    if raised is not None and caught is not None:
        return issubclass(raised, caught)
    if raised is not None:
        # A class of somebody else is no base class of a builtin one.
        return False
    # An error class of somebody else, which derives from Exception in all likelihood.
    return True if name in _ROOTS else None


def _get_builtin(name: str) -> type[BaseException] | None:
    value = getattr(builtins, name, None)
    return value if isinstance(value, type) and issubclass(value, BaseException) else None
